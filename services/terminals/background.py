"""Work beside: tasks whose end is noticed, and troubles that are said but not each time."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Coroutine
from typing import Any

SAY_AGAIN = 60.0
"""Seconds after which a trouble that goes on is said once more."""


class Background:
    """Tasks that nobody waits for.

    The loop holds tasks weakly, so each is referenced here until it has ended; one that ends by an
    exception is logged then, and not when its memory happens to be taken back.
    """

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self.tasks: set[asyncio.Task[None]] = set()

    def start(self, work: Coroutine[Any, Any, None], what: str) -> asyncio.Task[None]:
        """Have ``work`` done; ``what`` it is, for the log."""
        task = asyncio.get_running_loop().create_task(work, name=what)
        self.tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self.tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._log.error("%s ended by %r", task.get_name(), error, exc_info=error)


class Troubles:
    """What goes wrong again and again is logged when it begins, and from time to time while it goes on."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._said: dict[str, tuple[float, int]] = {}

    def say(self, kind: str, text: str, error: BaseException | None = None) -> None:
        """Something of this ``kind`` has gone wrong; an ``error`` is logged with where it came from."""
        now = time.monotonic()
        since, unsaid = self._said.get(kind, (float("-inf"), 0))
        if now - since < SAY_AGAIN:
            self._said[kind] = (since, unsaid + 1)
            return
        self._said[kind] = (now, 0)
        more = f" ({unsaid} more since the last line)" if unsaid else ""
        self._log.warning("%s: %s%s", kind, text, more, exc_info=error)

    def forget(self, kind: str) -> None:
        """What it was about is gone."""
        self._said.pop(kind, None)

    def over(self, kind: str) -> None:
        """It works; said only where it did not."""
        if self._said.pop(kind, None) is not None:
            self._log.info("%s: works again", kind)
