"""Short frames of input have a way of their own through a worker: it is held to the usual one."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from terminals.access import Access
from terminals.control import packets
from terminals.control.answers import Front
from terminals.protocol import messages
from terminals.worker import connection as module
from terminals.worker import turns
from terminals.worker.connection import Connection, Server
from websockets.frames import Frame, Opcode

from tests.support.tiers import examples
from tests.support.worker import REQUEST, Client, Manager, Wire, masked, text

short = st.binary(max_size=100)
seqs = st.sampled_from([0, 1, 5, messages.MAX_OFFSET, messages.MAX_OFFSET + 1])
channels = st.sampled_from([0, 1, 2, 255, 256])
typed = st.builds(messages.encode_data, channels, seqs, short)
binary = st.one_of(
    typed,
    typed.map(lambda data: data[:12]),
    st.builds(messages.encode_ack, channels, seqs),
    st.builds(messages.encode_data, st.just(0), seqs, st.binary(min_size=110, max_size=300)),
    st.binary(max_size=20),
)

frames = st.one_of(
    typed.map(lambda data: masked(Opcode.BINARY, data)),
    binary.map(lambda data: masked(Opcode.BINARY, data)),
    st.builds(
        lambda data, cut: masked(Opcode.BINARY, data[:cut], fin=False) + masked(Opcode.CONT, data[cut:]),
        *(typed, st.integers(0, 20)),
    ),
    st.builds(lambda data: masked(Opcode.BINARY, data, fin=False), typed),
    st.builds(lambda data, cut: masked(Opcode.BINARY, data)[:cut], typed, st.integers(1, 30)),
    st.just(text("resize", channel=0, cols=90, rows=30)),
    st.just(text("detach", channel=1)),
    st.just(text("kill", channel=0)),
    st.just(masked(Opcode.PING, b"are you there")),
    st.just(masked(Opcode.CLOSE, b"\x03\xe8")),
    typed.map(lambda data: Frame(Opcode.BINARY, data).serialize(mask=False)),
    st.binary(min_size=1, max_size=8),
)


@settings(max_examples=examples(400), deadline=None)
@given(st.lists(frames, max_size=12), st.lists(st.integers(0, 400), max_size=12), st.booleans())
def test_whatever_comes_and_however_it_is_cut_both_ways_say_the_same(sent, cuts, by_frames):
    async def play() -> None:
        quick, slow = Client(lane=True), Client(lane=False)
        stream = b"".join(sent)
        ends = sorted({cut for cut in cuts if cut < len(stream)} | {len(stream)})
        if by_frames:
            pieces = sent
        else:
            pieces = [stream[start:end] for start, end in zip([0, *ends], ends, strict=False)]
        for piece in pieces:
            quick.feed(piece)
            slow.feed(piece)
            assert quick.said == slow.said
            assert not quick.connection._unread
        for client in (quick, slow):
            client.connection.connection_lost(None)
        assert quick.said == slow.said

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(turns, "BURST", 1 << 30)
        asyncio.run(play())


@settings(max_examples=examples(200), deadline=None)
@given(st.lists(frames, max_size=12), st.integers(1, 40), st.booleans())
def test_turn_by_turn_it_is_the_same(sent, turn, at_once):
    """What waits for its turn is all looked at, in order, also where the connection ends before that."""

    async def play() -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(turns, "BURST", 1 << 30)
            whole = Client(lane=True)
            whole.feed(b"".join(sent))
            cut = Client(lane=True)
            patch.setattr(turns, "BURST", 0)
            patch.setattr(module, "TURN_BYTES", turn)
            for piece in [b"".join(sent)] if at_once else sent:
                cut.feed(piece)
            if not at_once:
                await cut.idle()
            for client in (whole, cut):
                client.connection.connection_lost(None)
        assert cut.said[0] == whole.said[0]

    asyncio.run(play())


def test_others_have_their_turn_while_one_floods():
    async def play() -> None:
        client, other = Client(lane=True), Client(lane=True)
        other.connection._server.turns = client.connection._server.turns
        ping = masked(Opcode.PING, b"")
        client.feed(ping * 10_000)
        other.feed(ping * 10_000)
        rounds = 0
        while client.connection._waits or other.connection._waits:
            sent = [len(one.said[1]) // 2 for one in (client, other)]
            # Neither is far ahead of the other, and neither keeps the loop for long.
            assert abs(sent[0] - sent[1]) <= 2 * module.TURN_BYTES // len(ping)
            other.feed(KEY) if rounds == 3 else None
            await asyncio.sleep(0)
            rounds += 1
        assert rounds > 10
        assert len(client.said[1]) == 10_000 * 2
        for one in (client, other):
            one.connection.connection_lost(None)

    asyncio.run(play())


def test_a_key_goes_first_and_a_flood_does_not():
    allowance = turns.Allowance(100.0)
    assert all(allowance.takes(30, 100.0 + at / 30) for at in range(300))
    assert not allowance.takes(turns.BURST + 1, 1000.0)
    assert allowance.takes(turns.BURST, 1000.0)
    assert not allowance.takes(turns.RATE, 1000.5)
    assert allowance.takes(turns.RATE // 2, 1000.5)


def test_a_turn_that_breaks_ends_no_other():
    async def play() -> None:
        order: list[str] = []

        def broken() -> None:
            order.append("broken")
            raise RuntimeError

        def good() -> None:
            order.append("good")
            if len(order) < 5:
                queue.add(good)

        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda *_: order.append("told"))
        queue = turns.Turns()
        queue.add(broken)
        queue.add(good)
        for _ in range(100):
            await asyncio.sleep(0)
        assert not queue
        assert order[:3] == ["broken", "told", "good"]

    asyncio.run(play())


def test_who_does_not_take_answers_is_not_read_until_it_has():
    async def play() -> None:
        client = Client(lane=True)
        client.wire.waiting = 1
        ping = masked(Opcode.PING, bytes(125))
        client.feed(ping * 1000)
        await client.idle()
        stuck = len(client.said[1])
        assert module.ANSWERS_HIGH_WATER < stuck < 2 * module.ANSWERS_HIGH_WATER
        assert client.wire.paused
        client.wire.waiting = 0
        client.connection._looked()
        await client.idle()
        assert len(client.said[1]) == 1000 * 127
        assert not client.wire.paused
        client.connection.connection_lost(None)

    asyncio.run(play())


def test_input_that_waits_for_the_manager_is_not_overtaken():
    async def play() -> None:
        client = Client(lane=True)
        client.manager.congested = True
        client.feed(masked(Opcode.BINARY, messages.encode_data(0, 0, b"a")))
        client.manager.congested = False
        client.feed(masked(Opcode.BINARY, messages.encode_data(0, 1, b"b")))
        assert [packet.seq for packet in client.said[0]] == [0, 1]
        client.connection.connection_lost(None)

    asyncio.run(play())


KEY = masked(Opcode.BINARY, messages.encode_data(0, 0, b"k"))


@pytest.mark.parametrize(
    ("before", "ends"),
    [
        (masked(Opcode.BINARY, messages.encode_data(0, 0, b"a"), fin=False), True),
        (masked(Opcode.BINARY, messages.encode_data(0, 0, b"x" * 60))[:9], False),
        (masked(Opcode.CLOSE, b"\x03\xe8"), False),
    ],
    ids=["a message has begun", "a frame has begun", "the client has said goodbye"],
)
def test_what_looks_like_a_key_and_is_none(before, ends):
    async def play() -> None:
        client = Client(lane=True)
        client.feed(before)
        client.feed(KEY)
        sent, written, _ = client.said
        assert sent == []
        assert (b"\x03\xea" in written) is ends  # 1002
        client.connection.connection_lost(None)

    asyncio.run(play())


def test_a_key_takes_the_short_way_and_the_first_one_too():
    async def play() -> None:
        client = Client(lane=True)
        parsed: list[bytes] = []
        client.connection._ws.receive_data = parsed.append  # type: ignore[method-assign]
        client.feed(KEY)
        assert client.said[0] == [packets.Hot(b"I", 7, 0, b"k")]
        assert not parsed

    asyncio.run(play())


def test_nothing_is_kept_of_the_request():
    async def play() -> None:
        client = Client(lane=True)
        assert type(client.connection._ws) is module._Frames

    asyncio.run(play())


def test_a_client_that_is_early_is_heard_all_the_same():
    """With the request comes the hello, and half of the attach."""

    async def play() -> None:
        whole = REQUEST + text("hello", versions=[3], client="me", token="secret") + text("attach", channel=0)
        for cut in range(len(REQUEST) - 3, len(whole)):
            manager, wire = Manager(), Wire()
            server = Server(manager, Access(b"secret", Front()), "g1", "b1")  # type: ignore[arg-type]
            connection = Connection(server, packets.Conn(listener="system", address="10.0.0.1"))
            connection.connection_made(wire)
            connection.data_received(whole[:cut])
            connection.data_received(whole[cut:])
            assert [type(packet) for packet in manager.sent] == [packets.Attach]
            assert b"welcome" in b"".join(wire.written)
            connection.connection_lost(None)

    asyncio.run(play())


def test_the_manager_is_asked_before_the_client_is_welcomed():
    async def play() -> None:
        order: list[str] = []
        manager, wire = Manager(), Wire()
        server = Server(manager, Access(b"secret", Front()), "g1", "b1")  # type: ignore[arg-type]
        connection = Connection(server, packets.Conn(listener="system", address="10.0.0.1"))
        connection.connection_made(wire)
        connection.data_received(REQUEST)
        post, write = manager.post, wire.write
        manager.post = lambda *given: (order.append("asked"), post(*given))[1]  # type: ignore[method-assign]
        wire.write = lambda data: (order.append("written"), write(data))[1]  # type: ignore[method-assign]
        connection.data_received(
            text("hello", versions=[3], client="me", token="secret") + text("attach", channel=0)
        )
        assert order == ["asked", "written"]
        connection.connection_lost(None)

    asyncio.run(play())
