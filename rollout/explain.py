"""What each gate of an environment asks, what it measured last, and what a pass takes: from the ledger."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from rollout.config import Config, Environment, Gate
from rollout.gates import checkpoints, describe, evaluate
from rollout.gates.condition import asked, meets
from rollout.ledger import Ledger, RolloutRecord
from rollout.model import Evidence, EvidenceKind, GateResult, Verdict
from rollout.units import count, duration, number, quantity, times

OF_SOAK = ("criteria", "soak")
"""Steps at which soak gates are judged."""
NOW = "now"
"""In the place of a step: judged at this moment, and nowhere recorded."""


@dataclass(frozen=True, slots=True)
class Judged:
    """A verdict as it stands in the ledger: of which rollout, at which step, by what evidence."""

    record: RolloutRecord
    step: str
    result: GateResult
    evidence: tuple[Evidence, ...]


def collect(
    config: Config, env: str, results: Iterable[GateResult] = (), evidence: Iterable[Evidence] = ()
) -> dict[str, Any]:
    """All gates of ``env`` as JSON, each with its newest verdict, if there is one.

    ``results``: of soak gates, as they are judged now of the build that serves, on ``evidence``.

    Raises:
        ConfigError: no such environment.
    """
    environment = config.environment(env)
    with Ledger(config.ledger_url) as ledger:
        own = next(iter(ledger.rollouts(env)), None)
        gates = _newest(ledger, [own] if own else [], soak=False)
        after = [record for other in config.successors(env) for record in ledger.rollouts(other.name)[:1]]
        soak_gates = _newest(ledger, [*after, *([own] if own else [])], soak=True)
        current = ledger.current(env)
        if current is not None:
            pieces = {piece.id: piece for piece in evidence}
            for result in results:
                judged = tuple(pieces[name] for name in result.evidence if name in pieces)
                soak_gates[result.gate] = Judged(current, NOW, result, judged)
    return {
        "environment": env,
        "rollout": own and {"number": own.number, "build": own.build, "state": own.state.value},
        "gates": [_told(gate, gates.get(gate.name), environment) for gate in environment.gates],
        "soak_gates": [
            _told(gate, soak_gates.get(gate.name), environment) for gate in environment.soak_gates
        ],
    }


def _newest(ledger: Ledger, records: Iterable[RolloutRecord], *, soak: bool) -> dict[str, Judged]:
    """The last verdict by the name of its gate; later steps and later records take the place of earlier."""
    found: dict[str, Judged] = {}
    for record in sorted(records, key=lambda record: record.started):
        pieces = {piece.id: piece for piece in ledger.evidence(record.id)}
        for step, result in ledger.verdicts(record.id):
            if (step in OF_SOAK) == soak:
                judged = tuple(pieces[name] for name in result.evidence if name in pieces)
                found[result.gate] = Judged(record, step, result, judged)
    return found


def _told(gate: Gate, judged: Judged | None, environment: Environment) -> dict[str, Any]:
    kind = gate.about.kind
    last = judged and _last(gate, judged)
    return {
        "name": gate.name,
        "metric": gate.metric,
        "help": gate.about.help,
        "kind": kind,
        "severity": gate.severity,
        "asks": _asks(gate),
        "test": describe.method(gate, kind),
        "needs": describe.takes(gate, kind, last["n"] if last else 0, _looks(gate, environment)),
        "verdict": last["verdict"] if last else None,
        "last": last,
    }


def _looks(gate: Gate, environment: Environment) -> int:
    """At how many times a pass can be given at the step that decides."""
    if gate.about.source != "load":
        return 1
    hold = 0.0 if gate.on == "checks" else environment.canary[-1].hold
    return len(checkpoints(hold, environment.max_hold))


def _asks(gate: Gate) -> str:
    if gate.compare == "baseline":
        text = f"{gate.op} {number(gate.threshold)} times the generation before, at the same time"
    else:
        text = f"{gate.op} {asked(gate)}"
    if gate.each != "all":
        text += f", at each {gate.each}"
    if gate.window is not None:
        text += f", over the last {duration(gate.window)}"
    return text


def _last(gate: Gate, judged: Judged) -> dict[str, Any]:
    """The verdict with its figures. Ledgers of early versions have no interval: it is had again from the
    evidence."""
    result = judged.result
    early = judged.evidence and result.low is None and result.high is None
    again = evaluate(gate, judged.evidence) if early else result
    same = again.n == result.n and again.measured == result.measured
    low, high = (again.low, again.high) if same else (None, None)
    failed = _failed(gate, judged.evidence)
    passed = result.verdict is Verdict.PASS
    spares = passed and same and gate.each == "all"  # which part has least to spare is not recorded
    return {
        "verdict": result.verdict.value,
        "rollout": judged.record.number,
        "environment": judged.record.env,
        "step": judged.step,
        "at": max((piece.ended for piece in judged.evidence), default=None),
        "measured": result.measured,
        "bound": result.bound,
        "low": low,
        "high": high,
        "n": result.n,
        "needed": again.needed if same and not passed else None,
        "spare": describe.spare(gate, gate.about.kind, result.n, failed) if spares else None,
        "reason": result.reason,
        "evidence": list(result.evidence),
    }


def _failed(gate: Gate, evidence: Iterable[Evidence]) -> int:
    """Observations that were not good, of rates and samples."""
    total = 0
    for piece in evidence:
        if piece.kind == "samples":
            total += sum(not meets(gate, sample) for sample in piece.samples)
        elif piece.kind == "rate":
            total += piece.n - (piece.successes or 0)
    return total


def shown(gate: Gate, value: float | None) -> str:
    """A figure of a gate in its unit, for people."""
    if value is None:
        return "?"
    return times(value) if gate.compare == "baseline" else quantity(value, gate.unit)


def lines(data: dict[str, Any], environment: Environment) -> Iterator[tuple[str, str]]:
    """The same for people: pairs of a label and a text; a label of ``#`` is a gate's headline."""
    for part in ("gates", "soak_gates"):
        for gate, told in zip(getattr(environment, part), data[part], strict=True):
            only = " (warns only)" if told["severity"] == "warning" else ""
            yield "#", f"{told['verdict'] or 'not judged yet'}: {told['name']}{only}"
            yield "what", told["help"]
            yield "asks", told["asks"]
            yield "test", told["test"]
            if told["last"]:
                yield from _figures(gate, told["last"])
            yield "pass takes", told["needs"]


def _figures(gate: Gate, last: dict[str, Any]) -> Iterator[tuple[str, str]]:
    kind: EvidenceKind = gate.about.kind
    when = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(last["at"])) if last["at"] else "no evidence"
    measured = shown(gate, last["measured"]) if last["measured"] is not None else "nothing"
    what = {"samples": "sample", "series": "reading"}.get(kind, "observation")
    where = f"{last['environment']} #{last['rollout']}, {last['step']}"
    yield "measured", f"{measured} from {count(last['n'], what)}, {when} ({where})"
    if last["low"] is not None or last["high"] is not None:
        yield "interval", f"{shown(gate, last['low'])} to {shown(gate, last['high'])}"
    yield "said", last["reason"]
    if last["needed"] is not None and last["needed"] > last["n"]:
        yield "missing", f"{count(last['needed'] - last['n'], 'more ' + what)}, if they go on as they did"
    if last["spare"] is not None:
        yield "to spare", f"{last['spare']} more could have failed"
