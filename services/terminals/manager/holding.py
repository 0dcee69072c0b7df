"""The session manager's side of the holder: see :mod:`terminals.holder`."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

import msgspec
from msgspec import Raw

from terminals.control import framing
from terminals.control.answers import HolderInfo
from terminals.control.asking import ControlError, seqpacket
from terminals.control.channel import Channel
from terminals.control.framing import Packet
from terminals.manager.shell import ShellPlan

log = logging.getLogger("terminals.manager")

VERSIONS: Final = [1]
"""Of the holder's protocol that this manager speaks."""
PATIENCE: Final = 10.0
"""Seconds that the manager before has to leave by itself."""
START_SECONDS: Final = 20.0
"""So long a holder is waited for that is not there yet: both may have been started at once."""


class _Request(Packet):
    req: int = 0


class _Hello(_Request):
    versions: list[int]
    patience: float


class _Listen(_Request):
    key: str
    host: str
    port: int


class _Spawn(_Request):
    key: str
    plan: ShellPlan
    cols: int
    rows: int
    fields: Mapping[str, Raw]


class _Exec(_Request):
    argv: list[str]
    build: str


class _Put(Packet):
    key: str
    fields: Mapping[str, Raw]


class _Drop(Packet):
    key: str


class _Signal(Packet):
    key: str
    number: int


class _Kept(Packet, tag="item"):
    key: str
    fields: dict[str, Raw]
    pid: int = 0
    status: int | None = None


class _End(Packet):
    """All items have been said."""


class _Exited(Packet):
    key: str
    status: int


class _Leave(Packet):
    """Another manager takes over."""


class _Reply(Packet):
    req: int = 0
    error: str | None = None
    errno: int = 0
    pid: int = 0
    status: int | None = None


_Said = _Kept | _End | _Exited | _Leave | _Reply
_read_said: Callable[[bytes], _Said] = framing.reader(_Said)
_read_about = framing.reader(HolderInfo)


def raw(value: object) -> Raw:
    """A value as it is kept."""
    return Raw(framing.pack(value))


@dataclass(slots=True)
class Item:
    """What the holder keeps under one key. The descriptors are the receiver's own duplicates."""

    fields: dict[str, Raw] = field(default_factory=dict)
    """Values by name, not read yet."""
    fds: list[int] = field(default_factory=list)
    pid: int = 0
    """Of the shell that it is; 0: it is none."""
    status: int | None = None
    """Of a shell that has ended."""

    def close(self) -> None:
        """Close what came along and nobody wants; the holder keeps its own."""
        while self.fds:
            os.close(self.fds.pop())


class HolderLink:
    """The connection to the holder.

    ``on_exit(key, status)`` is told of each shell's end, ``on_leave()`` that another manager takes over,
    ``on_lost()`` that the holder is gone.
    """

    def __init__(
        self,
        on_exit: Callable[[str, int], None],
        on_leave: Callable[[], None],
        on_lost: Callable[[], None],
    ) -> None:
        self._on_exit = on_exit
        self._on_leave = on_leave
        self._on_lost = on_lost
        self._channel: Channel[tuple[_Said, bytes]] | None = None
        self._replies: dict[int, asyncio.Future[tuple[_Reply, bytes, list[int]]]] = {}
        self._numbers = itertools.count(1)
        self._items: dict[str, Item] = {}
        self._complete: asyncio.Future[None] | None = None
        self.about: HolderInfo | None = None
        """What the holder says of itself."""
        self.lost = False

    async def take_over(self, path: str) -> dict[str, Item]:
        """Be the manager from now on, when the one before has ended; what there is, by key.

        Raises:
            ControlError: no holder listens at ``path``, or it refuses.
        """
        self._channel = Channel(await _connected(path), _read, self._received, self._gone, limit=None)
        self._complete = asyncio.get_running_loop().create_future()
        # From a container beside the holder's, the holder sees no process: it is told of our end by this.
        pidfd = os.pidfd_open(os.getpid())
        try:
            _, data, _ = await self._request(_Hello(versions=VERSIONS, patience=PATIENCE), (pidfd,))
            self.about = _read_about(data)
            await self._complete
        except (ConnectionError, framing.BadPacket) as error:
            raise ControlError(f"the holder at {path}: {error}") from None
        finally:
            os.close(pidfd)
        items, self._items = self._items, {}
        return items

    def put(self, key: str, fields: Mapping[str, object], fds: tuple[int, ...] = ()) -> None:
        """Have fields kept, those that are ``None`` no more, and descriptors in place of those before."""
        self._send(_Put(key=key, fields={name: raw(value) for name, value in fields.items()}), fds)

    def drop(self, key: str) -> None:
        """Have nothing kept under this key any more; a shell that still runs is killed."""
        self._send(_Drop(key=key))

    def signal(self, key: str, number: int) -> None:
        """Send a signal to the process group of a shell, if it still runs."""
        self._send(_Signal(key=key, number=number))

    async def listen(self, key: str, host: str, port: int) -> socket.socket:
        """A listening socket, not blocking: the one that is kept, if that is for the same address.

        Raises:
            OSError: the address cannot be had.
        """
        _, _, fds = await self._request(_Listen(key=key, host=host, port=port))
        return socket.socket(fileno=fds[0])

    async def spawn(
        self, key: str, plan: ShellPlan, cols: int, rows: int, fields: Mapping[str, object]
    ) -> Item:
        """Start a shell. What was kept under this key before is no more.

        Raises:
            OSError: no more processes or terminals, or no holder.
            BadPacket: the plan is too long for a packet.
        """
        kept = {name: raw(value) for name, value in fields.items()}
        reply, _, fds = await self._request(_Spawn(key=key, plan=plan, cols=cols, rows=rows, fields=kept))
        return Item(kept, fds, reply.pid, reply.status)

    async def exec(self, argv: list[str], build: str) -> None:
        """Have the holder go on as another version of itself, of that build.

        Raises:
            OSError: that one cannot; the holder is what it was.
        """
        _, data, _ = await self._request(_Exec(argv=argv, build=build))
        self.about = _read_about(data)

    def close(self) -> None:
        """Close the connection: everything stays with the holder."""
        if self._channel is not None:
            self._on_lost = lambda: None
            self._channel.close()

    def _send(self, packet: Packet, fds: tuple[int, ...] = ()) -> None:
        if self._channel is not None:
            self._channel.send(packet, fds)

    async def _request(self, packet: _Request, sent: tuple[int, ...] = ()) -> tuple[_Reply, bytes, list[int]]:
        if self.lost or self._channel is None:
            raise ConnectionError("the holder is gone")
        number = next(self._numbers)
        future: asyncio.Future[tuple[_Reply, bytes, list[int]]] = asyncio.get_running_loop().create_future()
        self._replies[number] = future
        try:
            self._send(msgspec.structs.replace(packet, req=number), sent)
            reply, data, fds = await future
        finally:
            self._replies.pop(number, None)
        if reply.error is not None:
            raise OSError(reply.errno, reply.error)
        return reply, data, fds

    def _received(self, said: tuple[_Said, bytes], fds: list[int]) -> None:
        packet, data = said
        match packet:
            case _Reply():
                future = self._replies.pop(packet.req, None)
                if future is not None and not future.done():
                    future.set_result((packet, data, fds))
                    return
            case _Kept():
                item = self._items.setdefault(packet.key, Item())
                item.fields |= packet.fields
                item.fds += fds
                item.pid, item.status = packet.pid, packet.status
                return
            case _End() if self._complete is not None and not self._complete.done():
                self._complete.set_result(None)
            case _Exited():
                if unknown := self._items.get(packet.key):  # to whoever waits for "end"
                    unknown.status = packet.status
                else:
                    self._on_exit(packet.key, packet.status)
            case _Leave():
                self._on_leave()
        for fd in fds:
            os.close(fd)

    def _gone(self) -> None:
        self.lost = True
        error = ConnectionError("it is gone")
        for future in self._replies.values():
            if not future.done():
                future.set_exception(error)
        if self._complete is not None and not self._complete.done():
            self._complete.set_exception(error)
        self._on_lost()


def _read(data: bytes) -> tuple[_Said, bytes]:
    return _read_said(data), data


async def _connected(path: str) -> socket.socket:
    end = asyncio.get_running_loop().time() + START_SECONDS
    while True:
        try:
            return seqpacket(path)
        except OSError as error:
            if asyncio.get_running_loop().time() >= end:
                reason = error.strerror or error
                text = f"no holder at {path}: {reason}; start one: terminals holder --socket {path}"
                raise ControlError(text) from None
            await asyncio.sleep(0.05)
