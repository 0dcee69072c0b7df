"""When the gates may speak while a step is watched, so that looking often does not make a bad build pass.

A gate's interval is wrong as often as stated when it is looked at once. A step is watched for minutes, and
who looks each second until a pass comes gets one from noise in the end. So the error rate is shared out
(Bonferroni). At the last step, which decides, a pass can be given at a few times that are fixed beforehand:
the hold, its doublings, and the limit. A fail ends a rollout whenever it comes: half of its error rate is
shared by those same times of all steps, a quarter by all their seconds, so that what is plainly broken is
taken back at once, and a quarter is left for the last judgement.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from rollout.gates.condition import GateLike, Look

LEAST = 10.0
"""Seconds to the first doubling of a hold that is shorter."""
END = Look(1.0, 0.25)
"""The judgement after all steps, over all there is."""


def checkpoints(hold: float, limit: float) -> tuple[float, ...]:
    """Seconds after a step's begin at which it may pass: its hold, the doublings of it, and the limit."""
    limit = max(hold, limit)
    found = [hold]
    at = max(hold * 2, LEAST)
    while at < limit:
        found.append(at)
        at *= 2
    if limit > hold:
        found.append(limit)
    return tuple(found)


@dataclass(slots=True)
class Watch:
    """One step that is watched for ``hold`` seconds, and up to ``limit`` while a gate is inconclusive.

    ``steps`` is how many the rollout has, ``last`` whether this is the one that decides: those before it only
    let more users in, and an early pass there promotes nothing. ``poll``: seconds between two looks.
    """

    hold: float
    limit: float
    steps: int = 1
    last: bool = True
    poll: float = 1.0
    _due: list[float] = field(init=False)
    _passing: float = field(init=False)
    _failing: float = field(init=False)
    _now: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        self.limit = max(self.hold, self.limit)
        self._due = list(checkpoints(self.hold, self.limit))
        self._passing = 1 / len(self._due)

    def tick(self, elapsed: float) -> None:
        """Say that so many seconds have gone: the looks that follow are those of this moment."""
        self._now = bool(self._due) and elapsed >= self._due[0]
        while self._due and elapsed >= self._due[0]:
            self._due.pop(0)
        polls = max(1, math.ceil(self.limit / self.poll))
        self._failing = (0.5 * self._passing if self._now else 0.25 / polls) / self.steps

    def look(self, gate: GateLike) -> Look:
        """What a gate may use up of its error rate at this moment."""
        if not self.last and gate.compare != "baseline":
            return Look(1.0, self._failing)
        return Look(self._passing if self._now else 0.0, self._failing)
