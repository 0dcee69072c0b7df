"""The test vectors of the protocol, run by the Python implementation; the browser's runs them too."""

from __future__ import annotations

import json
from typing import Any

import pytest
from terminals.protocol import messages
from terminals.protocol.backoff import Backoff
from terminals.protocol.breaker import CircuitBreaker
from terminals.protocol.closing import action
from terminals.protocol.ids import InvalidSessionId, Origin, parse_session_id
from terminals.protocol.messages import BadMessage
from terminals.protocol.resume import Receiver, Sender, SequenceGap

from tests.support import conversations

VECTORS = json.loads(conversations.VECTORS.read_text())


def each(section: str) -> Any:
    return pytest.mark.parametrize("vector", VECTORS[section])


@each("frames")
def test_frame(vector):
    frame = messages.decode_binary(bytes.fromhex(vector["hex"]))
    assert (frame.type, frame.channel, frame.seq) == (vector["type"], vector["channel"], vector["seq"])
    assert frame.payload.hex() == vector["payload"]
    encoded = {
        1: lambda: messages.encode_data(frame.channel, frame.seq, frame.payload),
        2: lambda: messages.encode_ack(frame.channel, frame.seq),
        3: lambda: messages.encode_snapshot(frame.channel, frame.seq, frame.payload),
    }[vector["type"]]()
    assert encoded.hex() == vector["hex"]


@each("bad_frames")
def test_bad_frame(vector):
    with pytest.raises(BadMessage):
        messages.decode_binary(bytes.fromhex(vector["hex"]))


@each("texts")
def test_text(vector):
    assert messages.decode_text(vector["text"].encode())["type"] == vector["type"]


@each("bad_texts")
def test_bad_text(vector):
    with pytest.raises(BadMessage):
        messages.decode_text(vector.encode())


@each("receiver")
def test_receiver(vector):
    receiver = Receiver(vector.get("start", 0))
    for step in vector["steps"]:
        if step.get("gap"):
            with pytest.raises(SequenceGap):
                if "jump" in step:
                    receiver.jump(step["jump"])
                else:
                    receiver.accept(step["seq"], bytes.fromhex(step["data"]))
        elif "jump" in step:
            assert receiver.jump(step["jump"]) == step["skipped"]
        else:
            assert receiver.accept(step["seq"], bytes.fromhex(step["data"])).hex() == step["new"]
    assert receiver.received == vector["received"]


@each("sender")
def test_sender(vector):
    sender = Sender(vector["limit"])
    for step in vector["steps"]:
        if step.get("full"):
            with pytest.raises(BufferError):
                sender.push(bytes.fromhex(step["push"]))
        elif "restart" in step:
            assert sender.restart(step["restart"]) == step["dropped"]
        elif "push" in step:
            sender.push(bytes.fromhex(step["push"]))
        elif step.get("gap"):
            with pytest.raises(SequenceGap):
                sender.ack(step["ack"])
        elif "ack" in step:
            sender.ack(step["ack"])
        else:
            assert sender.pending() == (step["from"], bytes.fromhex(step["pending"]))
    assert (sender.acked, sender.end) == (vector["acked"], vector["end"])


@each("backoff")
def test_backoff(vector):
    for attempt, ceiling in vector["ceilings"]:
        assert Backoff(vector["base"], vector["cap"]).ceiling(attempt) == ceiling
    for attempt, draw, delay in vector["delays"]:
        drawn = Backoff(vector["base"], vector["cap"], lambda low, high, at=draw: low + (high - low) * at)
        assert drawn.delay(attempt) == delay


@each("breaker")
def test_breaker(vector):
    breaker = CircuitBreaker(vector["threshold"], vector["cooldown"], vector["max_cooldown"])
    for step in vector["steps"]:
        if "allow" in step:
            assert breaker.allow(step["at"]) is step["allow"]
        if "failure" in step:
            assert breaker.failure(step["at"]) is step["failure"]
        if "success" in step:
            breaker.success()
        if "retry_after" in step:
            assert breaker.retry_after(step["at"]) == step["retry_after"]
        if "state" in step:
            assert breaker.state.value == step["state"]


@each("close")
def test_close(vector):
    code, expected = vector
    assert action(code) == expected


@each("retry_windows")
def test_retry_window(vector):
    reason, expected = vector
    window = messages.retry_window(reason)
    assert (None if window is None else window * 1000) == expected


@each("versions")
def test_versions(vector):
    offered, expected = vector
    if expected is None:
        with pytest.raises(BadMessage):
            messages.negotiate(offered)
    else:
        assert messages.negotiate(offered) == expected


@pytest.mark.parametrize("conversation", VECTORS["conversations"], ids=lambda talk: talk["name"])
def test_conversation(conversation):
    assert conversations.play(VECTORS, conversation) == conversation["steps"]


def test_names_of_conversations_are_their_own_and_none_waits_to_be_filled_in():
    names = [talk["name"] for talk in VECTORS["conversations"]]
    assert len(set(names)) == len(names) >= 60
    assert all(len(step) == 4 for talk in VECTORS["conversations"] for step in talk["steps"])


@each("session_ids")
def test_session_id(vector):
    raw, canonical, origin = vector
    parsed = parse_session_id(raw)
    assert (parsed.value, parsed.origin.value) == (canonical, origin)


@each("absent_session_ids")
def test_absent_session_id(vector):
    assert parse_session_id(vector).origin is Origin.NEW


@each("bad_session_ids")
def test_bad_session_id(vector):
    with pytest.raises(InvalidSessionId):
        parse_session_id(vector)
