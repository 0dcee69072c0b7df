"""A worker's connection without sockets: what it is given, and all that it says to either side."""

from __future__ import annotations

import asyncio
from typing import Any

from terminals.access import Access
from terminals.background import Background
from terminals.control import packets
from terminals.control.answers import Front, Welcome
from terminals.protocol import messages
from terminals.worker import connection as module
from terminals.worker.connection import Connection, Server
from websockets.frames import Frame, Opcode

from tests.support.frames import opening
from tests.support.grants import GRANT

REQUEST = opening("Host: h")


class Wire(asyncio.Transport):
    """Keeps what is written, and takes anything."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.closed = False
        self.paused = False
        self.waiting = 0

    def write(self, data: Any) -> None:
        self.written.append(bytes(data))

    def get_write_buffer_size(self) -> int:
        return self.waiting

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...
    def is_closing(self) -> bool:
        return self.closed

    def can_write_eof(self) -> bool:
        return False

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False

    def close(self) -> None:
        self.closed = True

    abort = close


class Manager:
    """Keeps what it is sent, and answers nothing."""

    congested = False
    welcome = Welcome(protocol=3)

    def __init__(self) -> None:
        self.sent: list[object] = []

    def send_raw(self, data: bytes) -> None:
        self.sent.append(packets.read_request(data))

    def send(self, packet: object, fds: tuple[int, ...] = ()) -> None:
        self.sent.append(packet)

    def post(self, packet: object, *_: object) -> asyncio.Future[Any]:
        self.sent.append(packet)
        return asyncio.get_running_loop().create_future()


def masked(opcode: Opcode, data: bytes, *, fin: bool = True) -> bytes:
    return Frame(opcode, data, fin).serialize(mask=True)


def text(kind: str, **fields: Any) -> bytes:
    return masked(Opcode.TEXT, messages.encode_text(kind, **fields))


class Client:
    """A connection that has been opened, and on which two sessions are attached."""

    def __init__(self, *, lane: bool) -> None:
        self.manager, self.wire = Manager(), Wire()
        self.lane = lane
        server = Server(self.manager, Access(b"secret", Front()), "g1", "b1")  # type: ignore[arg-type]
        server.background = Background(module.log)
        self.connection = Connection(server, packets.Conn(listener="system", address="10.0.0.1"))
        self.connection.connection_made(self.wire)
        self.feed(REQUEST)
        self.feed(text("hello", versions=[3], client="me", token="secret"))
        side = self.connection._side
        for channel, handle in ((0, 7), (1, 8)):
            self.feed(text("attach", channel=channel))
            assert side.admit(channel, handle)
            side.attached(channel, handle, GRANT)
            self.connection._carry_out()
        self.begun = len(self.manager.sent), len(self.wire.written)

    def feed(self, data: bytes) -> None:
        if self.wire.closed:
            return
        if not self.lane:
            self.connection._boundary = False
        self.connection.data_received(data)

    async def idle(self) -> int:
        """Wait until nothing waits for its turn; how many turns that took."""
        turns = 0
        while self.connection._waits:
            await asyncio.sleep(0)
            turns += 1
        return turns

    @property
    def said(self) -> tuple[list[object], bytes, bool]:
        sent, written = self.begun
        return self.manager.sent[sent:], b"".join(self.wire.written[written:]), self.wire.closed
