"""Series: does it grow? The slope of Theil and Sen with its interval, as a share of the median, or of the
label ``floor`` where that is more.

The estimate is the median of the slopes between all pairs of readings, so that a spike or a restart moves it
little. Its interval takes the readings for independent, and those of a memory or a slow wave are not: a
reading is much like the one before. So neighbours are taken together, by their median, until what is left of
them beside the trend is no longer alike.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from rollout import units
from rollout.gates.condition import Finding, GateLike, Look, errors, level, meets, upwards, where
from rollout.model import Evidence, Verdict
from rollout.units import count, duration, number

LEAST = 10
"""Fewer readings have no interval worth the name."""
MOST = 300
"""More readings are taken together: pairs grow with the square."""
ALIKE = 1.0
"""Neighbours that correlate by more than this, divided by the root of their number, are alike: the standard
error of a correlation that is none, so that nothing is missed and little is taken together needlessly."""
COVERED = 0.8
"""Share of a gate's window that must have been seen."""


def judge(gate: GateLike, pieces: Sequence[Evidence], look: Look) -> Finding:
    """Judge each piece, a host or a profile, by itself; the worst counts."""
    found = [_judge(gate, piece, look) for piece in pieces]
    worst = max(found, key=lambda one: (one.verdict.severity, one.measured or 0.0))
    text = worst.text
    if len(pieces) > 1:
        text = f"{where(pieces[found.index(worst)])}: {text}"
    return replace(worst, text=text, n=sum(one.n for one in found))


def _judge(gate: GateLike, piece: Evidence, look: Look) -> Finding:
    least = max(LEAST, gate.min_samples)
    points = sorted(zip(piece.times, piece.samples, strict=True))
    n = len(points)
    if n < least:
        text = f"{count(n, 'reading')}, at least {least} are needed"
        return Finding(Verdict.INCONCLUSIVE, text, n, needed=least)
    span = points[-1][0] - points[0][0]
    if span <= 0 or (gate.window is not None and span < COVERED * gate.window):
        wanted = f" of {duration(gate.window)}" if gate.window is not None else ""
        return Finding(
            Verdict.INCONCLUSIVE, f"readings over {duration(span)}{wanted}: too short to see growth", n
        )
    median = statistics.median(value for _, value in points)
    if median <= 0:
        if all(value == median for _, value in points):
            return _verdict(gate, n, 0.0, 0.0, 0.0, "")
        return Finding(Verdict.INCONCLUSIVE, f"a median of {number(median)} has no share to grow by", n)
    scale = max(span, gate.window or 0.0) / max(median, _floor(piece))
    passing, failing = errors(gate, look)
    thinned = _independent(_thinned(points, MOST))
    up = upwards(gate)
    slope, low = _slope(thinned, passing if up else failing, below=True)
    _, high = _slope(thinned, failing if up else passing, below=False)
    text = f" at {level(passing)}" if passing > 0 else ""
    return _verdict(
        gate,
        n,
        slope * scale,
        None if low is None else low * scale,
        None if high is None else high * scale,
        text,
    )


def _floor(piece: Evidence) -> float:
    """The least that growth is a share of: of next to nothing, next to nothing more is a lot."""
    try:
        return max(0.0, float(piece.labels.get("floor", "0")))
    except ValueError:
        return 0.0


def _verdict(
    gate: GateLike, n: int, growth: float, low: float | None, high: float | None, text: str
) -> Finding:
    bound, other = (low, high) if upwards(gate) else (high, low)
    text = f"{units.growth(growth)} over the time seen, {_side(low)} to {_side(high)}{text}"
    text += f", {count(n, 'reading')}"
    if bound is not None and meets(gate, bound):
        verdict = Verdict.PASS
    elif other is not None and not meets(gate, other):
        verdict = Verdict.FAIL
    else:
        verdict, text = Verdict.INCONCLUSIVE, f"{text}: not enough to tell"
    return Finding(verdict, text, n, growth, bound, low, high)


def _side(bound: float | None) -> str:
    return "?" if bound is None else units.growth(bound)


def _slope(points: Sequence[tuple[float, float]], alpha: float, *, below: bool) -> tuple[float, float | None]:
    """The slope, and its bound on one side with an error probability of ``alpha``; None: there is none."""
    from scipy.stats import norm, theilslopes  # late: it takes longer than a whole `rollout status`

    alpha = min(alpha, 0.25)  # theilslopes takes two-sided levels below one half for their complement
    start = points[0][0]
    n = len(points)
    pairs = n * (n - 1) / 2
    spread = (n * (n - 1) * (2 * n + 5) / 18) ** 0.5
    reach = alpha > 0 and -float(norm.ppf(alpha)) * spread < pairs - 2
    fit = theilslopes(
        [value for _, value in points], [at - start for at, _ in points], 1 - 2 * alpha if reach else 0.9
    )
    if not reach:  # the bound would lie beyond the steepest pair
        return float(fit.slope), None
    return float(fit.slope), float(fit.low_slope if below else fit.high_slope)


def _independent(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Take neighbours together by twos until one says nothing of the next, or few are left."""
    while len(points) >= 2 * LEAST:
        slope = _slope(points, 0.05, below=True)[0]
        rest = [value - slope * at for at, value in points]
        try:
            alike = statistics.correlation(rest[:-1], rest[1:])
        except statistics.StatisticsError:  # all the same
            return points
        if alike <= ALIKE / len(points) ** 0.5:
            return points
        points = _thinned(points, len(points) // 2)
    return points


def _thinned(points: list[tuple[float, float]], most: int) -> list[tuple[float, float]]:
    n = len(points)
    if n <= most:
        return points
    edges = [round(index * n / most) for index in range(most + 1)]
    groups = [points[left:right] for left, right in pairwise(edges)]
    return [
        (statistics.median(at for at, _ in group), statistics.median(value for _, value in group))
        for group in groups
    ]
