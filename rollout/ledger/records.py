"""What the ledger holds, as data."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

EventKind = Literal[
    "approval",
    "override",
    "notification",
    "plan-step",
    "alert",
    "cancel",
    "teardown",
    "drain",
    "certify",
    "door",
    "lost",
    "upgrade",
]


class State(StrEnum):
    """Where a rollout stands."""

    RUNNING = "running"
    PROMOTED = "promoted"
    ROLLING_BACK = "rolling-back"
    ROLLED_BACK = "rolled-back"
    ROLLBACK_FAILED = "rollback-failed"
    REHEARSED = "rehearsed"
    """A rehearsal that went back as it should."""
    APPLIED = "applied"
    """Settings that came into force; what serves is the build that served before."""

    @property
    def open(self) -> bool:
        """Whether something is left to be done: ``rollout resume`` goes on from here."""
        return self in (State.RUNNING, State.ROLLING_BACK, State.ROLLBACK_FAILED)


TRANSITIONS: dict[State, frozenset[State]] = {
    State.RUNNING: frozenset({State.PROMOTED, State.APPLIED, State.ROLLING_BACK}),
    State.PROMOTED: frozenset(),
    State.ROLLING_BACK: frozenset({State.ROLLED_BACK, State.ROLLBACK_FAILED, State.REHEARSED}),
    State.ROLLED_BACK: frozenset(),
    State.REHEARSED: frozenset(),
    State.APPLIED: frozenset(),
    State.ROLLBACK_FAILED: frozenset({State.ROLLING_BACK}),
}
"""Which state may follow which. Nothing leaves a final state."""


@dataclass(frozen=True, slots=True)
class RolloutRecord:
    """One rollout. Times in Unix seconds. ``kind`` is deploy, promote, rollback or
    rehearsal.

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

    @property
    def adopted(self) -> bool:
        """Whether it was done without the ledger, which was told afterwards: nothing was planned."""
        return self.kind == "rollback" and self.plan.get("forward") == []


@dataclass(frozen=True, slots=True)
class Event:
    """Something that was decided or told: an approval, an override, a notification.

    ``by`` is who; ``rollout`` is ``None`` for what concerns the environment and no rollout yet.
    """

    env: str
    kind: EventKind
    at: float
    by: str
    data: dict[str, Any]
    rollout: int | None = None


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
