"""What a rollout tells whoever watches it: the command's progress, a test, nobody.

The pipeline calls these from the thread that runs the rollout; an observer never decides anything and must
not raise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from rollout.model import EngineEvent, GateResult


@dataclass(frozen=True, slots=True)
class Ahead:
    """What is known of the time that a step takes, and those after it, in seconds.

    ``step`` is ``None`` where nobody knows. ``rest`` is of those after it, and of some of them only where it
    is not the ``whole``.
    """

    step: float | None
    rest: float
    whole: bool


class Observer(Protocol):
    """Receives the progress of a rollout, in order."""

    def step_started(self, index: int, total: int, kind: str, summary: str, ahead: Ahead) -> None:
        """Step ``index`` (from 0) of ``total`` begins; ``kind`` is its name in the journal.

        The way back counts by itself: its first step is the first of as many as there are.
        """

    def step_finished(
        self, index: int, kind: str, status: Literal["done", "failed", "skipped"], seconds: float, detail: str
    ) -> None:
        """The step ended; ``detail`` is one line ("" when there is nothing to say)."""

    def engine_event(self, event: EngineEvent) -> None:
        """A host did something."""

    def gate_results(self, results: Sequence[GateResult], final: bool) -> None:
        """The gates were judged: once a second while a step holds, and with ``final`` when it counts."""

    def message(self, text: str, level: Literal["info", "warning", "error"] = "info") -> None:
        """One line for the operator."""


class NullObserver:
    """An observer for nobody."""

    def step_started(self, index: int, total: int, kind: str, summary: str, ahead: Ahead) -> None:
        """Ignore it."""

    def step_finished(
        self, index: int, kind: str, status: Literal["done", "failed", "skipped"], seconds: float, detail: str
    ) -> None:
        """Ignore it."""

    def engine_event(self, event: EngineEvent) -> None:
        """Ignore it."""

    def gate_results(self, results: Sequence[GateResult], final: bool) -> None:
        """Ignore it."""

    def message(self, text: str, level: Literal["info", "warning", "error"] = "info") -> None:
        """Ignore it."""
