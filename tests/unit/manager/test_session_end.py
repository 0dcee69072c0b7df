"""What is left to do for a session whose shell has ended: nothing."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess

from terminals.manager.peers import Peer
from terminals.manager.ring import Ring
from terminals.manager.session import Attachment, Session

from tests.unit.manager.sessions import session_of, start


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
        session = session_of(Ring.create(tmp_path / "ended.ring", 1 << 16), on_output=look)
        start(session, process, master)
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
        session = session_of(Ring.create(tmp_path / "a.ring", 1 << 16))
        session.on_end = Session.discard
        start(session, process, master)
        async with asyncio.timeout(10):
            while session.live:  # noqa: ASYNC110 - its end is told to nobody else here
                await asyncio.sleep(0.001)

    asyncio.run(main())
    assert failures == []


def test_a_session_whose_client_takes_nothing_can_be_ended_when_its_shell_has_ended(tmp_path):
    """Its last output has no room in the ring: the client is there, answers, and acknowledges none of it."""

    async def main() -> None:
        master, slave = os.openpty()
        os.set_blocking(master, False)
        process = subprocess.Popen(["yes"], stdout=slave)  # noqa: ASYNC220
        os.close(slave)
        signals: list[int] = []
        session = session_of(Ring.create(tmp_path / "full.ring", 1 << 16), hold_seconds=60)
        session.send_signal = lambda _, number: signals.append(number)
        start(session, process, master)
        session.attach(Attachment(1, "c", Peer(), os.eventfd(0, os.EFD_NONBLOCK), 0.0), 0)
        async with asyncio.timeout(10):
            while session.ring.head < 1 << 16:  # noqa: ASYNC110 - nothing tells it but the ring
                await asyncio.sleep(0.001)
            process.kill()
            while process.poll() is None:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
            await asyncio.sleep(0.01)
        assert session.live
        session.kill()
        assert not session.live
        assert session.status == -signal.SIGKILL
        assert signals == []  # its number may be somebody else's by now
        session.discard()

    asyncio.run(main())
