"""Orders that are quicker than the answer they are about, and attaches that are quicker than a handover."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator

import pytest
from terminals.protocol import messages
from websockets.frames import Frame, Opcode

from tests.support.processes import stopped
from tests.support.raw import Raw
from tests.support.stack import Stack, until


@pytest.fixture
def pair() -> Iterator[Stack]:
    """Two workers, w1 of g1, which has all connections, and w2 of g2."""
    stack = Stack(stable_seconds=0.05)
    try:
        stack.start("worker", "g1", name="w1")
        stack.start("worker", "g2", name="w2")
        until(lambda: all(stack.generation(name).get("workers") for name in ("g1", "g2")), "both")
        stack.admin("weights", weights={"g1": 100})
        yield stack
    finally:
        stack.close()


def detached(stack: Stack) -> str:
    """A live session that nobody is attached to."""
    terminal = stack.terminal()
    terminal.open()
    terminal.close()
    until(lambda: not stack.status()["sessions"]["attached"], "the session being left")
    return terminal.session


def forwarded(raw: Raw) -> None:
    """Wait until the worker has passed on what the client has sent."""
    for _ in range(2):  # with the first answer the attach may still be planned, before the second it is done
        raw.text("ping", t=1)
        raw.want("pong")


def test_whoever_is_taken_over_before_the_attach_is_known_is_told(pair):
    session = detached(pair)
    first = Raw(pair.url(), client="first")
    pair.admin("weights", weights={"g2": 100})
    second = Raw(pair.url(), client="second")
    with stopped(pair.processes["manager"]):
        first.attach(session=session)
        forwarded(first)
        pair.processes["w1"].send_signal(signal.SIGSTOP)
        second.attach(session=session)
        forwarded(second)
    # What w1 finds, when it goes on, is the answer and at once the word that it holds no more.
    assert second.want("attached")["status"] == "resumed"
    pair.processes["w1"].send_signal(signal.SIGCONT)
    assert first.closed() == 4409
    second.type(0, b"echo [$((6 * 7))]\n")
    second.shown(b"[42]")


def test_whoever_is_moved_before_the_attach_is_known_comes_back(pair):
    session = detached(pair)
    first = Raw(pair.url(), client="first")
    with stopped(pair.processes["manager"]):
        first.attach(session=session)
        forwarded(first)
        pair.processes["w1"].send_signal(signal.SIGSTOP)
    until(lambda: pair.status()["sessions"]["attached"], "the attach")
    pair.admin("weights", weights={"g1": 1, "g2": 99})
    tally: dict = {}
    pace = {"batch": 5, "interval": 0.1, "deadline": 60}
    move = threading.Thread(target=lambda: tally.update(pair.admin("move", to="g2", share=100, **pace)))
    move.start()
    until(lambda: pair.generation("g2")["assigned"], "the order to move")
    pair.processes["w1"].send_signal(signal.SIGCONT)
    assert first.closed() == 1012
    with pair.terminal(session=session):
        move.join()
    assert (tally["moved"], tally["severed"]) == (1, 0)
    assert pair.generation("g1")["short_lived"] == 0


@pytest.mark.parametrize("more", [1, 5])
def test_all_attaches_are_answered_by_whom_the_connection_is_handed_to(pair, more):
    pair.admin("weights", weights={"g2": 100})
    session = detached(pair)
    pair.admin("weights", weights={"g1": 100})
    visitor = Raw(pair.url())
    pair.admin("weights", weights={"g1": 99, "g2": 1})
    with stopped(pair.processes["manager"]):
        visitor.attach(0, session)
        for channel in range(1, 1 + more):
            visitor.attach(channel)
        forwarded(visitor)
    for channel in range(1 + more):
        assert visitor.want("attached", channel=channel)["generation"] == "g2"
        visitor.type(0, b"echo [$((%d + 70000))]\n" % channel, channel)
        visitor.shown(b"[%d]" % (channel + 70000), channel=channel)
    assert pair.status()["sessions"]["live"] == 1 + more
    assert pair.generation("g1")["connections"] == 0
    assert pair.generation("g1")["short_lived"] == 0


def test_more_attaches_wait_for_the_first_where_nothing_is_handed_over(pair):
    visitor = Raw(pair.url())
    for channel in range(5):
        visitor.attach(channel, "../../etc/passwd" if channel == 0 else None)
    assert visitor.want("error", channel=0)["code"] == "bad-session-id"
    for channel in range(1, 5):
        assert visitor.want("attached", channel=channel)["generation"] == "g1"
    visitor.attach(7, "x" * 100_000)
    assert visitor.want("error")["code"] == "bad-message"
    assert visitor.closed() == 1008


def test_a_client_that_sends_more_than_the_manager_takes_waits(pair):
    with pair.terminal() as somebody:
        somebody.send(b"echo [$((6 * 7))]\n")
        somebody.expect(rb"\[42\]", timeout=60)
        flooder = Raw(pair.url())
        flooder.attach()
        flooder.want("attached")
        resize = Frame(Opcode.TEXT, b'{"type":"resize","channel":0,"cols":80,"rows":24}').serialize(mask=True)
        old = Frame(Opcode.BINARY, messages.encode_data(0, 0, b"")).serialize(mask=True)
        worker = pair.processes["w1"]
        with stopped(pair.processes["manager"]), contextlib.closing(flooder.link._sock) as sock:
            sock.settimeout(3.0)
            with pytest.raises(TimeoutError):
                for _ in range(2000):
                    sock.sendall((resize + old) * 500)
            assert worker.poll() is None
        somebody.send(b"echo [$((6 * 8))]\n")
        somebody.expect(rb"\[48\]", timeout=60)
        assert somebody.stats.losses == 0
        assert worker.poll() is None
