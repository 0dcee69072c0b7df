"""Clocks, and what they tell of the time that nobody looked.

Three are read together. The wall clock names moments and may be set. ``CLOCK_BOOTTIME`` cannot
be set and counts while the machine sleeps; ``CLOCK_MONOTONIC`` cannot be set and does not. Only
their differences say what happened: time that passed for none but the second was slept through,
time that passed for the first alone never passed.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, NamedTuple

Reason = Literal["suspended", "restarted", "late", "clock", "disk"]
STALL: Final = 2.0
"""A process that has not run for so many seconds did not see what happened meanwhile."""
JUMP: Final = 2.0
"""A wall clock that is corrected by less is not said to have jumped."""


class Reading(NamedTuple):
    """All clocks at one moment, in seconds, and the boot that two of them count from."""

    wall: float
    boottime: float
    monotonic: float
    boot: str


class Clock:
    """The machine's own clocks."""

    def __init__(self) -> None:
        self._boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()

    def read(self) -> Reading:
        """Read them all."""
        return Reading(time.time(), time.clock_gettime(time.CLOCK_BOOTTIME), time.monotonic(), self._boot)


@dataclass(frozen=True, slots=True)
class Gap:
    """Time in which nothing was seen. ``wall_jump``: seconds that the wall clock was set forward by.

    A wall clock that is set blinds nobody: ``seconds`` is then 0 and ``reason`` ``clock``.
    """

    seconds: float
    reason: Reason
    wall_jump: float = 0.0


def between(before: Reading, now: Reading, allowed: float) -> Gap | None:
    """What two readings of one process say that should be less than ``allowed`` seconds apart."""
    passed = now.boottime - before.boottime
    asleep = passed - (now.monotonic - before.monotonic)
    jump = _jump(now.wall - before.wall - passed)
    if passed > allowed:
        return Gap(passed, "suspended" if asleep > passed / 2 else "late", jump)
    return Gap(0.0, "clock", jump) if jump else None


def since_last(at: float, boottime: float, boot: str, now: Reading) -> Gap:
    """The gap that a new monitor finds since the last record of the one before, at ``at``.

    From an earlier boot only the wall clock can tell, and it is not to be trusted below the time that this
    boot has lasted.
    """
    if boot == now.boot:
        passed = max(0.0, now.boottime - boottime)
        return Gap(passed, "restarted", _jump(now.wall - at - passed))
    passed = max(now.wall - at, now.boottime)
    return Gap(passed, "restarted", _jump(now.wall - at - passed))


def allowed(interval: float) -> float:
    """How long a monitor may stand still before that is a gap: half an interval, no check is missed by it."""
    return max(STALL, interval / 2)


def next_due(origin: float, interval: float, now: float) -> float:
    """The first moment of the grid ``origin + n * interval`` after ``now``: late rounds do not add up."""
    number = math.floor((now - origin) / interval) + 1
    due = origin + number * interval
    return due if due > now else origin + (number + 1) * interval  # the quotient was rounded down


def _jump(seconds: float) -> float:
    return seconds if abs(seconds) > JUMP else 0.0
