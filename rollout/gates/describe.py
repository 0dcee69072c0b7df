"""What a gate does with its evidence, in words: the test, and what a pass takes."""

from __future__ import annotations

from rollout import units
from rollout.gates import needs, trend
from rollout.gates.condition import GateLike, meets, upwards
from rollout.model import EvidenceKind

USUAL = 1000
"""Observations that "how many may fail" is told for when nothing was measured yet."""


def method(gate: GateLike, kind: EvidenceKind) -> str:
    """How evidence of this kind is judged."""
    at = f"at {units.share(gate.confidence, 3)} confidence, one-sided"
    if gate.compare == "baseline":
        if kind == "samples":
            return f"Mann-Whitney U and an exact test of the tail beyond p{gate.percentile:g}, {at}"
        return f"exact conditional test of failures on both, {at}"
    match kind:
        case "ratio":
            return "a census: all there is was checked, compared as it is"
        case "rate":
            return f"exact bound (Clopper-Pearson) {at}"
        case "samples":
            return f"p{gate.percentile:g} with its interval by order statistics {at}"
        case "count":
            return "a tally, compared as it is; nothing observed is nothing known"
        case "gauge":
            return "the worst of the readings, compared as it is"
        case "series":
            return f"slope by Theil and Sen with its interval {at}, as growth of the median"


def takes(gate: GateLike, kind: EvidenceKind, n: int, looks: int = 1) -> str:
    """What a pass takes; how many of ``n`` observations may fail (of 1000 when there were none).

    ``looks``: at how many times the pass may be given, which share the error rate.
    """
    alpha, least = (1 - gate.confidence) / looks, max(1, gate.min_samples)
    if gate.compare == "baseline":
        each = max(least, needs.compared(gate.percentile / 100, alpha) or 0)
        if kind == "samples":
            return f"{each} samples of each generation at least, while both serve"
        return "failures on the generation before, to be compared with: without any there is no ratio"
    share = _share(gate, kind)
    if share is not None:
        text = _binomial(kind, share, alpha, least, n)
        return text + (f" (at any of the {looks} looks of the step that decides)" if looks > 1 else "")
    match kind:
        case "ratio":
            if not n:
                return f"{gate.op} {units.share(gate.threshold)} of its checks, all of which are made"
            allowed = next((failed for failed in range(n, -1, -1) if meets(gate, 1 - failed / n)), None)
            return f"of {n}, {allowed} may fail" if allowed is not None else f"more than {n} checks"
        case "series":
            window = f" over {units.share(trend.COVERED)} of the window" if gate.window is not None else ""
            return f"{max(least, trend.LEAST)} readings of each host and profile at least{window}"
    return f"{units.count(least, 'observation')} at least"


def _binomial(kind: EvidenceKind, share: float, alpha: float, least: int, n: int) -> str:
    alone = needs.without_failure(share, alpha)
    if alone is None:
        return "no number of observations is enough"
    what, bad = ("samples", "be beyond the threshold") if kind == "samples" else ("observations", "fail")
    text = f"{max(least, alone)} {what} none of which may {bad}"
    of = n if n >= max(least, alone) else max(USUAL, 2 * alone)
    return f"{text}; of {of}, {needs.failures_allowed(of, share, alpha)} may"


def spare(gate: GateLike, kind: EvidenceKind, n: int, failed: int) -> int | None:
    """How many more of ``n`` observations could have failed in a gate that passes; None: not countable."""
    share = _share(gate, kind)
    if share is None or gate.compare == "baseline":
        return None
    return max(0, needs.failures_allowed(n, share, 1 - gate.confidence) - failed)


def _share(gate: GateLike, kind: EvidenceKind) -> float | None:
    """The share of observations that have to be good."""
    if kind == "rate":
        return gate.threshold if upwards(gate) else 1 - gate.threshold
    if kind == "samples":
        return 1 - gate.percentile / 100 if upwards(gate) else gate.percentile / 100
    return None
