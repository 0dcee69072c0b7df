"""The buckets of a Prometheus histogram as observations, each taken for as bad as its bucket allows."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

MOST = 10_000
"""Observations that are told apart; more are thinned out, and count as no more than these."""
BEYOND = 2.0
"""What is above the highest bound is taken for so many times that."""

ROUNDING = 1e-9
"""Share by which a count may fall: extrapolated counts of floating-point numbers."""


class Unclear(Exception):
    """This is not one histogram; the text says why."""


def observations(series: Iterable[tuple[Mapping[str, str], float]]) -> tuple[tuple[float, ...], str]:
    """Observations, ascending, at the upper bounds of their buckets; and what there is to say about them.

    ``series`` are the cumulative counts by the label ``le``, as ``sum by (le) (increase(x_bucket[5m]))``
    gives them. Counts are rounded to whole numbers.

    Raises:
        Unclear: no ``le``, two series of one bound, no bound above all, or counts that fall.
    """
    counts: dict[float, float] = {}
    for labels, value in series:
        try:
            bound = float(labels["le"])
        except (KeyError, ValueError):
            raise Unclear(
                'a series has no label "le"; the query has to give the buckets of a histogram'
            ) from None
        if bound in counts:
            raise Unclear("the query gives several histograms; aggregate them with sum by (le)")
        counts[bound] = value
    bounds = sorted(counts)
    if not bounds or not math.isinf(bounds[-1]) or len(bounds) < 2:
        raise Unclear('the bucket le="+Inf" is missing; the query has to give all buckets')
    whole, below, most = [], 0, 0.0
    for bound in bounds:
        if not counts[bound] >= most * (1 - ROUNDING):
            raise Unclear(f"there are fewer observations up to {bound:g} than below it")
        most = max(most, counts[bound])
        count = math.floor(most + 0.5)
        whole.append(count - below)
        below = count
    highest = bounds[-2]
    note = f"{whole[-1]} of {below} are above {highest:g}, the highest bound" if whole[-1] else ""
    values = [*bounds[:-1], highest * BEYOND if highest > 0 else math.nextafter(highest, math.inf)]
    kept = min(below, MOST)
    samples: list[float] = []
    position, so_far = 0, whole[0] if whole else 0
    for rank in range(1, kept + 1):
        wanted = math.ceil(rank * below / kept)
        while so_far < wanted:
            position += 1
            so_far += whole[position]
        samples.append(values[position])
    return tuple(samples), note
