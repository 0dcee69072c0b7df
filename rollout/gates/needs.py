"""How much evidence a verdict takes. Pure arithmetic on binomial bounds.

A percentile is a rate too: p95 below 100 ms says that more than 95 % of the samples are below 100 ms. So one
set of functions serves both; ``share`` is the threshold of the rate, or the percentile as a share.
"""

from __future__ import annotations

import math

MOST = 10_000_000
"""No more observations than these are looked for."""

REACH = 20
"""Standard deviations below the mean, from which on probabilities count."""


def without_failure(share: float, alpha: float) -> int | None:
    """Observations that prove a rate above ``share``, when not one of them fails; None: no number does.

    299 for 0.99 at an error probability of 0.05, 59 for 0.95.
    """
    if not 0 < share < 1 or not 0 < alpha < 1:
        return 0 if share <= 0 else None
    # The exact one-sided bound without a failure is alpha ** (1 / n).
    return math.ceil(math.log(alpha) / math.log(share))


def failures_allowed(n: int, share: float, alpha: float) -> int:
    """How many of ``n`` observations may fail for a rate above ``share`` to be proven; -1: not even none."""
    if not 0 < share < 1 or alpha <= 0 or n <= 0:
        return -1 if share > 0 else n
    bad = 1 - share
    # Without scipy, which takes longer to import than a whole `rollout gates explain`: the probabilities are
    # added up from where those that are left out are nothing, and none is too small for a float.
    failed = max(0, math.floor(n * bad - REACH * math.sqrt(n * bad * share)))
    ways = math.lgamma(n + 1) - math.lgamma(failed + 1) - math.lgamma(n - failed + 1)
    term = math.exp(ways + failed * math.log(bad) + (n - failed) * math.log(share))
    total = term
    while total <= alpha and failed < n:
        failed += 1
        term *= (n - failed + 1) / failed * bad / share
        total += term
    return failed - 1


def observations(failed: float, share: float, alpha: float) -> int | None:
    """Observations that prove a rate above ``share`` when ``failed`` (a share) of them go on to fail.

    None: no number does, because more of the same only proves the contrary.
    """
    least = without_failure(share, alpha)
    if least is None or failed <= 0:
        return least
    if failed >= 1 - share:
        return None
    high = max(least, 1)
    while failures_allowed(high, share, alpha) < math.ceil(failed * high):
        high *= 2
        if high > MOST:
            return None
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        if failures_allowed(middle, share, alpha) < math.ceil(failed * middle):
            low = middle
        else:
            high = middle
    return high


def compared(share: float, alpha: float) -> int | None:
    """Samples of each side that a comparison in the tail takes, when none of ours lies beyond the baseline's.

    As many of the baseline's samples as this must all lie above ours: each halves the chance of it.
    """
    if not 0 < alpha < 1 or not 0 < share < 1:
        return None
    above = math.ceil(math.log(alpha) / math.log(0.5))
    n = above
    while n - math.ceil(share * n) + 1 < above:
        n += 1
    return n
