"""How long a rollout takes: by what its steps took in earlier ones, and without what it lay interrupted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice, pairwise
from statistics import median

from rollout.ledger import JournalEntry, Ledger, RolloutRecord
from rollout.observer import Ahead
from rollout.pipeline.steps import Step, Watch

EARLIER = 5
"""Rollouts that are looked at, the newest first."""


class Pace:
    """What the steps of a rollout are expected to take."""

    def __init__(self, ledger: Ledger, record: RolloutRecord) -> None:
        """Look at what the same steps took in earlier rollouts of this kind in the environment."""
        earlier = (
            one for one in ledger.rollouts(record.env) if one.kind == record.kind and one.id < record.id
        )
        taken: dict[str, list[float]] = {}
        for one in islice(earlier, EARLIER):
            for step, seconds in durations(ledger.journal(one.id)).items():
                taken.setdefault(step, []).append(seconds)
        self._usual: Mapping[str, float] = {step: median(seconds) for step, seconds in taken.items()}

    def of(self, step: Step) -> float | None:
        """Seconds that a step takes; ``None``: nobody knows."""
        usual = self._usual.get(step.name)
        if isinstance(step, Watch):
            return max(step.hold, usual or 0.0)
        return usual

    def ahead(self, steps: Sequence[Step]) -> Ahead:
        """What is known of the first of these steps, and of those after it."""
        first, *others = (self.of(step) for step in steps)
        return Ahead(first, sum(filter(None, others)), None not in others)


def durations(journal: Iterable[JournalEntry]) -> dict[str, float]:
    """Seconds of each step that has ended, by its name; begun more than once, the last time counts."""
    began: dict[str, float] = {}
    taken = {}
    for entry in journal:
        if entry.phase == "begin":
            began[entry.step] = entry.at
        elif entry.phase == "end" and entry.step in began:
            taken[entry.step] = max(0.0, entry.at - began[entry.step])
    return taken


def idle(journal: Iterable[JournalEntry]) -> float:
    """Seconds during which a rollout lay there: from the last word of whoever was interrupted to the first of
    whoever went on, under another lease."""
    return sum(
        max(0.0, later.at - earlier.at)
        for earlier, later in pairwise(journal)
        if later.fence != earlier.fence
    )
