"""Whatever is said to a machine, it raises nothing, and stands where one can stand."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from terminals.protocol import client, messages, server
from terminals.protocol.client import ClientSession, Phase
from terminals.protocol.server import ServerSide

from tests.support.grants import GRANT
from tests.support.tiers import examples

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)

SAID = {
    "welcome": {"version": 2, "heartbeat": 15, "ticket": "t"},
    "attached": {
        "session": "s", "status": "resumed", "epoch": "e", "output": 0, "skipped": 0, "input": 0, "head": 0,
        "generation": "g", "build": "b", "origin": "new", "profile": "system", "mode": "write",
        "input_unknown": False, "snapshot": False,
    },
    "error": {"code": "unavailable", "message": "not now", "retry_after": 1},
    "exit": {"channel": 0, "status": 0},
    "pong": {"t": 1},
}  # fmt: skip
"""What a server says, and how it should."""
ASKED = {
    "hello": {"versions": [2], "token": "t", "client": "c"},
    "attach": {"channel": 0, "session": None, "cols": 80, "rows": 24, "resume": None, "mode": "write"},
    "resize": {"channel": 0, "cols": 80, "rows": 24},
    "detach": {"channel": 0},
    "kill": {"channel": 0},
    "ping": {"t": 1},
}
HUGE = 10**400
binary = st.binary(max_size=40) | st.builds(
    lambda kind, channel, seq, data: messages.HEADER.pack(kind, channel, seq) + data,
    st.integers(0, 4),
    st.integers(0, 256),
    st.integers(0, 1 << 63),
    st.binary(max_size=8),
)


@st.composite
def message(draw: st.DrawFn, known: dict[str, dict[str, Any]]) -> str | bytes:
    """As it should be, or with one thing in it that is not, or anything."""
    how = draw(st.sampled_from(["right", "odd", "odd", "text", "binary"]))
    if how == "text":
        return draw(st.text(max_size=20))
    if how == "binary":
        return draw(binary)
    kind = draw(st.sampled_from(sorted(known)))
    fields = {"type": kind, **known[kind]}
    if how == "odd":
        fields[draw(st.sampled_from(sorted(known[kind])))] = draw(
            JSON | st.sampled_from([HUGE, -HUGE, -1, 1e300])
        )
    return json.dumps(fields)


@settings(max_examples=examples(500), deadline=None)
@given(st.lists(message(SAID), max_size=12), st.booleans())
def test_anything_may_be_said_to_a_client(said, watch):
    session = ClientSession({"ticket": "t"}, "me", watch=watch)
    session.open(0.0)
    session.type(b"typed")
    now = 0.0
    for what in said:
        session.connected(now)
        session.received(now, what)
        session.tick(now)
        wake = session.wake_at()
        assert (wake is None) == (session.phase in (Phase.CLOSED, Phase.STOPPED))
        now = max(now, now if wake is None else min(wake, now + 100.0))
        for item in session.take():
            assert isinstance(item, client.Item)
            if isinstance(item, client.Waiting):
                assert item.until <= now + 1.5 * client.LONGEST


@settings(max_examples=examples(500), deadline=None)
@given(st.lists(message(ASKED), max_size=12))
def test_anything_may_be_said_to_a_server(said):
    side = ServerSide(build="b", generation="g", heartbeat=15.0)
    handle = 0
    for what in said:
        text = isinstance(what, str)
        side.received(what.encode("utf-8", "surrogatepass") if isinstance(what, str) else what, text=text)
        for item in side.take():
            if isinstance(item, server.Identify):
                side.welcome(user="", only=None, read_only=False, ticket=None)
            elif isinstance(item, server.Attach):
                handle += 1
                if side.admit(item.channel, handle):
                    side.attached(item.channel, handle, GRANT)
                side.go_on()
    side.lost(goodbye=False)
    assert not side.attached_to
