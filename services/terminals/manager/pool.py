"""A few shells-to-be in stock, so that a connection does not wait for a fork."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import json
import logging
import os
import select
import socket
import struct
import subprocess
import sys
from typing import Any, NamedTuple

from terminals.background import Troubles
from terminals.control import packets
from terminals.manager import nursery
from terminals.manager.shell import Shell, fork, resize

log = logging.getLogger("terminals.manager")

RESTART_SECONDS = 1.0
REFILL_SECONDS = 0.02
"""The fork that fills a gap waits so long: the shell just started needs the processor first."""
EMPTY_MS = 50
"""How long an empty stock is waited for: the nursery forks much faster than a large process."""


class _Ready(NamedTuple):
    pid: int
    pidfd: int
    master: int
    plans: socket.socket


class ShellPool:
    """Starts shells: from the stock while it lasts, else by forking.

    ``size`` children are kept ready; 0 means none, and every shell is forked.
    """

    def __init__(self, size: int) -> None:
        self.size = size if nursery.SUPPORTED else 0
        self.hits = 0
        """Shells started from the stock."""
        self.misses = 0
        """Shells that had to be forked."""
        self._ready: collections.deque[_Ready] = collections.deque()
        self._ordered = 0
        """On their way. They count as stock: a slow nursery would be asked for ever more."""
        self._nursery: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._closed = False
        self._troubles = Troubles(log)

    @property
    def ready(self) -> int:
        """Children in stock."""
        return len(self._ready)

    @property
    def pid(self) -> int | None:
        """Of the process that makes the children."""
        return self._nursery.pid if self._nursery else None

    def start(self) -> None:
        """Start the nursery and fill the stock. The loop must be running."""
        if not self.size or self._closed:
            return
        ours: socket.socket | None = None
        try:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            ours.setblocking(False)
            with theirs:
                self._nursery = subprocess.Popen(
                    [sys.executable, "-I", "-S", nursery.__file__, str(theirs.fileno())],
                    pass_fds=(theirs.fileno(),),
                    stdin=subprocess.DEVNULL,
                )
        except OSError as error:
            if ours is not None:
                ours.close()
            self._troubles.say("the nursery of shells cannot be started", str(error))
            asyncio.get_running_loop().call_later(RESTART_SECONDS, self.start)
            return
        self._troubles.over("the nursery of shells cannot be started")
        self._socket = ours
        asyncio.get_running_loop().add_reader(ours.fileno(), self._readable)
        self._refill()

    def spawn(self, plan: dict[str, Any], *, cols: int, rows: int) -> Shell:
        """Start a planned program on a new terminal, as leader of a new session.

        Raises:
            OSError: no more processes or terminals.
        """
        shell = self._from_stock(plan, cols, rows)
        if shell is not None:
            self.hits += 1
            return shell
        self.misses += 1
        shell = fork(plan)
        resize(shell.master, cols, rows)
        return shell

    def close(self) -> None:
        """Let the nursery and the stock end."""
        self._closed = True
        self._lose()
        while self._ready:
            self._drop(self._ready.popleft())

    def _from_stock(self, plan: dict[str, Any], cols: int, rows: int) -> Shell | None:
        data = json.dumps(plan).encode()
        if len(data) > nursery.MAX_PLAN:
            return None
        while True:
            if not self._ready and not self._delivered():
                return None
            child = self._ready.popleft()
            asyncio.get_running_loop().call_later(REFILL_SECONDS, self._refill)
            if _ended(child.pidfd):
                self._drop(child)  # it was killed while it waited; its socket may still take a plan
                continue
            try:
                resize(child.master, cols, rows)
                child.plans.send(data, socket.MSG_NOSIGNAL)
            except OSError:
                self._drop(child)
                continue
            child.plans.close()
            return Shell(child.pid, child.pidfd, child.master)

    def _delivered(self) -> bool:
        """Wait for one where the stock is empty, and order it where none is on its way."""
        if self._socket is None:
            return False
        if not self._ordered:
            self._order()
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        if poll.poll(EMPTY_MS):
            self._readable()
        return bool(self._ready)

    def _refill(self) -> None:
        for _ in range(self.size - len(self._ready) - self._ordered):
            self._order()

    def _order(self) -> None:
        if self._socket is not None:
            # A full queue or a dead nursery: what is missing is ordered when it is started again.
            with contextlib.suppress(OSError):
                self._socket.send(b"+", socket.MSG_NOSIGNAL)
                self._ordered += 1

    def _readable(self) -> None:
        assert self._socket is not None
        try:
            data, fds = packets.receive(self._socket)
        except BlockingIOError:
            return
        except (OSError, packets.BadPacket):
            data, fds = b"", []
        if not data:
            self._lose()
            log.warning("the nursery of shells has ended; shells are forked until it is back")
            asyncio.get_running_loop().call_later(RESTART_SECONDS, self.start)
            return
        self._ordered -= 1
        (pid,) = struct.unpack("i", data)
        try:
            master, plans = fds
            pidfd = os.pidfd_open(pid)
        except (ValueError, OSError):  # no more descriptors: the child ends by that, too
            for fd in fds:
                os.close(fd)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)
            return
        os.set_blocking(master, False)
        self._ready.append(_Ready(pid, pidfd, master, socket.socket(fileno=plans)))

    def _lose(self) -> None:
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket.fileno())
            self._socket.close()
            self._socket = None
            self._ordered = 0
        if self._nursery is not None:
            self._nursery.kill()
            self._nursery.wait()
            self._nursery = None

    @staticmethod
    def _drop(child: _Ready) -> None:
        child.plans.close()  # one that still waits ends by this
        os.close(child.master)
        os.close(child.pidfd)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(child.pid, 0)


def _ended(pidfd: int) -> bool:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(0))
