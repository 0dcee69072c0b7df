"""What is left to do for a session whose shell has ended: nothing."""

from __future__ import annotations

import asyncio
import os
import subprocess

from terminals.manager.peers import Peer
from terminals.manager.ring import Ring
from terminals.manager.session import Attachment, Session
from terminals.manager.shell import Shell

from tests.unit.manager.sessions import session_of


def test_nobody_looks_again_and_again_at_an_ended_session(tmp_path):
    """Its terminal hung up before the shell was reaped, and its client left before that."""
    looks = 0

    def look(session: Session) -> None:
        nonlocal looks
        looks += 1
        asyncio.get_running_loop().call_soon(session.keep, session.ring.head)  # as the keeper answers

    async def main() -> None:
        master, slave = os.openpty()
        os.set_blocking(master, False)
        process = subprocess.Popen(["sleep", "60"])  # noqa: ASYNC220
        session = session_of(
            Shell(process.pid, os.pidfd_open(process.pid), master),
            Ring.create(tmp_path / "ended.ring", 1 << 16),
            on_output=look,
        )
        session.start()
        session.attach(Attachment(1, "c", Peer(), os.eventfd(0, os.EFD_NONBLOCK), 0.0), 0)
        os.close(slave)
        await asyncio.sleep(0.01)
        process.kill()
        async with asyncio.timeout(10):
            while session.live:  # noqa: ASYNC110 - the session tells the registry only
                await asyncio.sleep(0.001)
        session.detach()
        await asyncio.sleep(0.1)
        assert looks <= 1
        session.discard()

    asyncio.run(main())


def test_a_session_that_is_let_go_of_at_its_end_is_not_read_again(tmp_path):
    failures: list[object] = []

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: failures.append(context))
        master, slave = os.openpty()
        os.set_blocking(master, False)
        process = subprocess.Popen(["echo", "last words"], stdout=slave)  # noqa: ASYNC220
        os.close(slave)
        session = session_of(
            Shell(process.pid, os.pidfd_open(process.pid), master), Ring.create(tmp_path / "a.ring", 1 << 16)
        )
        session.on_end = Session.discard
        session.start()
        async with asyncio.timeout(10):
            while session.live:  # noqa: ASYNC110 - its end is told to nobody else here
                await asyncio.sleep(0.001)

    asyncio.run(main())
    assert failures == []
