"""Whose bytes are looked at next, where more have come than can be looked at at once."""

from __future__ import annotations

import asyncio
import collections
import time
from collections.abc import Callable
from typing import Final

SLICE: Final = 0.001
"""Seconds of each round of the loop that go to those who wait for their turn: all others wait meanwhile."""
BURST: Final = 4096
RATE: Final = 4096
"""Bytes, and bytes a second, of one connection that are looked at as they come: what a person types, and what
a client acknowledges. In a flood are ten thousand frames in what is read at once."""


class Turns:
    """Gives each of those who wait one turn after the other, for a slice of each round of the loop.

    A turn looks at a little; whoever wants another one is added again.
    """

    def __init__(self) -> None:
        self._waiting: collections.deque[Callable[[], None]] = collections.deque()
        self._scheduled = False

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, turn: Callable[[], None]) -> None:
        """``turn()`` is called when its time has come."""
        self._waiting.append(turn)
        self._schedule()

    def _schedule(self) -> None:
        if not self._scheduled and self._waiting:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._round)

    def _round(self) -> None:
        self._scheduled = False
        end = time.perf_counter() + SLICE
        try:
            # At least one, however slow the machine is.
            while self._waiting:
                self._waiting.popleft()()
                if time.perf_counter() >= end:
                    break
        finally:
            self._schedule()


class Allowance:
    """What of one connection is looked at as it comes. Times are seconds of any clock."""

    __slots__ = ("_left", "_since")

    def __init__(self, now: float) -> None:
        self._left = float(BURST)
        self._since = now

    def takes(self, size: int, now: float) -> bool:
        """Whether so many bytes may go first."""
        self._left = min(float(BURST), self._left + (now - self._since) * RATE)
        self._since = now
        if size > self._left:
            return False
        self._left -= size
        return True
