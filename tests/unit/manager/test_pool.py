"""The stock of shells-to-be, with a real nursery."""

from __future__ import annotations

import asyncio
import os
import signal

from terminals.manager.pool import REFILL_SECONDS, ShellPool
from terminals.manager.shell import Profile, Shell, plan

from tests.support.stack import until

SIZE = 4
PLAN = plan("system", Profile(("/bin/true",)), "s")


async def full(pool: ShellPool) -> None:
    await asyncio.to_thread(until, lambda: pool.ready >= SIZE, "a full stock")


def ended(shells: list[Shell]) -> None:
    for shell in shells:
        os.close(shell.master)
        os.close(shell.pidfd)
        os.waitpid(shell.pid, 0)


def test_a_slow_nursery_is_not_asked_for_more_than_the_stock():
    async def scenario() -> None:
        pool = ShellPool(SIZE)
        pool.start()
        shells = []
        try:
            await full(pool)
            os.kill(pool.pid, signal.SIGSTOP)
            # Four from the stock, five by forking: the nursery does not answer.
            shells = [pool.spawn(PLAN, cols=80, rows=24) for _ in range(SIZE + 5)]
            assert (pool.hits, pool.misses) == (SIZE, 5)
            await asyncio.sleep(2 * REFILL_SECONDS)  # every refill has been asked for
            os.kill(pool.pid, signal.SIGCONT)
            await full(pool)
            # Children come in the order of their orders: what was too much is here before this one's.
            shells.append(pool.spawn(PLAN, cols=80, rows=24))
            await full(pool)
            assert pool.ready == SIZE
        finally:
            ended(shells)
            pool.close()

    asyncio.run(scenario())
