"""Packets of the control socket: what they are on the wire, across builds, and in any size."""

from __future__ import annotations

import json
import socket
import threading

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from terminals.control import answers, asking, framing, packets
from terminals.control.framing import BadPacket
from terminals.manager import holding
from terminals.protocol.server import Hello, Resume

SIZES = st.integers(0, 3 * framing.MAX_PACKET)
ATTACH = {
    "type": "attach",
    "req": 3,
    "profile": "system",
    "client": "me",
    "user": "",
    "only": None,
    "address": "10.0.0.1",
    "cols": 80,
    "rows": 24,
    "since": 1.5,
}


@given(length=SIZES, letter=st.sampled_from(['"', "\\", "a", "\N{ROCKET}", "\0", "\N{EURO SIGN}"]))
def test_a_message_of_any_size_is_what_it_was(length, letter):
    title = letter * length
    message = packets.reply(7, answers.Refusal(code="c", message=title))
    sent = list(framing.parts(message))
    assert all(len(packet) <= framing.MAX_PACKET for packet in sent)
    joiner = framing.Joiner()
    found = [joiner.add(packet) for packet in sent]
    assert found[-1] == message
    assert not any(found[:-1])
    assert packets.read_reply(message)[:2] == (7, None)
    assert answers.read_outcome(message) == answers.Refusal(code="c", message=title)


def test_what_a_worker_asks_for_is_what_the_manager_reads():
    sent = packets.Attach(
        req=3,
        profile="system",
        client="me",
        user="",
        only=None,
        address="10.0.0.1",
        cols=80,
        rows=24,
        since=1.5,
        resume=Resume(9, "e"),
    )
    assert packets.read_request(framing.encode(sent)) == sent
    # Of a build that knows less, and of one that knows more.
    assert packets.read_request(json.dumps({**ATTACH, "new": [1]}).encode()) == msgspec.structs.replace(
        sent, resume=None
    )


def test_a_connection_travels_with_what_was_said_on_it_and_with_no_byte_changed():
    rest = bytes(range(256))
    attach = packets.ClientAttach(
        channel=0, session=None, cols=80, rows=24, resume=Resume(1, "e"), mode="write"
    )
    hello = Hello("me", "ada", "s", True, 2)
    sent = packets.Handoff(
        to="g2", listener="system", address="::1", hello=hello, attach=attach, since=2.0, rest=rest
    )
    assert packets.read_request(framing.encode(sent)) == sent
    conn = packets.Conn(listener="system", address="::1", hello=hello, attach=attach, since=2.0, rest=b"")
    assert packets.read_order(framing.encode(conn)) == conn
    # A worker of the release before looks for each of these, where there is an attach, and only there.
    assert {"attach", "hello", "since", "rest"} <= json.loads(framing.encode(conn)).keys()
    assert "attach" not in json.loads(framing.encode(packets.Conn(listener="system", address="::1")))
    for packet in (sent, conn):
        assert "\\x" not in repr(packet)


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"cols": 0}, "cols"),
        ({"rows": 1001}, "rows"),
        ({"cols": "80"}, "cols"),
        ({"resume": {"output": 1}}, "epoch"),
        ({"watch": "yes"}, "watch"),
        ({"address": None}, "address"),
        ({"type": "grant"}, "grant"),
    ],
)
def test_a_packet_that_says_nothing_is_answered_with_why(wrong, text):
    found = packets.read_request(json.dumps({**ATTACH, **wrong}).encode())
    assert isinstance(found, packets.Malformed)
    assert found.req == 3
    assert text in found.error


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b'{"req": 1}', b'{"type": 3}', b"I123", b"\xff", b'{"type":"\xff"}']
)
def test_what_is_no_packet_ends_the_connection(data):
    with pytest.raises(BadPacket):
        packets.read_request(data)
    with pytest.raises(BadPacket):
        packets.read_order(data)


def test_a_newer_managers_packet_is_nothing_to_an_older_process():
    assert packets.read_order(b'{"type":"dance","handle":1}') == packets.Unknown()
    assert packets.read_order(b'{"type":"sever","handle":1,"why":"so"}') == packets.Sever(handle=1)


def test_text_that_is_none_is_not_sent():
    with pytest.raises(BadPacket, match="not Unicode"):
        framing.encode(packets.Kill(session="\ud800"))
    assert json.loads(packets.refusal(1, "no session '\ud800'")) == {
        "type": "reply",
        "req": 1,
        "error": "no session '?'",
    }


@pytest.mark.parametrize("text", ['"\\ud800"', "NaN", "[Infinity]", '{"a": "x\\udfff"}'])
def test_what_an_earlier_build_writes_and_is_no_json_ends_no_link(text):
    """One client's words, which that build passed on as they came."""
    found = packets.read_request(json.dumps(ATTACH).encode()[:-1] + b',"new":' + text.encode() + b"}")
    assert isinstance(found, packets.Attach)
    assert isinstance(packets.read_order(b'{"type":"dance","x":' + text.encode() + b"}"), packets.Unknown)
    kept = json.dumps({"type": "item", "key": "session/s", "fields": {}}).encode()
    item, _ = holding._read(kept[:-2] + b'"c1":[' + text.encode() + b",7]}}")
    assert item.fields["c1"]


def test_a_long_list_of_an_earlier_manager_comes_in_several_answers(tmp_path):
    path = str(tmp_path / "m.sock")
    peer = {"role": "worker", "generation": "g1", "pid": 1, "memory_bytes": 2}
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as server:
        server.bind(path)
        server.listen()

        def answer() -> None:
            manager, _ = server.accept()
            with manager:
                manager.recv(1 << 16)
                for items, more in (([peer], True), ([peer, peer], True), ([], False)):
                    told = {"type": "reply", "req": 1, "items": items}
                    manager.send(json.dumps({**told, "more": True} if more else told).encode())
                manager.recv(1)

        thread = threading.Thread(target=answer)
        thread.start()
        assert len(asking.ask(path, packets.Peers(), answers.Peers).items) == 3
        thread.join()


def test_a_packet_has_its_limit():
    assert len(framing.encode(packets.Kill(session="a" * (framing.MAX_PACKET - 100)))) <= framing.MAX_PACKET
    with pytest.raises(BadPacket, match="exceeds"):
        framing.encode(packets.Kill(session="a" * framing.MAX_PACKET))


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"route": "g2"}, answers.Routed),
        ({"url": "wss://other.example/"}, answers.Elsewhere),
        ({"refused": True, "code": "c", "message": "m", "retry_after": 2}, answers.Refusal),
        (
            {
                "session": "s",
                "status": "resumed",
                "epoch": "e",
                "handle": 1,
                "output": 2,
                "skipped": 0,
                "input": 3,
                "origin": "g1",
            },
            answers.Attached,
        ),
    ],
)
def test_an_attach_has_one_of_four_outcomes(fields, kind):
    data = json.dumps({"type": "reply", "req": 1, **fields}).encode()
    assert isinstance(answers.read_outcome(data), kind)
    with pytest.raises(BadPacket):
        answers.read_outcome(b'{"type":"reply","req":1}')


def test_names_on_the_wire():
    """Processes of other builds go by them."""
    tags = {kind.__struct_config__.tag for kind in packets.ToManager.__args__}
    assert tags == {
        *("hello", "report", "closed", "attach", "detach", "resize", "end", "snapshot", "handoff", "passed"),
        *("status", "sessions", "metrics", "peers", "fence", "wait", "kill", "rename", "revoke", "monitored"),
        *("link", "links", "unlink", "hosts", "host-state"),
        *("record", "recordings", "open-recording", "remove-recording"),
        *("open-upload", "open-download", "finish-transfer", "cancel-transfer", "download-progress"),
        *("renew-holder", "weights", "move", "retire", "cancel-retire", "stop"),
    }
    unasked = (packets.Conn, packets.Quit, packets.Revoked, *packets.Order.__args__)
    orders = {kind.__struct_config__.tag for kind in unasked}
    known = {"conn", "quit", "revoked", "move", "taken-over", "superseded", "sever", "refuse", "recording"}
    assert orders == {*known, "offer", "withdraw"}
