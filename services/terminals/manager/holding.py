"""The session manager's side of the holder: see :mod:`terminals.holder`."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from terminals.control import packets
from terminals.control.channel import Channel, ControlError, seqpacket

log = logging.getLogger("terminals.manager")

VERSIONS: Final = [1]
"""Of the holder's protocol that this manager speaks."""
PATIENCE: Final = 10.0
"""Seconds that the manager before has to leave by itself."""
START_SECONDS: Final = 20.0
"""So long a holder is waited for that is not there yet: both may have been started at once."""


@dataclass(slots=True)
class Item:
    """What the holder keeps under one key. The descriptors are the receiver's own duplicates."""

    fields: dict[str, Any] = field(default_factory=dict)
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
        self._channel: Channel | None = None
        self._replies: dict[int, asyncio.Future[tuple[dict[str, Any], list[int]]]] = {}
        self._numbers = itertools.count(1)
        self._items: dict[str, Item] = {}
        self._complete: asyncio.Future[None] | None = None
        self.about: dict[str, Any] = {}
        """What the holder says of itself: version, number, build, code, pid, python."""
        self.lost = False

    async def take_over(self, path: str) -> dict[str, Item]:
        """Be the manager from now on, when the one before has ended; what there is, by key.

        Raises:
            ControlError: no holder listens at ``path``, or it refuses.
        """
        self._channel = Channel(await _connected(path), self._received, self._gone, limit=None)
        self._complete = asyncio.get_running_loop().create_future()
        # From a container beside the holder's, the holder sees no process: it is told of our end by this.
        pidfd = os.pidfd_open(os.getpid())
        try:
            self.about, _ = await self._request("hello", (pidfd,), versions=VERSIONS, patience=PATIENCE)
            await self._complete
        except ConnectionError as error:
            raise ControlError(f"the holder at {path}: {error}") from None
        finally:
            os.close(pidfd)
        items, self._items = self._items, {}
        return items

    def put(self, key: str, fields: dict[str, Any], fds: tuple[int, ...] = ()) -> None:
        """Have fields kept, those that are ``None`` no more, and descriptors in place of those before."""
        self._send({"type": "put", "key": key, "fields": fields}, fds)

    def drop(self, key: str) -> None:
        """Have nothing kept under this key any more; a shell that still runs is killed."""
        self._send({"type": "drop", "key": key})

    def signal(self, key: str, number: int) -> None:
        """Send a signal to the process group of a shell, if it still runs."""
        self._send({"type": "signal", "key": key, "number": number})

    async def listen(self, key: str, host: str, port: int) -> socket.socket:
        """A listening socket, not blocking: the one that is kept, if that is for the same address.

        Raises:
            OSError: the address cannot be had.
        """
        _, fds = await self._request("listen", key=key, host=host, port=port)
        return socket.socket(fileno=fds[0])

    async def spawn(
        self, key: str, plan: dict[str, Any], cols: int, rows: int, fields: dict[str, Any]
    ) -> Item:
        """Start a shell. What was kept under this key before is no more.

        Raises:
            OSError: no more processes or terminals, or no holder.
        """
        reply, fds = await self._request("spawn", key=key, plan=plan, cols=cols, rows=rows, fields=fields)
        return Item(fields, fds, int(reply["pid"]), reply["status"])

    async def exec(self, argv: list[str], build: str) -> None:
        """Have the holder go on as another version of itself, of that build.

        Raises:
            OSError: that one cannot; the holder is what it was.
        """
        self.about, _ = await self._request("exec", argv=argv, build=build)

    def close(self) -> None:
        """Close the connection: everything stays with the holder."""
        if self._channel is not None:
            self._on_lost = lambda: None
            self._channel.close()

    def _send(self, message: dict[str, Any], fds: tuple[int, ...] = ()) -> None:
        if self._channel is not None:
            self._channel.send(message, fds)

    async def _request(
        self, kind: str, sent: tuple[int, ...] = (), **fields: Any
    ) -> tuple[dict[str, Any], list[int]]:
        if self.lost or self._channel is None:
            raise ConnectionError("the holder is gone")
        number = next(self._numbers)
        future: asyncio.Future[tuple[dict[str, Any], list[int]]] = asyncio.get_running_loop().create_future()
        self._replies[number] = future
        self._send({"type": kind, "req": number, **fields}, sent)
        try:
            reply, fds = await future
        finally:
            self._replies.pop(number, None)
        if "error" in reply:
            raise OSError(reply.get("errno", 0), reply["error"])
        return reply, fds

    def _received(self, packet: packets.Hot | dict[str, Any], fds: list[int]) -> None:
        if isinstance(packet, packets.Hot):
            return
        match packet["type"]:
            case "reply":
                future = self._replies.pop(int(packet["req"]), None)
                if future is not None and not future.done():
                    future.set_result((packet, fds))
                    return
            case "item":
                item = self._items.setdefault(packet["key"], Item())
                item.fields |= packet["fields"]
                item.fds += fds
                item.pid, item.status = int(packet.get("pid", 0)), packet.get("status")
                return
            case "end" if self._complete is not None and not self._complete.done():
                self._complete.set_result(None)
            case "exited":
                if unknown := self._items.get(packet["key"]):  # to whoever waits for "end"
                    unknown.status = int(packet["status"])
                else:
                    self._on_exit(packet["key"], int(packet["status"]))
            case "leave":
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
