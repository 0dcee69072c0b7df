"""Rates: binomial samples, judged by the exact one-sided bound (Clopper-Pearson)."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rollout.gates import needs
from rollout.gates.condition import (
    Finding,
    GateLike,
    Look,
    errors,
    level,
    meets,
    percent,
    too_few,
    total,
    upwards,
)
from rollout.model import Evidence, Verdict


def judge(gate: GateLike, pieces: Sequence[Evidence], look: Look) -> Finding:
    """Pass when the worse bound meets the threshold, fail when the better one does not."""
    n, successes = total(pieces), sum(piece.successes or 0 for piece in pieces)
    passing, failing = errors(gate, look)
    up = upwards(gate)
    # For a rate that should be low, the successes are what must not happen.
    share, failed = (gate.threshold, n - successes) if up else (1 - gate.threshold, successes)
    if few := too_few(gate, n, needs.without_failure(share, passing)):
        return few
    rate = successes / n
    low = lower(successes, n, passing if up else failing)
    high = upper(successes, n, failing if up else passing)
    bound, other = (low, high) if up else (high, low)
    text = f"{successes} of {n} ({percent(rate)})"
    if gate.op == "==":
        return Finding(Verdict.ERROR, f"{text}: a rate cannot be compared with ==", n, rate)
    needed = None
    if meets(gate, bound):
        verdict = Verdict.PASS
    elif not meets(gate, other):
        verdict = Verdict.FAIL
    else:
        verdict, needed = Verdict.INCONCLUSIVE, needs.observations(failed / n, share, passing)
    # The bound that decided: a build is bad by the better one.
    alpha, is_lower, decided = (failing, not up, other) if verdict is Verdict.FAIL else (passing, up, bound)
    if alpha > 0:
        text += f", at {level(alpha)} {'>=' if is_lower else '<='} {_outwards(decided, is_lower)}"
    if verdict is Verdict.INCONCLUSIVE:
        text += f": not enough to tell{_outlook(needed, n)}"
    return Finding(verdict, text, n, rate, bound, low, high, needed)


def _outwards(bound: float, is_lower: bool) -> str:
    """A bound in figures, rounded away from the rate: short of a threshold, it never looks like it."""
    steps = 1e6 if 0.9995 < bound < 1 else 1e4
    exact = round(bound * steps, 6)
    return percent((math.floor(exact) if is_lower else math.ceil(exact)) / steps)


def _outlook(needed: int | None, n: int) -> str:
    if needed is None:
        return ""
    return f", about {needed} would do if it stays so" if needed > n else ""


def bounds(successes: int, n: int, confidence: float) -> tuple[float, float]:
    """One-sided Clopper-Pearson bounds of a rate, lower and upper, each at ``confidence``."""
    return lower(successes, n, 1 - confidence), upper(successes, n, 1 - confidence)


def lower(successes: int, n: int, alpha: float) -> float:
    """The lower bound: the true rate is below it with a probability of at most ``alpha``."""
    from scipy.special import betaincinv  # late: it takes longer than a whole `rollout status`

    return 0.0 if successes == 0 else float(betaincinv(successes, n - successes + 1, alpha))


def upper(successes: int, n: int, alpha: float) -> float:
    """The upper bound: the true rate is above it with a probability of at most ``alpha``."""
    from scipy.special import betaincinv

    return 1.0 if successes == n else float(betaincinv(successes + 1, n - successes, 1 - alpha))
