"""How other tools decide, after their documentation, for ten minutes of one measurement each.

Written by us from their rules, not their code. They are given the whole traffic from the first minute on.

* Argo Rollouts: ``count: 10``; a measurement that does not meet its condition is a failure, more than
  ``failureLimit`` of them fail the analysis; a measurement without data is not a number, and fails.
* Flagger: a check each interval; five that pass (``stepWeight: 10``, ``maxWeight: 50``) promote, five that
  fail (``threshold: 5``) roll back, whichever comes first.
* Kayenta: ten points of each against each other: the 98 % interval of the location shift by Mann and Whitney
  must lie above a quarter of its Hodges-Lehmann estimate to be called high.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MINUTES = 10
FLAGGER_STEPS = 5
KAYENTA_RANK = 20
"""Of the 100 differences between 10 and 10 points, in order, the one where the 98 % interval begins."""

Passed = NDArray[np.bool_]
"""Rollouts by minutes (whether a measurement met its condition), or rollouts (whether they were promoted)."""


def argo(met: Passed, failure_limit: int) -> Passed:
    return np.asarray((~met[:, :MINUTES]).sum(axis=1) <= failure_limit)


def flagger(met: Passed) -> Passed:
    """Five passes come before five fails exactly if there are five among the first nine."""
    return np.asarray(met[:, : 2 * FLAGGER_STEPS - 1].sum(axis=1) >= FLAGGER_STEPS)


def kayenta(canary: NDArray[np.float64], baseline: NDArray[np.float64]) -> Passed:
    """Points of both, rollouts by minutes; more is worse."""
    differences = (canary[:, :, None] - baseline[:, None, :]).reshape(len(canary), -1)
    differences.sort(axis=1)
    estimate = np.median(differences, axis=1)
    high = differences[:, KAYENTA_RANK - 1] > 0.25 * estimate
    return np.asarray(~high | (canary == baseline).all(axis=1))
