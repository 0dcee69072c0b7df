"""The heartbeats of all connections, on one timer: one of its own would cost each as much as its buffers."""

from __future__ import annotations

import asyncio
import math
from typing import Final, Protocol

GRAINS: Final = 64
"""Heartbeats within so small a part of the interval come together; each is late by that at the most."""


class Beating(Protocol):
    """What has a heartbeat."""

    def beat(self) -> None:
        """Its time has come."""


class Beats:
    """Calls ``beat()`` of each member once, when its time has come; for another it is added again."""

    def __init__(self) -> None:
        self._due: dict[int, set[Beating]] = {}
        self._grain = 0.0
        self._timer: asyncio.Handle | None = None
        self._wakes = math.inf
        """When the timer does (loop time): a loop's handle for what is due already need not know it."""

    def add(self, member: Beating, interval: float) -> int:
        """Have ``member`` beat in ``interval`` seconds; gives what :meth:`discard` is to know.

        The interval is the same for all, and may be another one day.
        """
        loop = asyncio.get_running_loop()
        if not self._due or not self._grain:
            self._grain = interval / GRAINS
        time = math.ceil((loop.time() + interval) / self._grain)
        self._due.setdefault(time, set()).add(member)
        if time * self._grain < self._wakes:
            self._schedule()
        return time

    def discard(self, member: Beating, time: int) -> None:
        """Have it beat no more."""
        if members := self._due.get(time):
            members.discard(member)
            if not members:
                del self._due[time]

    def _schedule(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._wakes = None, math.inf
        if self._due:
            self._wakes = min(self._due) * self._grain
            self._timer = asyncio.get_running_loop().call_at(self._wakes, self._beat)

    def _beat(self) -> None:
        self._timer, self._wakes = None, -math.inf  # what is added meanwhile is scheduled at the end
        now = asyncio.get_running_loop().time()
        try:
            for time in sorted(time for time in self._due if time * self._grain <= now):
                # Taken one by one: where one breaks, the others have their turn at once.
                members = self._due[time]
                while members:
                    members.pop().beat()
                self._due.pop(time, None)
        finally:
            self._schedule()
