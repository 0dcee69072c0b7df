"""A circuit breaker: closed, open, half-open.

Closed lets every attempt through and counts consecutive failures. ``threshold`` of them
open it. Open refuses until ``cooldown`` seconds have passed, then half-open lets exactly
one trial through: its success closes the breaker, its failure opens it again with twice
the cooldown, up to ``max_cooldown``. A trial that ends as neither, told to leave or given up,
is followed by another after the same cooldown.

The caller passes the time in (monotonic seconds); the breaker reads no clock.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from terminals.protocol import LOOP_THRESHOLD


class BreakerState(Enum):
    """The three states of a circuit breaker."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


class Standing(NamedTuple):
    """All that a breaker remembers."""

    state: str
    failures: int
    opened: int
    retry_at: float
    """Monotonic seconds."""
    wait: float


@dataclass(slots=True)
class CircuitBreaker:
    """Stops a client from reconnecting for ever, and a server from serving a loop for ever."""

    threshold: int = LOOP_THRESHOLD
    cooldown: float = 5.0
    max_cooldown: float = 60.0
    opened: int = 0
    """How often the breaker has gone from closed to open: one reconnection loop each."""
    failures: int = 0
    """Consecutive failures while closed."""
    _state: BreakerState = field(default=BreakerState.CLOSED, init=False)
    _retry_at: float = field(default=0.0, init=False)
    _wait: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        if self.threshold < 1 or not (0 < self.cooldown <= self.max_cooldown):
            raise ValueError("a breaker needs threshold >= 1 and 0 < cooldown <= max_cooldown")

    @property
    def standing(self) -> Standing:
        """Where it stands, for :meth:`restore`."""
        return Standing(self._state.value, self.failures, self.opened, self._retry_at, self._wait)

    def restore(self, saved: Standing) -> None:
        """Go on from where another one stood, by the same clock."""
        state, self.failures, self.opened, self._retry_at, self._wait = saved
        self._state = BreakerState(state)

    @property
    def state(self) -> BreakerState:
        """Where the breaker stands."""
        return self._state

    def allow(self, now: float) -> bool:
        """Whether an attempt may start now. In half-open one caller in a cooldown gets ``True``."""
        if self._state is BreakerState.CLOSED:
            return True
        if now < self._retry_at:
            return False
        self._state = BreakerState.HALF_OPEN
        self._retry_at = now + self._wait
        return True

    def retry_after(self, now: float) -> float:
        """Seconds until a trial will be let through; 0 when it would be now."""
        return 0.0 if self._state is BreakerState.CLOSED else max(0.0, self._retry_at - now)

    def success(self) -> None:
        """An attempt succeeded and stayed stable."""
        self._state = BreakerState.CLOSED
        self.failures = 0
        self._wait = 0.0

    def failure(self, now: float) -> bool:
        """An attempt failed. Returns whether this failure opened a closed breaker."""
        if self._state is BreakerState.HALF_OPEN:
            self._open(now, min(self.max_cooldown, self._wait * 2))
            return False
        if self._state is BreakerState.OPEN:
            return False
        self.failures += 1
        if self.failures < self.threshold:
            return False
        self.opened += 1
        self._open(now, self.cooldown)
        return True

    def trial_now(self, now: float) -> None:
        """A person asks for a trial at once."""
        if self._state is BreakerState.OPEN:
            self._retry_at = now

    def _open(self, now: float, wait: float) -> None:
        self._state = BreakerState.OPEN
        self._wait = wait
        self._retry_at = now + wait
