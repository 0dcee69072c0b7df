"""Judging evidence.

Verdicts and when they are given:

* ``pass``: there is enough evidence and it meets the condition.
* ``fail``: the evidence shows that the condition is not met.
* ``inconclusive``: no evidence, too little of it, none of a host that was looked at, stale evidence, or an
  interval that holds the threshold: 10 of 10 is not "more than 99 %".
* ``error``: evidence that contradicts itself, is not a number, or comes from the future.

Nothing but ``pass`` lets a build on. Several verdicts combine by :func:`rollout.model.worst`: error over fail
over inconclusive over pass. Gates of severity ``warning`` are judged and reported like all others, and
:func:`deciding` leaves them out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache

from rollout.gates import baseline, figures, parts, rates, samples, trend
from rollout.gates.condition import ONCE, Finding, GateLike, Look, asked, where
from rollout.gates.rates import bounds as rate_bounds
from rollout.gates.select import Selection, empty, select
from rollout.model import Evidence, GateResult, Verdict

__all__ = ["deciding", "evaluate", "evaluate_all", "rate_bounds"]


def evaluate_all(
    gates: Iterable[GateLike],
    evidence: Sequence[Evidence],
    now: float | None = None,
    look: Callable[[GateLike], Look] | None = None,
    of_hosts: Callable[[], Sequence[Evidence]] = tuple,
) -> list[GateResult]:
    """Judge every gate by the evidence of its metric; all else as in :func:`evaluate`."""
    once = cache(of_hosts)
    return [evaluate(gate, evidence, now, look(gate) if look else ONCE, once) for gate in gates]


def evaluate(
    gate: GateLike,
    evidence: Iterable[Evidence],
    now: float | None = None,
    look: Look = ONCE,
    of_hosts: Callable[[], Sequence[Evidence]] = tuple,
) -> GateResult:
    """Judge one gate. Evidence of other metrics is passed over; several pieces are taken together.

    ``now`` (unix seconds) is what age is measured by; without it, evidence is never stale. ``look`` says what
    this judgement may use up of the error rate, when it is one of several. ``of_hosts`` gives what is known
    of each host by itself, where that is not among the evidence: a gate that fails says at which of them.
    """
    evidence = list(evidence)
    chosen = select(gate, evidence, now)
    found = chosen.stop or _judged(gate, chosen, look)
    where_not = ""
    if found.verdict is Verdict.FAIL and gate.each == "all" and gate.compare != "baseline":
        where_not = parts.blame(gate, [*evidence, *of_hosts()], chosen.pieces)
    ids = tuple(piece.id for piece in (*chosen.pieces, *chosen.base))
    notes = dict.fromkeys(piece.labels["note"] for piece in chosen.pieces if "note" in piece.labels)
    return GateResult(
        gate.name,
        found.verdict,
        found.measured,
        found.bound,
        found.n,
        f"{gate.name} {gate.op} {asked(gate)}: {'; '.join(filter(None, [found.text, where_not, *notes]))}",
        ids,
        found.low,
        found.high,
        found.needed,
        gate.severity,
    )


def deciding(results: Iterable[GateResult], gates: Iterable[GateLike] = ()) -> list[GateResult]:
    """The results that decide: those of gates whose severity is not ``warning``.

    Results that were read from the ledger do not know their severity; ``gates`` says it for them. When
    nothing is left there is nothing to pass on: :func:`rollout.model.worst` of it is inconclusive.
    """
    warnings = {gate.name for gate in gates if gate.severity == "warning"}
    return [result for result in results if result.severity != "warning" and result.gate not in warnings]


def _judged(gate: GateLike, chosen: Selection, look: Look) -> Finding:
    pieces = chosen.pieces
    if gate.compare == "baseline":
        found = baseline.judge(gate, pieces, chosen.base, look)
    elif gate.each != "all":
        found = parts.judge_each(gate, pieces, look, _of_kind)
    else:
        found = _of_kind(gate, pieces, look)
    blind = empty((*pieces, *chosen.base))
    if found.verdict is Verdict.PASS and blind is not None:
        text = f"{found.text}, but nothing was observed of {where(blind)}"
        return Finding(Verdict.INCONCLUSIVE, text, found.n, found.measured, found.bound)
    return found


def _of_kind(gate: GateLike, pieces: Sequence[Evidence], look: Look) -> Finding:
    match pieces[0].kind:
        case "ratio":
            return figures.judge_ratio(gate, pieces)
        case "rate":
            return rates.judge(gate, pieces, look)
        case "samples":
            return samples.judge(gate, pieces, look)
        case "count":
            return figures.judge_count(gate, pieces)
        case "gauge":
            return figures.judge_gauge(gate, pieces)
        case "series":
            return trend.judge(gate, pieces, look)
    return Finding(Verdict.ERROR, f"no evidence is of the kind {pieces[0].kind}", 0)
