"""Readiness that anybody may ask for without costing the manager anything."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from terminals.web.backend import Backend, BackendError

FRESH_SECONDS = 0.5
TIMEOUT_SECONDS = 2.0


class Readiness:
    """Asks the manager at most once per ``FRESH_SECONDS``, however many ask us.

    ``clock`` returns monotonic seconds.
    """

    def __init__(self, backend: Backend, clock: Callable[[], float]) -> None:
        self._backend = backend
        self._clock = clock
        self._lock = asyncio.Lock()
        self._ready = False
        self._checked: float | None = None

    async def ready(self) -> bool:
        """Whether the session manager answers."""
        async with self._lock:
            if self._checked is None or self._clock() - self._checked >= FRESH_SECONDS:
                self._ready = await self._ask()
                self._checked = self._clock()
            return self._ready

    async def _ask(self) -> bool:
        try:
            await asyncio.wait_for(self._backend.status(), TIMEOUT_SECONDS)
        except (BackendError, TimeoutError):
            return False
        return True
