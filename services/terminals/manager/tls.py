"""The manager's side of TLS: connections go to the terminator, and what it has decrypted comes back."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Final, NamedTuple

from terminals.background import Troubles
from terminals.control.channel import Channel
from terminals.manager.certificate import TlsFiles
from terminals.manager.child import start_child
from terminals.manager.handshakes import Conn, Drop, FromTerminator, Ready, Reload, read_by_manager

log = logging.getLogger("terminals.manager")

HANDSHAKES: Final = 512
"""Handshakes that may be in progress; further connections wait in the kernel's queue ..."""
PATIENCE: Final = 1.0
"""... unless one has taken so many seconds: the oldest such makes room."""
RESTART_SECONDS: Final = 1.0


class _Handshake(NamedTuple):
    listener: str
    address: str
    end: socket.socket
    """The decrypted connection, to be passed on when the handshake is done."""
    since: float


class TlsFront:
    """Has a process of its own end TLS. ``arrived(listener, connection, address)`` gets what it decrypts."""

    def __init__(self, files: TlsFiles, arrived: Callable[[str, socket.socket, str], None]) -> None:
        self._files = files
        self._arrived = arrived
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: Channel[FromTerminator] | None = None
        self._started = 0.0
        self._handshakes: dict[int, _Handshake] = {}
        self._last = 0
        self._closed = False
        self._troubles = Troubles(log)
        self.results = dict.fromkeys(("done", "failed", "displaced"), 0)
        """Handshakes by how they ended."""

    @property
    def pid(self) -> int | None:
        """Of the terminator."""
        return self._process.pid if self._process else None

    @property
    def handshakes(self) -> int:
        """How many are in progress."""
        return len(self._handshakes)

    def start(self) -> None:
        """Start the terminator. The loop must be running."""
        if self._closed:
            return
        files = [os.fspath(self._files.certificate), os.fspath(self._files.key)]
        try:
            self._process, ours = start_child("terminals.manager.terminator", *files)
        except OSError as error:
            self._troubles.say("the TLS terminator cannot be started", str(error))
            asyncio.get_running_loop().call_later(RESTART_SECONDS, self.start)
            return
        self._troubles.over("the TLS terminator cannot be started")
        self._started = time.monotonic()
        self._channel = Channel(ours, read_by_manager, self._packet, self._lost)

    def room(self) -> bool:
        """Whether one more connection can be taken now. Makes room where somebody is too slow."""
        if self._channel is None or self._channel.closed:
            return False
        if len(self._handshakes) < HANDSHAKES:
            return True
        number, oldest = next(iter(self._handshakes.items()))
        if time.monotonic() - oldest.since < PATIENCE:
            return False
        self._channel.send(Drop(id=number))
        self._end(number, "displaced").end.close()
        return True

    def take(self, listener: str, conn: socket.socket, address: str) -> None:
        """Have a connection decrypted. ``conn`` is ours from here on.

        Raises:
            OSError: no more descriptors; the connection is closed.
        """
        assert self._channel is not None
        with ExitStack() as stack:
            stack.enter_context(conn)
            ours, theirs = socket.socketpair()
            stack.enter_context(theirs)
            self._last += 1
            number = self._last
            self._handshakes[number] = _Handshake(listener, address, ours, time.monotonic())
            packet = Conn(id=number, address=address)
            try:
                self._channel.send(packet, (conn.fileno(), theirs.fileno()))
            except OSError:
                self._end(number, "failed").end.close()
                raise

    def reload(self) -> None:
        """Read certificate and key again. A broken pair changes nothing, and is logged."""
        if self._channel is not None:
            self._channel.send(Reload())

    def close(self) -> None:
        """Let the terminator end, once it has carried what is on its way."""
        self._closed = True
        if self._channel is not None:
            self._channel.close()

    def _packet(self, packet: FromTerminator, _: list[int]) -> None:
        if packet.id not in self._handshakes:
            return  # it was dropped in the meantime
        done = isinstance(packet, Ready)
        handshake = self._end(packet.id, "done" if done else "failed")
        if done:
            self._arrived(handshake.listener, handshake.end, handshake.address)
        else:
            handshake.end.close()

    def _end(self, number: int, result: str) -> _Handshake:
        self.results[result] += 1
        return self._handshakes.pop(number)

    def _lost(self) -> None:
        for number in list(self._handshakes):
            self._end(number, "failed").end.close()
        if self._closed or self._process is None:
            return
        self._process.kill()
        self._process.wait()
        self._process = None
        log.warning("the TLS terminator has ended, and its connections with it: starting another")
        # At once, unless it cannot even start.
        early = time.monotonic() - self._started < RESTART_SECONDS
        asyncio.get_running_loop().call_later(RESTART_SECONDS if early else 0.0, self.start)
