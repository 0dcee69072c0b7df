"""What a gate asks, what part of its error rate one judgement may use, and what a judgement finds."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from rollout.model import Evidence, Verdict
from rollout.units import count, number, quantity, share


class GateLike(Protocol):
    """What a gate says (:class:`rollout.config.Gate` is one)."""

    @property
    def name(self) -> str: ...
    @property
    def metric(self) -> str: ...
    @property
    def op(self) -> str: ...
    @property
    def threshold(self) -> float: ...
    @property
    def percentile(self) -> float: ...
    @property
    def min_samples(self) -> int: ...
    @property
    def confidence(self) -> float: ...
    @property
    def window(self) -> float | None: ...
    @property
    def max_age(self) -> float: ...
    @property
    def severity(self) -> str: ...
    @property
    def compare(self) -> str: ...
    @property
    def each(self) -> str:
        """By what it is judged apart: ``host``, ``region``, or ``all``: not at all."""

    @property
    def unit(self) -> str:
        """Of the threshold and of what is measured: one of :data:`rollout.config.metrics.Unit`."""


@dataclass(frozen=True, slots=True)
class Look:
    """What share of a gate's error rate one judgement may use up, for a pass and for a fail.

    Whoever looks often enough sees any boundary crossed once; the shares of all looks at one rollout add up
    to 1 at most (:mod:`rollout.gates.watching`). With a share of 0 that verdict cannot be given.
    """

    passing: float = 1.0
    failing: float = 1.0


ONCE = Look()
"""The only judgement there is."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What the judge of one kind of evidence says. ``text`` has the figures; the rest is as in
    :class:`rollout.model.GateResult`."""

    verdict: Verdict
    text: str
    n: int
    measured: float | None = None
    bound: float | None = None
    low: float | None = None
    high: float | None = None
    needed: int | None = None


OPERATORS: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
}


def meets(gate: GateLike, value: float) -> bool:
    """Whether a figure, taken as it is, meets the condition."""
    return OPERATORS[gate.op](value, gate.threshold)


def upwards(gate: GateLike) -> bool:
    """Whether more is better."""
    return gate.op in (">", ">=")


def errors(gate: GateLike, look: Look) -> tuple[float, float]:
    """The probability of a wrong pass and of a wrong fail that this judgement may have."""
    alpha = 1 - gate.confidence
    return alpha * look.passing, alpha * look.failing


def too_few(gate: GateLike, n: int, needed: int | None = None) -> Finding | None:
    """The finding when there are fewer observations than ``min_samples`` (1 at least); else None."""
    least = max(1, gate.min_samples)
    if n >= least:
        return None
    text = f"{count(n, 'observation')}, at least {least} are needed"
    return Finding(Verdict.INCONCLUSIVE, text, n, needed=max(least, needed or 0))


def asked(gate: GateLike) -> str:
    """The threshold, as it was asked for."""
    if gate.compare == "baseline":
        return f"{number(gate.threshold)} x baseline"
    return share(gate.threshold, 6) if gate.unit == "share" else quantity(gate.threshold, gate.unit)


def percent(value: float) -> str:
    """A share with as many figures as it takes to tell it from all of them."""
    return share(value, 4 if 0.9995 < value < 1 else 2)


def level(alpha: float) -> str:
    """The confidence that goes with an error probability, as people write it."""
    return f"{share(1 - alpha, 3)} confidence"


def where(piece: Evidence) -> str:
    """Which of several pieces this is, for a reason."""
    labels = [piece.labels[key] for key in ("host", "region", "profile", "generation") if key in piece.labels]
    return " ".join(labels) or piece.id


def total(pieces: Sequence[Evidence]) -> int:
    """Observations of all pieces together."""
    return sum(piece.n for piece in pieces)
