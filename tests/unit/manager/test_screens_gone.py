"""A keeper of screens that has just died: nobody waits for it for ever."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal

from terminals.manager.ring import Ring
from terminals.manager.screens import Screens

from tests.unit.manager.sessions import session_of


def test_who_looks_first_after_its_end_is_not_held_for_it(tmp_path):
    async def main() -> None:
        screens = Screens()
        first, other = (session_of(Ring.create(tmp_path / f"{name}.ring", 1 << 16)) for name in "ab")
        other.id = "session_0000000000000_another00000"
        screens.advance(first)
        assert screens.pid is not None
        os.kill(screens.pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitid(os.P_PID, screens.pid, os.WEXITED | os.WNOWAIT)  # noqa: ASYNC222 - that it has no time
        # The loop has had no time to read the end of it.
        other.kept = 0
        screens.advance(other)
        assert other.kept is None, "its shell runs free"
        assert screens.followed == 0
        assert screens.pid is None
        screens.check(asyncio.get_running_loop().time() + 1000)
        screens.close()
        for session in (first, other):
            session.journal.close()
            session.ring.close()

    asyncio.run(main())
