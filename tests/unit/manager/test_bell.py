"""When a session wakes the worker that serves it."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
from collections.abc import Iterator

import pytest
from terminals.manager import session as module
from terminals.manager.peers import Peer
from terminals.manager.ring import Ring
from terminals.manager.session import BELL_BYTES, BULK, Attachment
from terminals.manager.shell import Shell

from tests.unit.manager.sessions import session_of


class Terminal:
    """A session whose terminal is a socket, so that what is printed at once is read at once."""

    def __init__(self, ring: Ring) -> None:
        ours, self.slave = socket.socketpair()
        ours.setblocking(False)
        self.process = subprocess.Popen(["sleep", "60"])
        self.doorbell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.master = ours.detach()
        self.session = session_of(ring, hold_seconds=1.0)

    async def attach(self) -> None:
        self.session.start(Shell(self.process.pid, self.master))
        self.session.attach(Attachment(1, "c", Peer(), self.doorbell, 0.0), 0)
        self.session.ring_bell()
        assert self.rung()

    def rung(self) -> bool:
        """Whether it has woken the worker since this was asked last."""
        try:
            return os.eventfd_read(self.doorbell) > 0
        except BlockingIOError:
            return False

    async def print(self, count: int) -> None:
        """Print, and wait until it is in the ring."""
        wanted = self.session.ring.head + count
        self.slave.sendall(b"x" * count)
        async with asyncio.timeout(10):
            while self.session.ring.head < wanted:  # noqa: ASYNC110 - nothing tells it but the ring
                await asyncio.sleep(0)

    def close(self) -> None:
        self.session.discard()
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.slave.close()
        os.close(self.master)


@pytest.fixture
def terminal(tmp_path) -> Iterator[Terminal]:
    terminal = Terminal(Ring.create(tmp_path / "bell.ring", 1 << 20))
    yield terminal
    terminal.close()


def test_bulk_output_is_announced_in_large_pieces_and_an_echo_at_once(terminal, monkeypatch):
    monkeypatch.setattr(module, "BELL_SECONDS", 3600)

    async def main() -> None:
        await terminal.attach()
        await terminal.print(1)
        assert terminal.rung()
        await terminal.print(BULK)
        assert not terminal.rung()
        for _ in range(BELL_BYTES // BULK):
            await terminal.print(BULK)
        assert terminal.rung()
        await terminal.print(BULK)
        assert not terminal.rung()
        await terminal.print(1)
        assert terminal.rung()

    asyncio.run(main())


@pytest.mark.parametrize("what", ["output", "input"])
def test_what_nothing_follows_is_announced_soon(terminal, what):
    async def main() -> None:
        await terminal.attach()
        if what == "output":
            await terminal.print(BULK)
        else:
            terminal.session.input("c", 0, b"typed")
        async with asyncio.timeout(10):
            while not terminal.rung():  # noqa: ASYNC110 - an eventfd that another process waits for
                await asyncio.sleep(0.001)

    asyncio.run(main())


def test_an_acknowledgement_of_input_waits_for_the_echo(terminal, monkeypatch):
    monkeypatch.setattr(module, "BELL_SECONDS", 3600)

    async def main() -> None:
        await terminal.attach()
        terminal.session.input("c", 0, b"typed")
        assert not terminal.rung()
        await terminal.print(1)
        assert terminal.rung()

    asyncio.run(main())
