"""Judging evidence.

Verdicts and when they are given:

* ``pass``: there is enough evidence and it meets the criterion.
* ``fail``: the evidence shows that the criterion is not met.
* ``inconclusive``: no evidence, too little of it, or a rate whose confidence interval holds the
  threshold: 10 of 10 is not "more than 99 %".
* ``error``: evidence that contradicts itself or is not a number.

Nothing but ``pass`` lets a build on. Several verdicts combine by :func:`rollout.model.worst`.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from rollout.model import Evidence, GateResult, Verdict


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


_OPERATORS: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
}


def evaluate_all(gates: Iterable[GateLike], evidence: Sequence[Evidence]) -> list[GateResult]:
    """Judge every gate by the evidence of its metric."""
    return [evaluate(gate, evidence) for gate in gates]


def evaluate(gate: GateLike, evidence: Iterable[Evidence]) -> GateResult:
    """Judge one gate. Evidence of other metrics is passed over; several pieces are taken together."""
    mine = [item for item in evidence if item.metric == gate.metric]
    if not mine:
        return _result(gate, Verdict.INCONCLUSIVE, None, None, 0, "no evidence", ())
    ids = tuple(item.id for item in mine)
    wrong = next((reason for item in mine if (reason := _contradiction(item))), "")
    n = sum(item.n for item in mine)
    if wrong:
        return _result(gate, Verdict.ERROR, None, None, n, wrong, ids)
    if len({item.kind for item in mine}) > 1:
        return _result(gate, Verdict.ERROR, None, None, n, "evidence of different kinds", ids)
    match mine[0].kind:
        case "ratio":
            return _ratio(gate, mine, n, ids)
        case "rate":
            return _rate(gate, mine, n, ids)
        case "samples":
            return _samples(gate, mine, ids)
        case "count":
            return _figure(gate, sum(item.value or 0.0 for item in mine), n, ids)
        case "gauge":
            return _figure(gate, max(item.value or 0.0 for item in mine), n, ids)


def _contradiction(item: Evidence) -> str:
    if item.n < 0:
        return f"{item.id}: a negative number of observations"
    if item.kind in ("ratio", "rate"):
        if item.successes is None or not 0 <= item.successes <= item.n:
            return f"{item.id}: {item.successes} successes of {item.n}"
    elif item.kind == "samples":
        if any(not math.isfinite(sample) for sample in item.samples):
            return f"{item.id}: a sample is not a number"
    elif item.n and (item.value is None or not math.isfinite(item.value)):
        return f"{item.id}: the value is not a number"
    return ""


def _ratio(gate: GateLike, mine: Sequence[Evidence], n: int, ids: tuple[str, ...]) -> GateResult:
    """A census: all there is has been counted, so the share is exact."""
    if n < gate.min_samples:
        return _result(gate, Verdict.INCONCLUSIVE, None, None, n, _too_few(n, gate.min_samples), ids)
    successes = sum(item.successes or 0 for item in mine)
    share = successes / n
    text = f"{successes} of {n} ({share:.1%})"
    return _compared(gate, share, None, n, text, ids)


def _rate(gate: GateLike, mine: Sequence[Evidence], n: int, ids: tuple[str, ...]) -> GateResult:
    """A sample: judged by the exact (Clopper-Pearson) bound at the gate's confidence, one-sided."""
    if n < max(1, gate.min_samples):
        return _result(gate, Verdict.INCONCLUSIVE, None, None, n, _too_few(n, max(1, gate.min_samples)), ids)
    successes = sum(item.successes or 0 for item in mine)
    rate = successes / n
    low, high = rate_bounds(successes, n, gate.confidence)
    above = gate.op in (">", ">=")
    bound = low if above else high
    other = high if above else low
    compare = _OPERATORS[gate.op]
    sign = ">=" if above else "<="
    text = f"{successes} of {n} ({rate:.2%}), at {gate.confidence:.0%} confidence {sign} {bound:.2%}"
    if gate.op == "==":
        return _result(gate, Verdict.ERROR, rate, bound, n, "a rate cannot be compared with ==", ids)
    if compare(bound, gate.threshold):
        return _result(gate, Verdict.PASS, rate, bound, n, text, ids)
    if not compare(other, gate.threshold):
        return _result(gate, Verdict.FAIL, rate, bound, n, text, ids)
    return _result(gate, Verdict.INCONCLUSIVE, rate, bound, n, f"{text}: not enough to tell", ids)


def rate_bounds(successes: int, n: int, confidence: float) -> tuple[float, float]:
    """One-sided Clopper-Pearson bounds of a rate, lower and upper, each at ``confidence``."""
    # Imported here: it takes longer than a whole `rollout status`.
    from scipy.stats import beta

    alpha = 1 - confidence
    low = 0.0 if successes == 0 else float(beta.ppf(alpha, successes, n - successes + 1))
    high = 1.0 if successes == n else float(beta.ppf(confidence, successes + 1, n - successes))
    return low, high


def _samples(gate: GateLike, mine: Sequence[Evidence], ids: tuple[str, ...]) -> GateResult:
    samples = sorted(sample for item in mine for sample in item.samples)
    n = len(samples)
    if n < max(1, gate.min_samples):
        return _result(gate, Verdict.INCONCLUSIVE, None, None, n, _too_few(n, max(1, gate.min_samples)), ids)
    # Nearest rank: a value that was really measured.
    value = samples[max(0, math.ceil(gate.percentile / 100 * n) - 1)]
    return _compared(gate, value, None, n, f"p{gate.percentile:g} {value:.1f} of {n} samples", ids)


def _figure(gate: GateLike, value: float, n: int, ids: tuple[str, ...]) -> GateResult:
    """A count or a gauge. Nothing observed is nothing known, however good a zero looks."""
    if n < max(1, gate.min_samples):
        return _result(gate, Verdict.INCONCLUSIVE, None, None, n, _too_few(n, max(1, gate.min_samples)), ids)
    return _compared(gate, value, None, n, f"{value:g} in {n} observations", ids)


def _compared(
    gate: GateLike, value: float, bound: float | None, n: int, text: str, ids: tuple[str, ...]
) -> GateResult:
    verdict = Verdict.PASS if _OPERATORS[gate.op](value, gate.threshold) else Verdict.FAIL
    return _result(gate, verdict, value, bound, n, text, ids)


def _too_few(n: int, wanted: int) -> str:
    return f"{n} observations, at least {wanted} are needed"


def _result(
    gate: GateLike,
    verdict: Verdict,
    measured: float | None,
    bound: float | None,
    n: int,
    text: str,
    ids: tuple[str, ...],
) -> GateResult:
    reason = f"{gate.name} {gate.op} {gate.threshold:g}: {text}"
    return GateResult(gate.name, verdict, measured, bound, n, reason, ids)
