"""What a client's machine says of itself; what it does, the conversations of ``vectors.json`` tell."""

from __future__ import annotations

from terminals.protocol import client
from terminals.protocol.backoff import Backoff
from terminals.protocol.breaker import BreakerState, CircuitBreaker
from terminals.protocol.client import ClientSession, Phase
from terminals.protocol.messages import Binary, FrameType

EVEN = Backoff(uniform=lambda low, high: (low + high) / 2)


def test_nothing_said_shows_in_a_log():
    shown = [
        client.Send("secret"),
        client.Send(b"secret"),
        client.Output(b"secret", 6),
        client.Screen(b"secret", 6, 0),
        Binary(FrameType.DATA, 0, 0, b"secret"),
    ]
    assert not [text for text in map(repr, shown) if "secret" in text]
    assert repr(shown[0]) == "<Send 6 characters>"


def test_it_tells_where_it_stands():
    session = ClientSession({"ticket": "t"}, "me", backoff=EVEN)
    assert (session.phase, session.received_bytes, session.ticket, session.reason) == (
        Phase.CLOSED,
        0,
        "t",
        "",
    )
    session.open(0.0)
    session.lost(0.0, text="no route to host")
    assert (session.phase, session.reason) == (Phase.WAITING, "no route to host")
    assert ClientSession({"token": "t"}, "me").ticket is None


def test_a_breaker_that_is_shared_lets_one_of_them_try():
    breaker = CircuitBreaker(threshold=1)
    one, other = (ClientSession({"token": "t"}, name, breaker=breaker, backoff=EVEN) for name in ("1", "2"))
    one.open(0.0)
    one.lost(0.0)
    assert breaker.state is BreakerState.OPEN
    one.tick(5.0)
    assert one.phase is Phase.CONNECTING
    other.open(5.0)
    assert other.phase is Phase.WAITING
    assert other.wake_at() == 10.0
    assert other.take() == [client.Waiting(10.0, "", planned=False, breaker=False)]
