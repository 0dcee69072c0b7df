"""Measurements, judged by a percentile and its distribution-free interval.

Between which of the ordered samples the true percentile lies is a binomial question: no assumption about the
shape of latencies is made, and the ends of the interval are values that were really measured.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

from rollout.gates import needs
from rollout.gates.condition import Finding, GateLike, Look, errors, level, meets, too_few, upwards
from rollout.model import Evidence, Verdict
from rollout.units import count, quantity


def judge(gate: GateLike, pieces: Sequence[Evidence], look: Look) -> Finding:
    """Pass when the worse end of the interval meets the threshold, fail when the better one does not."""
    values = sorted(sample for piece in pieces for sample in piece.samples)
    n, up, share = len(values), upwards(gate), gate.percentile / 100
    passing, failing = errors(gate, look)
    if gate.op == "==":
        return Finding(Verdict.ERROR, "a percentile cannot be compared with ==", n)
    good = 1 - share if up else share  # the share of samples that has to meet the threshold
    if few := too_few(gate, n, needs.without_failure(good, passing)):
        return few
    first, last = ranks(n, share, *((passing, failing) if up else (failing, passing)))
    low = values[first - 1] if first else None
    high = values[last - 1] if last <= n else None
    bound, other = (low, high) if up else (high, low)
    value = nearest_rank(values, gate.percentile)
    text = f"p{gate.percentile:g} {quantity(value, gate.unit)} of {count(n, 'sample')}"
    if bound is not None and passing > 0:
        text += f", at {level(passing)} {'>=' if up else '<='} {quantity(bound, gate.unit)}"
    needed = None
    if bound is not None and meets(gate, bound):
        verdict = Verdict.PASS
    elif other is not None and not meets(gate, other):
        verdict = Verdict.FAIL
    else:
        verdict = Verdict.INCONCLUSIVE
        beyond = sum(not meets(gate, sample) for sample in values)
        needed = needs.observations(beyond / n, good, passing)
        text += f": {beyond} beyond the threshold, not enough to tell"
        if needed is not None and needed > n:
            text += f", about {needed} samples would do if it stays so"
    return Finding(verdict, text, n, value, bound, low, high, needed)


def nearest_rank(ordered: Sequence[float], percentile: float) -> float:
    """The percentile of ordered values: one that was really measured."""
    return ordered[max(0, math.ceil(percentile / 100 * len(ordered)) - 1)]


@functools.lru_cache(maxsize=4096)
def ranks(n: int, share: float, below: float, above: float) -> tuple[int, int]:
    """Ranks (from 1) of the samples that the true percentile lies between.

    It is below the first with a probability of at most ``below`` (0: there is no such sample), above the
    second with at most ``above`` (n + 1: there is none).
    """
    first = _least(below, n, share) if below > 0 else 0
    last = _least(1 - above, n, share) + 1 if above > 0 else n + 1
    return first, last


def _least(probability: float, n: int, share: float) -> int:
    """The least number of successes in ``n`` trials at or below which they are with that probability."""
    from scipy.special import bdtr, bdtrik  # late; and scipy.stats takes three times as long to import

    found = math.ceil(float(bdtrik(probability, n, share)))
    below = max(0, found - 1)
    return below if bdtr(below, n, share) >= probability else found
