"""Shells that are kept ready and are let go of leave nothing: no file, no descriptor, no process."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from terminals.manager.ready import MAX_AGE

from tests.support.holder import RunningHolder
from tests.support.processes import open_files
from tests.unit.manager.test_attach import House, house


async def has(there: House, wanted: int, but: set[str] = frozenset()) -> set[str]:
    """The rings, once there are so many, all shells run, and none is of ``but``."""
    async with asyncio.timeout(20):
        while True:
            names = {path.name for path in (there.folder / "state" / "sessions").glob("*.ring")}
            started = [one.started is not None and one.started.done() for one in there.registry.ready]
            if len(names) == wanted == len(started) and all(started) and not names & but:
                return names
            await asyncio.sleep(0.02)


def terminals_of(pid: int) -> int:
    return sum("ptmx" in name for name in open_files(pid))


def test_a_shell_that_has_become_too_old_is_gone_for_good(tmp_path):
    async def main(holder: RunningHolder) -> None:
        async with house(tmp_path, holder.socket, ready=2) as there:
            there.registry.ready.fill()
            names = await has(there, 2)
            before = terminals_of(os.getpid())  # with those that other tests have left to this process
            for _ in range(3):
                now = asyncio.get_running_loop().time()
                there.registry.enforce_limits(now + MAX_AGE + 1)
                assert len(there.registry.ready) == 2, "those that leave are given to nobody"
                names = await has(there, 2, names)
                async with asyncio.timeout(20):
                    while terminals_of(holder.process.pid) > 2 or terminals_of(os.getpid()) > before:  # noqa: ASYNC110
                        await asyncio.sleep(0.02)  # the holder is told after the ring is gone
            rings = [Path(tmp_path, "state", "sessions", name) for name in names]
            assert there.registry.rings_bytes == sum(path.stat().st_size for path in rings)

    with RunningHolder() as holder:
        asyncio.run(main(holder))
