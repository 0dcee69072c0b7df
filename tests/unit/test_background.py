"""Tasks whose end is noticed, and troubles that do not fill the log."""

from __future__ import annotations

import asyncio
import logging

from terminals.background import Background, Troubles

log = logging.getLogger("terminals.test")


def test_a_task_that_ends_by_an_exception_is_logged_and_a_cancelled_one_is_not(caplog):
    async def work() -> None:
        background = Background(log)

        async def fail() -> None:
            raise RuntimeError("no luck")

        failing = background.start(fail(), "the failing one")
        waiting = background.start(asyncio.sleep(60), "the waiting one")
        assert background.tasks == {failing, waiting}
        await asyncio.wait([failing])
        waiting.cancel()
        await asyncio.wait([waiting])
        assert not background.tasks

    asyncio.run(work())
    assert [record.message for record in caplog.records] == [
        "the failing one ended by RuntimeError('no luck')"
    ]


def test_the_same_trouble_is_said_once_and_its_end_once(caplog):
    caplog.set_level(logging.INFO)
    troubles = Troubles(log)
    for _ in range(1000):
        troubles.say("the disk", "full")
        troubles.say("the net", "slow")
    for _ in range(2):
        troubles.over("the disk")
    troubles.say("the disk", "full")
    assert [record.message for record in caplog.records] == [
        "the disk: full",
        "the net: slow",
        "the disk: works again",
        "the disk: full",
    ]
