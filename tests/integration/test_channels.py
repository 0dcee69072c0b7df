"""Several terminals over one connection, and connections whose other end is gone without a word."""

from __future__ import annotations

import json
import signal
import threading
import time

import pytest
from terminals.protocol import messages
from terminals.protocol.backoff import Backoff
from terminals.protocol.resume import Receiver, Sender
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.support.stack import TOKEN, Stack, until


class Channel:
    """What a client keeps for one terminal."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.session: str | None = None
        self.epoch: str | None = None
        self.receiver = Receiver()
        self.sender = Sender()
        self.shown = b""
        self.errors: list[str] = []


class Multiplexer:
    """A minimal client of many terminals over one connection."""

    def __init__(self, stack: Stack, channels: int) -> None:
        self._stack = stack
        self.channels = [Channel(number) for number in range(channels)]

    def open(self) -> None:
        self.ws: ClientConnection = connect(self._stack.url(), compression=None, legacy=True)
        self._send("hello", versions=[2, 1], token=TOKEN, client="multiplexer")
        assert json.loads(self.ws.recv())["type"] == "welcome"
        waiting = set()
        for channel in self.channels:
            resume = channel.epoch and {"output": channel.receiver.received, "epoch": channel.epoch}
            self._send("attach", channel=channel.number, session=channel.session, resume=resume)
            waiting.add(channel.number)
        while waiting:
            waiting.discard(self.pump())

    def type(self, channel: Channel, data: bytes) -> None:
        seq = channel.sender.push(data)
        self.ws.send(messages.encode_data(channel.number, seq, data))

    def pump(self) -> int | None:
        """Take one message; the channel that it acknowledges the attach of."""
        message = self.ws.recv(timeout=20)
        if isinstance(message, bytes):
            frame = messages.decode_binary(message)
            channel = self.channels[frame.channel]
            if frame.type is messages.FrameType.DATA:
                channel.shown += channel.receiver.accept(frame.seq, frame.payload)
                self.ws.send(messages.encode_ack(channel.number, channel.receiver.received))
            else:
                channel.sender.ack(frame.seq)
            return None
        fields = json.loads(message)
        if fields["type"] == "error":
            self.channels[fields["channel"]].errors.append(fields["code"])
            return fields["channel"]
        if fields["type"] != "attached":
            return None
        channel = self.channels[fields["channel"]]
        channel.session, channel.epoch = fields["session"], fields["epoch"]
        channel.receiver.received = fields["output"]
        channel.sender.ack(fields["input"])
        seq, pending = channel.sender.pending()
        if pending:
            self.ws.send(messages.encode_data(channel.number, seq, pending))
        return channel.number

    def expect(self, channel: Channel, text: bytes) -> None:
        while text not in channel.shown:
            self.pump()

    def _send(self, kind: str, **fields) -> None:
        self.ws.send(messages.encode_text(kind, **fields).decode())


def test_many_terminals_over_one_connection_live_through_a_killed_worker(stack):
    client = Multiplexer(stack, 6)
    client.open()
    assert stack.generation("g1")["connections"] == 1
    for channel in client.channels:
        client.type(channel, b"mine=%d; echo [$((mine * 1000))]\n" % channel.number)
    for channel in client.channels:
        client.expect(channel, b"[%d]" % (channel.number * 1000))
    for channel in client.channels:
        client.type(channel, b"echo {$((mine + 1))}\n")
    stack.kill("worker-g1")
    stack.start("worker", "g1", name="again")
    client.open()
    for channel in client.channels:
        client.expect(channel, b"{%d}" % (channel.number + 1))
        assert channel.shown.count(b"{%d}" % (channel.number + 1)) == 1


def test_one_channels_end_and_errors_leave_the_others_alone(stack):
    client = Multiplexer(stack, 3)
    client.channels[2].session = "../../etc/passwd"
    client.open()
    first, second, wrong = client.channels
    assert wrong.errors == ["bad-session-id"]
    other = stack.terminal(session=second.session)
    other.open()
    while not second.errors:
        client.pump()
    assert second.errors == ["taken-over"]
    client.type(first, b"echo [$((6 * 7))]\n")
    client.expect(first, b"[42]")


def test_a_move_takes_along_all_that_a_connection_carries(stack):
    """Its first attach decides who serves it: the others would take the one that was moved back with them."""
    client = Multiplexer(stack, 3)
    client.open()
    stack.start_generation("g2")
    stack.admin("weights", weights={"g1": 50, "g2": 50})
    told: list[dict[str, object]] = []
    order = {"to": "g2", "share": 33, "batch": 1, "interval": 0.1, "deadline": 20, "retry_after": 0}
    thread = threading.Thread(target=lambda: told.append(stack.admin("move", **order)))
    thread.start()
    with pytest.raises(ConnectionClosed, match="1012"):
        while True:
            client.pump()
    belongs = {entry["id"]: entry["generation"] for entry in stack.admin("sessions")["items"]}
    client.channels.sort(key=lambda channel: belongs[channel.session] == "g2")
    for number, channel in enumerate(client.channels):
        channel.number = number
    client.open()
    thread.join()
    assert (told[0]["moved"], told[0]["severed"]) == (1, 0)
    assert {entry["generation"] for entry in stack.admin("sessions")["items"]} == {"g2"}
    assert [stack.generation(name)["connections"] for name in ("g1", "g2")] == [0, 1]


def test_a_flooded_channel_does_not_silence_another(stack):
    client = Multiplexer(stack, 2)
    client.open()
    busy, quiet = client.channels
    client.type(busy, b"seq 1 400000; echo finished-$((1 + 1))\n")
    client.expect(busy, b"\r\n100\r\n")
    client.type(quiet, b"echo [$((6 * 7))]\n")
    client.expect(quiet, b"[42]")
    assert b"finished-2" not in busy.shown
    client.expect(busy, b"finished-2")
    lines = [line for line in busy.shown.split(b"\r\n") if line.isdigit()]
    assert lines == [str(number).encode() for number in range(1, 400001)]


@pytest.fixture
def quick_stack():
    stack = Stack(heartbeat_seconds=0.4)
    stack.start_generation("g1", weight=100)
    yield stack
    stack.close()


def test_the_server_finds_a_client_that_is_gone_without_a_word(quick_stack):
    ws = connect(quick_stack.url(), compression=None, legacy=True)
    ws.send(messages.encode_text("hello", versions=[2], token=TOKEN, client="c").decode())
    assert json.loads(ws.recv())["heartbeat"] == 0.4
    ws.send(messages.encode_text("attach", channel=0, session=None).decode())
    until(lambda: quick_stack.status()["sessions"]["attached"], "the attach")
    # From here on nothing answers the pings, and no end of the connection is ever sent.
    ws.protocol.data_to_send = list
    until(lambda: not quick_stack.status()["sessions"]["attached"], "the client being given up")


@pytest.fixture
def unhurried_stack():
    """Three of its heartbeats are longer than a loaded machine keeps anybody from answering."""
    stack = Stack(heartbeat_seconds=1.5)
    stack.start_generation("g1", weight=100)
    yield stack
    stack.close()


def test_silence_with_heartbeats_is_no_loss(unhurried_stack):
    terminal = unhurried_stack.terminal()
    terminal.open()
    terminal.read(1.0)
    end = time.monotonic() + 4 * 1.5
    while time.monotonic() < end:
        terminal.pump(0.1)
    assert terminal.stats.losses == 0


def test_a_client_finds_a_server_that_is_gone_without_a_word(quick_stack):
    terminal = quick_stack.terminal(backoff=Backoff(base=0.01, cap=0.1))
    terminal.open()
    terminal.send(b"mark=41\n")
    until(lambda: terminal.pump(0.05) or terminal.unacknowledged == 0, "the line taken")
    quick_stack.start("worker", "g1", name="second")
    until(lambda: quick_stack.generation("g1")["workers"] == 2, "a second worker")
    stopped = quick_stack.processes["worker-g1"]
    stopped.send_signal(signal.SIGSTOP)
    try:
        terminal.send(b"echo [$((mark + 1))]\n")
        terminal.expect(rb"\[42\]")
        assert terminal.stats.losses >= 1
    finally:
        stopped.send_signal(signal.SIGCONT)
