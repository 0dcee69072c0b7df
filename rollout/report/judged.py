"""Gates and criteria as rows: target, what was measured, its bound, the verdict and its evidence. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rollout.config import Gate
from rollout.evidence.collect import GROUPS
from rollout.evidence.soak import from_monitor
from rollout.ledger import RolloutRecord, State
from rollout.model import Evidence, GateResult, Verdict
from rollout.report.decision import SOAK, Case, Judged
from rollout.report.material import Material
from rollout.report.text import moment, unit_of
from rollout.units import quantity, share


def covers(metric: str, suite: str, group: str) -> bool:
    """Whether a metric counts a check of this suite and group."""
    return metric == f"{suite}.pass_ratio" or GROUPS.get(metric) == (suite, group)


def metric_of(result: GateResult, metrics: Mapping[str, str], declared: Mapping[str, Gate]) -> str:
    """The metric that a recorded verdict is about: by its evidence, whose ``metrics`` are by id, else by the
    gate of its name that is ``declared``."""
    seen = next((metrics[identity] for identity in result.evidence if identity in metrics), None)
    if seen is not None:
        return seen
    gate = declared.get(result.gate)
    return gate.metric if gate else result.gate


def row(result: GateResult, step: str, declared: Gate | None, metric: str) -> dict[str, Any]:
    """One verdict for the tables, with every field of the recorded result."""
    unit = unit_of(metric)
    op, target = _target(result, declared, unit)
    return {
        "step": step,
        "gate": result.gate,
        "verdict": result.verdict.value,
        "measured": result.measured,
        "bound": result.bound,
        "n": result.n,
        "reason": result.reason,
        "evidence": list(result.evidence),
        "metric": metric,
        "unit": unit,
        "target": target,
        "actual": _figure(result.measured, unit, target),
        "interval": _interval(result, op, unit, target),
        "severity": result.severity,
        "text": _told(result),
    }


def _target(result: GateResult, declared: Gate | None, unit: str) -> tuple[str, str]:
    """What was asked for, as it was recorded with the verdict; the file may have changed since."""
    found = re.match(rf"{re.escape(result.gate)} (<=|>=|==|<|>) ([^:]+):", result.reason)
    if found:
        op, asked = found[1], found[2]
        try:
            return op, f"{op} {quantity(float(asked), unit)}"
        except ValueError:
            return op, f"{op} {asked}"
    if declared is not None:
        return declared.op, f"{declared.op} {quantity(declared.threshold, unit)}"
    return "", "not recorded"


def _figure(value: float | None, unit: str, target: str) -> str:
    """A figure in its metric's unit; beside a baseline it is the ratio of the two."""
    if value is not None and target.endswith("x baseline"):
        return f"{value:.3g} x baseline"
    return quantity(value, unit)


def _interval(result: GateResult, op: str, unit: str, target: str) -> str:
    if result.low is not None and result.high is not None:
        return f"{_figure(result.low, unit, target)} to {_figure(result.high, unit, target)}"
    if result.bound is None:
        return ""
    sign = {">": "at least", ">=": "at least", "<": "at most", "<=": "at most"}.get(op, "bound")
    # Close to the threshold more figures tell the two apart.
    near = unit == "share" and not target.endswith("x baseline")
    return f"{sign} {share(result.bound, 2) if near else _figure(result.bound, unit, target)}"


def _told(result: GateResult) -> str:
    """The reason, with its gate's name in front."""
    return result.reason if result.reason.startswith(result.gate) else f"{result.gate}: {result.reason}"


def latest(verdicts: Sequence[tuple[str, GateResult]]) -> list[tuple[str, GateResult]]:
    """The last verdict of each gate at each step: a resumed step judges again."""
    return [(step, result) for (step, _), result in {(s, r.gate): r for s, r in verdicts}.items()]


def gate_rows(material: Material) -> list[dict[str, Any]]:
    """Every verdict recorded of the rollout, in order."""
    return rows(_of_the_shift(material), material.evidence, material.gates)


def rows(
    verdicts: Sequence[tuple[str, GateResult]], evidence: Iterable[Evidence], declared: Mapping[str, Gate]
) -> list[dict[str, Any]]:
    """The last verdict of each gate at each step, by the ``evidence`` and the ``declared`` gates, by name."""
    metrics = {piece.id: piece.metric for piece in evidence}
    return [
        row(result, step, declared.get(result.gate), metric_of(result, metrics, declared))
        for step, result in latest(verdicts)
    ]


def _of_the_shift(material: Material) -> list[tuple[str, GateResult]]:
    """Step ``criteria`` judged the build where it came from; the report of that place has it. Criteria that
    the soak was judged by are among the criteria."""
    criteria = {gate.name for gate in material.environment.soak_gates}
    return [
        (step, result)
        for step, result in material.verdicts
        if step != "criteria" and not (step == SOAK and result.gate in criteria)
    ]


def criteria_rows(material: Material) -> list[dict[str, Any]]:
    """Every criterion for leaving: judged ones, then those that were not."""
    declared = {gate.name: gate for gate in material.environment.soak_gates}
    results = {result.gate: result for result in material.criteria}
    metrics = {piece.id: piece.metric for piece in material.evidence}
    rows = [
        row(
            result,
            "criteria",
            declared.get(name),
            declared[name].metric if name in declared else metric_of(result, metrics, material.gates),
        )
        for name, result in results.items()
    ]
    for name, gate in declared.items():
        if name not in results:
            unjudged = GateResult(name, Verdict.INCONCLUSIVE, None, None, 0, "")
            rows.append({**row(unjudged, "", gate, gate.metric), "text": f"{name}: not judged yet"})
    return rows


def case(
    material: Material,
    gates: Sequence[dict[str, Any]],
    criteria: Sequence[dict[str, Any]],
    failed: Sequence[dict[str, Any]],
) -> Case:
    """What decides, out of the rows."""
    record, environment = material.record, material.environment
    wanted = [gate.name for gate in environment.gates if gate.severity == "critical"]
    return Case(
        state=record.state.value,
        cause=record.reason,
        gates=[_judged(row, failed) for row in gates],
        # A rollout that was taken back half-way never came to most of its gates: that is not the reason.
        wanted_gates=wanted if record.state is State.PROMOTED else [],
        criteria=[_judged(row, failed) for row in criteria if row["step"]],
        wanted_criteria=[gate.name for gate in environment.soak_gates if gate.severity == "critical"],
        soak=environment.soak,
        soaked=soaked(material),
        taken_back=taken_back(material),
    )


def _judged(row: dict[str, Any], failed: Sequence[dict[str, Any]]) -> Judged:
    verdict = Verdict(row["verdict"])
    return Judged(
        name=row["gate"],
        verdict=verdict,
        text=row["text"],
        step=row["step"],
        deciding=row["severity"] == "critical",
        failing=tuple(
            f"{check['suite']}: {check['group']}: {check['name']}: {check['detail']}"
            for check in failed
            if covers(row["metric"], check["suite"], check["group"])
        )
        if verdict is not Verdict.PASS
        else (),
        evidence=tuple(row["evidence"]),
    )


def soaked(material: Material) -> float:
    """Seconds of its soak: those that the monitors saw, where they are known; else by the clock."""
    record = material.record
    monitor = material.environment.monitor
    if material.monitor is not None and monitor is not None and record.state is State.PROMOTED:
        found = from_monitor(
            material.monitor, record.ended or record.started, record.generation, timeout=monitor.timeout
        )
        return next(piece.value or 0.0 for piece in found if piece.metric == "monitor.observed_seconds")
    if record.state is not State.PROMOTED or record.ended is None:
        return 0.0
    successor = replaced_by(material)
    until = successor.ended or material.now if successor else material.now
    return max(0.0, until - record.ended)


def replaced_by(material: Material) -> RolloutRecord | None:
    """The rollout that took this one's place in the environment."""
    return next((entry for entry in material.after if entry.state is State.PROMOTED), None)


def taken_back(material: Material) -> str:
    """How a later rollback took the build away, "" when none did."""
    successor = replaced_by(material)
    if successor is None or successor.kind != "rollback" or successor.digest == material.record.digest:
        return ""
    why = f": {successor.reason}" if successor.reason else ""
    return (
        f"taken back by rollback #{successor.number} to {successor.build} at {moment(successor.ended)}{why}"
    )
