"""One host, or one region, at a time: what the parts of the evidence say each by itself.

They are measured along with the whole (:attr:`rollout.model.Evidence.part`); a gate counts one or the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Final

from rollout.gates import samples
from rollout.gates.condition import Finding, GateLike, Look, meets, percent, total
from rollout.model import Evidence, Verdict, worst
from rollout.units import count, quantity

NAMED: Final = 3
"""So many are named one by one."""

Judge = Callable[[GateLike, Sequence[Evidence], Look], Finding]


def judge_each(gate: GateLike, pieces: Sequence[Evidence], look: Look, judge: Judge) -> Finding:
    """Judge each part by itself; the worst counts, and the figures are those of it.

    All have to pass, so a wrong pass of the whole is no likelier than one of a single part; any may fail, so
    they share the probability of a wrong fail (Bonferroni).
    """
    parts = _split(pieces)
    shared = replace(look, failing=look.failing / len(parts))
    found = {name: judge(gate, part, shared) for name, part in parts.items()}
    verdict = worst(finding.verdict for finding in found.values())
    same = [name for name in parts if found[name].verdict is verdict]
    name = same[0] if verdict is not Verdict.PASS else max(same, key=lambda one: _rank(gate, parts[one]))
    if verdict is Verdict.PASS:
        text = f"at each of {count(len(parts), pieces[0].part)}, the worst of them {name}: "
    else:
        others = f" (as at {_listed(same[1:])})" if len(same) > 1 else ""
        text = f"at {name}{others}: "
    return replace(found[name], text=text + found[name].text)


def blame(gate: GateLike, evidence: Iterable[Evidence], judged: Sequence[Evidence]) -> str:
    """Where a condition that the whole does not meet is not met, host by host; "" where that is not known."""
    window = judged[0].labels.get("window") if judged else None
    mine = [
        piece
        for piece in evidence
        if piece.metric == gate.metric and piece.part == "host" and piece.labels.get("window") == window
    ]
    parts = {name: part for name, part in _split(mine).items() if total(part)}
    bad = sorted(
        (name for name, part in parts.items() if not meets(gate, _point(gate, part))),
        key=lambda name: _rank(gate, parts[name]),
        reverse=True,
    )
    if len(parts) < 2 or not bad:
        return ""
    if len(bad) == len(parts):
        worst_of = f"the worst of them {bad[0]}: {_said(gate, parts[bad[0]])}"
        return f"at each of {count(len(parts), 'host')}, {worst_of}"
    named = ", ".join(f"{name}: {_said(gate, parts[name])}" for name in bad[:NAMED])
    more = f" and {len(bad) - NAMED} more" if len(bad) > NAMED else ""
    good = [name for name in parts if name not in bad]
    return f"at {named}{more}; not at {_listed(good)}"


def _split(pieces: Iterable[Evidence]) -> dict[str, list[Evidence]]:
    parts: dict[str, list[Evidence]] = {}
    for piece in pieces:
        parts.setdefault(piece.labels[piece.part], []).append(piece)
    return parts


def _point(gate: GateLike, part: Sequence[Evidence]) -> float:
    """What was measured there, taken as it is."""
    match part[0].kind:
        case "rate" | "ratio":
            return sum(piece.successes or 0 for piece in part) / total(part)
        case "samples":
            return samples.nearest_rank(
                sorted(value for piece in part for value in piece.samples), gate.percentile
            )
    return sum(piece.value or 0.0 for piece in part)


def _rank(gate: GateLike, part: Sequence[Evidence]) -> float:
    """The higher, the worse."""
    if not total(part):
        return float("-inf")
    return -_point(gate, part) if gate.op in (">", ">=") else _point(gate, part)


def _said(gate: GateLike, part: Sequence[Evidence]) -> str:
    point, n = _point(gate, part), total(part)
    match part[0].kind:
        case "rate" | "ratio":
            return f"{sum(piece.successes or 0 for piece in part)} of {n} ({percent(point)})"
        case "samples":
            return f"p{gate.percentile:g} {quantity(point, gate.unit)} of {count(n, 'sample')}"
    return quantity(point, gate.unit)


def _listed(names: Sequence[str]) -> str:
    return (
        ", ".join(names)
        if len(names) <= NAMED
        else f"{', '.join(names[: NAMED - 1])} and {len(names) - NAMED + 1} more"
    )
