"""Sessions without a session manager around them."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Callable

from terminals.manager.inputs import Inputs
from terminals.manager.journal import Journal
from terminals.manager.ring import Ring
from terminals.manager.session import Session
from terminals.manager.shell import Shell
from terminals.protocol.breaker import CircuitBreaker


def session_of(
    ring: Ring, *, hold_seconds: float = 0.01, on_output: Callable[[Session], None] = lambda session: None
) -> Session:
    """A session of this ring, not started; ``on_output`` is told of output as the keeper of screens is."""
    return Session(
        id="session_0000000000000_alone0000",
        profile="system",
        epoch="e",
        origin="g1",
        generation="g1",
        created=0.0,
        ring=ring,
        shell=None,
        breaker=CircuitBreaker(),
        hold_seconds=hold_seconds,
        on_end=lambda session: None,
        on_output=on_output,
        send_signal=lambda session, number: None,
        journal=Journal.create(),
        with_room=lambda attempt: attempt(),
        inputs=Inputs(ring.words),
        born=0.0,
    )


def start(session: Session, process: subprocess.Popen[bytes], master: int) -> None:
    """Have it work with the terminal of a process, and be told when that ends, as the holder does."""
    loop = asyncio.get_running_loop()
    pidfd = os.pidfd_open(process.pid)

    def ended() -> None:
        loop.remove_reader(pidfd)
        os.close(pidfd)
        session.exited(process.wait())

    session.start(Shell(process.pid, master))
    loop.add_reader(pidfd, ended)
