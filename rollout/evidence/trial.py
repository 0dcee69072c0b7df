"""What is on trial, and what stands for it in a query."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from rollout.config import Gate
from rollout.config.sources import fill
from rollout.evidence.promql import BadQuery, NoAnswer

SAFE = re.compile(r"[A-Za-z0-9_.:-]+")


@dataclass(frozen=True, slots=True)
class Trial:
    """What queries are about. ``since`` is when the generation on trial first got traffic, in unix seconds
    here; ``baseline``: the query is about the generation before, at the same time. ``until`` is when that
    one had no more traffic: what compares the two looks at the time before (None: now)."""

    environment: str
    generation: str
    previous: str | None
    since: float
    until: float | None = None
    baseline: bool = False

    def of_baseline(self) -> Trial:
        """The same trial, looked at from the other side."""
        return replace(self, baseline=True)

    @property
    def labels(self) -> dict[str, str]:
        """What evidence says of where it is from."""
        if self.baseline:
            return {"generation": self.previous or "", "role": "baseline"}
        return {"generation": self.generation}


@dataclass(frozen=True, slots=True)
class Moment:
    """One gate's window in a trial. ``at`` is its end by Prometheus' clock, ``offset`` ahead of ours."""

    gate: Gate
    trial: Trial
    at: float
    offset: float

    @property
    def seconds(self) -> float:
        """The gate's window, and never more than there has been: what was before is not on trial."""
        so_far = max(1.0, self.at - self.offset - self.trial.since)
        return so_far if self.gate.window is None else min(self.gate.window, so_far)

    def filled(self, query: str) -> str:
        """The query with what its placeholders stand for.

        Raises:
            NoAnswer: there is no generation before.
            BadQuery: a name that does not belong into a query.
        """
        trial = self.trial
        about = trial.previous if trial.baseline else trial.generation
        values = {"env": trial.environment, "window": f"{max(1, round(self.seconds))}s"}
        for name, generation in (("generation", about), ("previous", trial.previous)):
            if generation is not None:
                values[name] = generation
        for value in values.values():
            if not SAFE.fullmatch(value):
                raise BadQuery(f"{value!r} cannot stand in a query")
        try:
            return fill(query, values)
        except KeyError:
            raise NoAnswer("there is no generation before this one to compare with") from None
