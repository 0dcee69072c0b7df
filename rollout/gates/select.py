"""Which evidence a gate judges, and what makes it unfit to be judged."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

from rollout.gates.condition import Finding, GateLike, total, where
from rollout.model import Evidence, Verdict
from rollout.units import duration

SKEW_SECONDS = 5.0
"""Evidence that ends so far in the future was measured by a clock that is wrong."""


@dataclass(frozen=True, slots=True)
class Selection:
    """What a gate judges; ``stop`` is the finding when it cannot be judged at all."""

    pieces: list[Evidence]
    base: list[Evidence]
    stop: Finding | None = None


def select(gate: GateLike, evidence: Sequence[Evidence], now: float | None) -> Selection:
    """Take the pieces of the gate's metric, of its window, in an order of their own.

    The label ``role`` sets pieces apart that are there to be compared: ``baseline``, and ``canary`` for what
    was measured beside it; no other gate counts them. So does ``window`` (seconds) for a gate with that one,
    and ``gate`` for the one gate that has asked. Parts count for gates that judge each by itself, the
    whole for all others. The label ``error`` is a verdict of its own.
    Without ``now``, staleness and clocks are not looked at.
    """
    # A piece that is handed in twice was measured once.
    mine = list({_identity(piece): piece for piece in evidence if piece.metric == gate.metric}.values())
    mine = [
        piece
        for piece in mine
        if piece.labels.get("gate", gate.name) == gate.name and piece.part == gate.each
    ]
    mine.sort(key=lambda piece: (piece.started, piece.ended, piece.id))
    comparing = gate.compare == "baseline"
    base = [piece for piece in mine if comparing and piece.labels.get("role") == "baseline"]
    pieces = _ours(gate, mine, comparing)
    used = [*pieces, *base]
    if wrong := next((reason for piece in used if (reason := contradiction(piece, now))), ""):
        return _stop(used, Verdict.ERROR, wrong)
    if len({piece.kind for piece in used}) > 1:
        return _stop(used, Verdict.ERROR, "evidence of different kinds")
    if not pieces:
        return _stop(used, Verdict.INCONCLUSIVE, "no evidence")
    if gate.window is not None and not comparing:
        end = max(piece.ended for piece in pieces) if now is None else now
        pieces = [inside for piece in pieces if (inside := _inside(piece, end - gate.window))]
        if not pieces:
            return _stop(used, Verdict.INCONCLUSIVE, f"no evidence of the last {duration(gate.window)} alone")
    if now is not None and not comparing and (old := _stale(gate, pieces, now)):
        return _stop(used, Verdict.INCONCLUSIVE, old)
    return Selection(pieces, base)


def _identity(piece: Evidence) -> tuple[object, ...]:
    plain = (getattr(piece, field.name) for field in fields(piece) if field.name != "labels")
    return (*plain, _labels(piece))


def _labels(piece: Evidence) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(piece.labels.items()))


def _stop(used: list[Evidence], verdict: Verdict, text: str) -> Selection:
    return Selection(used, [], Finding(verdict, text, max(0, total(used))))


def _ours(gate: GateLike, mine: list[Evidence], comparing: bool) -> list[Evidence]:
    beside = [piece for piece in mine if piece.labels.get("role") == "canary"]
    if comparing and beside:
        return beside
    plain = [piece for piece in mine if piece.labels.get("role") not in ("baseline", "canary")]
    if gate.window is not None:
        cut = [piece for piece in plain if piece.labels.get("window") == f"{gate.window:g}"]
        if cut:
            return cut
    return [piece for piece in plain if "window" not in piece.labels]


def contradiction(piece: Evidence, now: float | None) -> str:
    """Why a piece of evidence cannot be true; "" when it can."""
    name = piece.id
    if "error" in piece.labels:
        return piece.labels["error"]
    if not all(math.isfinite(at) for at in (piece.started, piece.ended)) or piece.ended < piece.started:
        return f"{name}: it ends before it begins"
    if now is not None and piece.ended > now + SKEW_SECONDS:
        return f"{name}: ends {duration(piece.ended - now)} in the future, a clock is wrong"
    if piece.n < 0:
        return f"{name}: a negative number of observations"
    # What a query of one's own gives may be anything.
    signed = piece.kind == "series" or piece.metric.startswith("prometheus.")
    if not signed and min((*piece.samples, piece.value or 0.0), default=0.0) < 0:
        return f"{name}: a {'count' if piece.kind == 'count' else 'measurement'} below zero"
    match piece.kind:
        case "ratio" | "rate":
            if piece.successes is None or not 0 <= piece.successes <= piece.n:
                return f"{name}: {piece.successes} successes of {piece.n}"
        case "samples" | "series":
            if len(piece.samples) != piece.n:
                return f"{name}: {len(piece.samples)} samples of {piece.n}"
            if (piece.times or piece.kind == "series") and len(piece.times) != piece.n:
                return f"{name}: {len(piece.times)} times of {piece.n} samples"
            if not all(math.isfinite(number) for number in (*piece.samples, *piece.times)):
                return f"{name}: a sample is not a number"
        case "count" | "gauge":
            if piece.n and (piece.value is None or not math.isfinite(piece.value)):
                return f"{name}: the value is not a number"
            if piece.value is not None and not piece.n and not math.isfinite(piece.value):
                return f"{name}: the value is not a number"
    return ""


def _inside(piece: Evidence, start: float) -> Evidence | None:
    """What of a piece lies after ``start``; None when nothing does, or it cannot be told apart."""
    cut_already = piece.labels.keys() & {"window", "gate"}
    if piece.started >= start or (piece.kind == "gauge" and piece.ended >= start) or cut_already:
        return piece
    if not piece.times:
        return None
    kept = [(at, value) for at, value in zip(piece.times, piece.samples, strict=True) if at >= start]
    if not kept:
        return None
    times, samples = zip(*kept, strict=True)
    return replace(piece, started=start, n=len(kept), times=times, samples=samples)


def _stale(gate: GateLike, pieces: list[Evidence], now: float) -> str:
    """Of each host and profile the newest piece must be young: the others do not speak for it."""
    newest: dict[tuple[tuple[str, str], ...], Evidence] = {}
    for piece in pieces:
        key = _labels(piece)
        if key not in newest or piece.ended > newest[key].ended:
            newest[key] = piece
    oldest = min(newest.values(), key=lambda piece: piece.ended)
    if oldest.ended <= 0:
        return f"{where(oldest)} has recorded nothing yet"
    age = now - oldest.ended
    if age <= gate.max_age:
        return ""
    return f"stale: {where(oldest)} is {duration(age)} old, at most {duration(gate.max_age)} are allowed"


def empty(pieces: Sequence[Evidence]) -> Evidence | None:
    """A piece in which nothing was observed: what the others saw does not speak for it."""
    return next((piece for piece in pieces if piece.n == 0), None)
