"""Exponential backoff with full jitter.

The delay before attempt ``n`` is uniform between 0 and ``min(cap, base * 2**n)``: clients
that lost their server together do not come back together.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """Delays in seconds. ``uniform(a, b)`` is the source of randomness."""

    base: float = 0.1
    cap: float = 30.0
    uniform: Callable[[float, float], float] = random.uniform

    def __post_init__(self) -> None:
        if not (0 < self.base <= self.cap):
            raise ValueError(f"backoff needs 0 < base <= cap, not base={self.base} cap={self.cap}")

    def ceiling(self, attempt: int) -> float:
        """The longest delay before attempt ``attempt`` (0 is the first retry)."""
        if attempt < 0:
            raise ValueError(f"attempt must not be negative: {attempt}")
        # 2.0 ** 1100 overflows; past 64 doublings the cap has long been reached.
        return min(self.cap, self.base * 2.0 ** min(attempt, 64))

    def delay(self, attempt: int) -> float:
        """A random delay before attempt ``attempt``."""
        return self.uniform(0.0, self.ceiling(attempt))
