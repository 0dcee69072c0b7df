"""What the ledger holds, as data."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class State(StrEnum):
    """Where a rollout stands."""

    RUNNING = "running"
    PROMOTED = "promoted"
    ROLLING_BACK = "rolling-back"
    ROLLED_BACK = "rolled-back"
    ROLLBACK_FAILED = "rollback-failed"

    @property
    def open(self) -> bool:
        """Whether something is left to be done: ``rollout resume`` goes on from here."""
        return self in (State.RUNNING, State.ROLLING_BACK, State.ROLLBACK_FAILED)


TRANSITIONS: dict[State, frozenset[State]] = {
    State.RUNNING: frozenset({State.PROMOTED, State.ROLLING_BACK}),
    State.PROMOTED: frozenset(),
    State.ROLLING_BACK: frozenset({State.ROLLED_BACK, State.ROLLBACK_FAILED}),
    State.ROLLED_BACK: frozenset(),
    State.ROLLBACK_FAILED: frozenset({State.ROLLING_BACK}),
}
"""Which state may follow which. Nothing leaves a final state."""


@dataclass(frozen=True, slots=True)
class RolloutRecord:
    """One rollout. Times in Unix seconds. ``kind`` is deploy, promote or rollback.

    ``generation`` and ``previous_generation`` are the names in the environment; ``previous_*`` is
    what it goes back to, ``None`` for the first build of an environment.
    """

    id: int
    env: str
    number: int
    kind: str
    build: str
    digest: str
    generation: str
    previous_build: str | None
    previous_generation: str | None
    state: State
    plan: dict[str, Any]
    operator: str
    started: float
    ended: float | None = None
    reason: str = ""
    figures: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """A step began, ended or failed. ``index`` is the step's place in the plan."""

    rollout: int
    index: int
    step: str
    phase: str
    at: float
    fence: int
    data: dict[str, Any]
