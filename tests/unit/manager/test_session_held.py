"""A shell that is held until the keeper of screens has seen its output goes on, however late that answers."""

from __future__ import annotations

import asyncio
import os
import subprocess

import pytest
from terminals.manager.ring import Ring
from terminals.manager.session import Session

from tests.unit.manager.sessions import session_of, start

RING = 1 << 16


@pytest.mark.parametrize("reads", [1, 16])
@pytest.mark.parametrize("behind", [0, 1 << 10, 1 << 14, RING - (1 << 10)])
def test_a_keeper_that_answers_with_what_it_saw_long_ago(tmp_path, monkeypatch, behind, reads):
    """One look at a time, and each answer tells of ``behind`` bytes less than there are by now.

    With one read per turn, a turn often ends with the room used up to the byte.
    """
    monkeypatch.setattr("terminals.manager.session.READS_PER_TURN", reads)
    asked = 0

    async def main() -> None:
        waiting = False

        def answer(session: Session) -> None:
            nonlocal waiting
            waiting = False
            session.keep(max(session.kept or 0, session.ring.head - (behind if asked % 2 else 0)))

        def look(session: Session) -> None:
            nonlocal asked, waiting
            if not waiting:  # as terminals.manager.screens: asked once, until it is answered
                asked, waiting = asked + 1, True
                asyncio.get_running_loop().call_later(0.002, answer, session)

        master, slave = os.openpty()
        os.set_blocking(master, False)
        process = subprocess.Popen(["yes"], stdout=slave)  # noqa: ASYNC220
        os.close(slave)
        session = session_of(Ring.create(tmp_path / "held.ring", RING), on_output=look)
        start(session, process, master)
        async with asyncio.timeout(20):
            while session.ring.head < 40 * RING:
                assert session.ring.head - (session.kept or 0) <= RING
                await asyncio.sleep(0.001)
        process.kill()
        async with asyncio.timeout(10):
            while session.live:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        session.discard()

    asyncio.run(main())
