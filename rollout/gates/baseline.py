"""The new generation against the one before at the same time. ``threshold`` is the ratio still good.

Samples are compared in two ways, and both must hold: as a whole (Mann-Whitney U against the baseline times
the threshold) and in the tail (how many samples lie beyond the baseline's percentile times the threshold: an
exact exceedance test, which finds what a few terrible samples do, whatever the middle looks like). Failures
and counts are compared by the exact conditional test, which stays exact when there are hardly any.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from rollout.gates import needs
from rollout.gates.condition import Finding, GateLike, Look, errors, level, meets, total
from rollout.gates.rates import lower, upper
from rollout.gates.samples import nearest_rank
from rollout.model import Evidence, Verdict
from rollout.units import number, times

LEAST = 20
"""With fewer samples on either side Mann-Whitney's normal approximation is not to be trusted: the exact test
of the tail can still fail them, nothing can pass them."""
ENOUGH_RATIOS = 200
"""Ordered values of each side that the ratio is estimated from; it is for people, no verdict hangs on it."""


def judge(gate: GateLike, pieces: Sequence[Evidence], base: Sequence[Evidence], look: Look) -> Finding:
    """Pass when the ratio is proven to be below the threshold, fail when it is proven not to be."""
    n = total(pieces)
    if gate.op not in ("<", "<="):
        return Finding(Verdict.ERROR, f"a ratio to the baseline cannot be compared with {gate.op}", n)
    if not base:
        return Finding(Verdict.INCONCLUSIVE, f"no baseline to compare {n} observations with", n)
    if not _same_time(pieces, base):
        return Finding(Verdict.INCONCLUSIVE, "the baseline was measured at another time", n)
    least = max(1, gate.min_samples)
    for who, there in (("", n), (" of the baseline", total(base))):
        if there < least:
            text = f"{there} observations{who}, at least {least} are needed"
            return Finding(Verdict.INCONCLUSIVE, text, n, needed=least)
    match pieces[0].kind:
        case "samples":
            return _samples(gate, pieces, base, look)
        case "rate":
            ours, theirs = (sum(p.n - (p.successes or 0) for p in side) for side in (pieces, base))
            return _unless_hopeless(
                gate, theirs / total(base), _tallies(gate, ours, n, theirs, total(base), look)
            )
        case "count":
            tallies = [math.fsum(p.value or 0.0 for p in side) for side in (pieces, base)]
            if any(tally != round(tally) for tally in tallies):
                return Finding(Verdict.ERROR, "only whole counts can be compared with a baseline", n)
            return _tallies(gate, round(tallies[0]), n, round(tallies[1]), total(base), look)
        case "gauge":
            return _gauges(gate, pieces, base)
        case kind:
            return Finding(Verdict.ERROR, f"a {kind} cannot be compared with a baseline", n)


def _same_time(pieces: Sequence[Evidence], base: Sequence[Evidence]) -> bool:
    (began, ended), (base_began, base_ended) = _span(pieces), _span(base)
    together = min(ended, base_ended) - max(began, base_began)
    return together >= 0.5 * max(ended - began, base_ended - base_began)


def _span(side: Sequence[Evidence]) -> tuple[float, float]:
    return min(piece.started for piece in side), max(piece.ended for piece in side)


def _samples(gate: GateLike, pieces: Sequence[Evidence], base: Sequence[Evidence], look: Look) -> Finding:
    from scipy.stats import hypergeom, mannwhitneyu  # late: they take longer than a whole `rollout status`

    ours = sorted(sample for piece in pieces for sample in piece.samples)
    theirs = sorted(sample for piece in base for sample in piece.samples)
    n, m, ratio = len(ours), len(theirs), gate.threshold
    if min(ours[0], theirs[0]) < 0:
        return Finding(Verdict.ERROR, "there is no ratio of negative samples", n)
    passing, failing = errors(gate, look)
    scaled = [ratio * sample for sample in theirs]
    shift_worse = shift_better = 1.0
    if min(n, m) >= LEAST:
        shift_worse = float(mannwhitneyu(ours, scaled, alternative="greater", method="asymptotic").pvalue)
        shift_better = float(mannwhitneyu(ours, scaled, alternative="less", method="asymptotic").pvalue)
    # Were both alike, every order of all samples together would be as likely as any other. A tie is counted
    # against the verdict that would be given.
    cut = ratio * nearest_rank(theirs, gate.percentile)
    above = m - max(1, math.ceil(gate.percentile / 100 * m)) + 1
    beyond, at_least = sum(sample > cut for sample in ours), sum(sample >= cut for sample in ours)
    tail_worse = float(hypergeom.sf(beyond - 1, n + m, n, beyond + above - 1)) if beyond else 1.0
    tail_better = float(hypergeom.cdf(at_least, n + m, n, at_least + above)) if at_least < n else 1.0

    effect = 2 * float(mannwhitneyu(ours, theirs).statistic) / (n * m) - 1
    middle, low, high = _ratios(ours, theirs, failing, passing)
    text = (
        f"{_times(middle)} the baseline ({_times(low)} to {_times(high)}), {n} against {m} samples,"
        f" Cliff's delta {effect:+.2f}; {beyond} beyond {number(ratio)} x its p{gate.percentile:g}"
        f" ({number(cut)})"
    )
    needed = None
    if min(shift_worse, tail_worse) <= failing / 2:  # either may be wrong, together as often as stated
        verdict = Verdict.FAIL
        text += ": worse in the tail" if tail_worse <= shift_worse else ": worse as a whole"
    elif max(shift_better, tail_better) <= passing:
        verdict = Verdict.PASS
    else:
        verdict, needed = Verdict.INCONCLUSIVE, needs.compared(gate.percentile / 100, passing)
        text += ": not enough to tell"
        if needed is not None and min(n, m) < needed:
            text += f", {needed} of each at least"
    return Finding(verdict, text, n, middle, high, low, high, needed)


def _times(ratio: float | None) -> str:
    return "?" if ratio is None else times(ratio)


def _ratios(
    ours: list[float], theirs: list[float], below: float, above: float
) -> tuple[float | None, float | None, float | None]:
    """The Hodges-Lehmann ratio (the median of all ratios of one to another), and its interval."""
    import numpy as np
    from scipy.stats import norm

    if theirs[0] <= 0:
        return None, None, None
    n, m = len(ours), len(theirs)
    sides = [
        np.quantile(side, (np.arange(size) + 0.5) / size)
        for side, size in ((ours, min(n, ENOUGH_RATIOS)), (theirs, min(m, ENOUGH_RATIOS)))
    ]
    ratios = (sides[0][:, None] / sides[1][None, :]).ravel()
    spread = math.sqrt((n + m + 1) / (12 * n * m))
    where = [0.5]
    where += [0.5 + float(norm.ppf(alpha)) * spread if alpha > 0 else -1.0 for alpha in (below, above)]
    where[2] = 1 - where[2]
    inside = [at for at in where if 0 < at < 1]
    found = dict(zip(inside, (float(value) for value in np.quantile(ratios, inside)), strict=True))
    return found.get(where[0]), found.get(where[1]), found.get(where[2])


def _tallies(gate: GateLike, ours: int, n: int, theirs: int, m: int, look: Look) -> Finding:
    """Given that so many things went wrong on both, how many of them would have been ours?"""
    from scipy.special import bdtr, bdtrc

    passing, failing = errors(gate, look)
    both = ours + theirs
    text = f"{ours} of {n} against {theirs} of {m} of the baseline"
    if not both:
        text += ": where nothing went wrong there is no ratio; a gate without compare can pass on this"
        return Finding(Verdict.INCONCLUSIVE, text, n)
    share = n * gate.threshold / (n * gate.threshold + m)
    worse = float(bdtrc(ours - 1, both, share)) if ours else 1.0
    better = float(bdtr(ours, both, share)) if theirs else 1.0
    measured = ours / n / (theirs / m) if theirs else None
    low = _ratio(lower(ours, both, failing), n, m)
    high = _ratio(upper(ours, both, passing), n, m)
    text += f", {_times(measured)} ({_times(low)} to {_times(high)}"
    text += f" at {level(passing)})" if passing > 0 else ")"
    if worse <= failing:
        verdict = Verdict.FAIL
    elif better <= passing:
        verdict = Verdict.PASS
    else:
        verdict, text = Verdict.INCONCLUSIVE, f"{text}: not enough to tell"
    return Finding(verdict, text, n, measured, high, low, high)


def _unless_hopeless(gate: GateLike, failing: float, found: Finding) -> Finding:
    """Nothing can fail twice as often as what fails always: to be as good as that proves nothing."""
    if found.verdict is not Verdict.PASS or failing * gate.threshold < 1:
        return found
    text = (
        f"{found.text}: the baseline itself fails too often for anything to be {gate.threshold:g} times worse"
    )
    return replace(found, verdict=Verdict.INCONCLUSIVE, text=text)


def _ratio(share: float, n: int, m: int) -> float | None:
    return None if share >= 1 else share * m / (n * (1 - share))


def _gauges(gate: GateLike, pieces: Sequence[Evidence], base: Sequence[Evidence]) -> Finding:
    n = total(pieces)
    ours, theirs = (max(piece.value or 0.0 for piece in side if piece.n) for side in (pieces, base))
    if theirs <= 0:
        return Finding(
            Verdict.INCONCLUSIVE, f"{number(ours)} against {number(theirs)}: no ratio to nothing", n
        )
    ratio = ours / theirs
    verdict = Verdict.PASS if meets(gate, ratio) else Verdict.FAIL
    return Finding(
        verdict, f"{number(ours)} against {number(theirs)}, {_times(ratio)} the baseline", n, ratio
    )
