"""Title, status, the executive summary, the checklist for what comes next. All of it computed. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rollout.ledger import State
from rollout.model import Verdict
from rollout.report.decision import Decision
from rollout.report.judged import replaced_by, soaked
from rollout.report.material import Material
from rollout.report.measures import passed
from rollout.report.text import figure, moment
from rollout.units import count, duration


def title(material: Material) -> str:
    """What and where."""
    record = material.record
    return f"{record.kind.capitalize()} of {record.build} to {record.env} (#{record.number})"


def status(material: Material) -> dict[str, Any]:
    """Where the rollout stands."""
    record = material.record
    successor = replaced_by(material)
    return {
        "state": record.state.value,
        "text": _standing(material),
        "replaced_by": None
        if successor is None
        else {
            "number": successor.number,
            "kind": successor.kind,
            "build": successor.build,
            "at": successor.ended,
        },
        "soaked": soaked(material),
        "soak": material.environment.soak,
    }


def _standing(material: Material) -> str:
    record = material.record
    successor = replaced_by(material)
    match record.state:
        case State.PROMOTED if successor is not None:
            other = f"#{successor.number} ({successor.kind} of {successor.build})"
            return f"was in {record.env} until {other} took its place"
        case State.PROMOTED:
            return f"active in {record.env} since {moment(record.ended)} UTC"
        case State.RUNNING:
            return f"unfinished in {record.env}; go on with: rollout resume {record.env}"
        case State.ROLLING_BACK:
            return f"being taken back from {record.env}; go on with: rollout resume {record.env}"
        case State.ROLLED_BACK:
            return f"taken back from {record.env} at {moment(record.ended)} UTC"
        case State.ROLLBACK_FAILED:
            return f"the rollback failed in {record.env}; go on with: rollout resume {record.env}"
        case State.APPLIED:
            return f"its settings were applied in {record.env} at {moment(record.ended)} UTC"
        case State.REHEARSED:
            return f"rehearsed in {record.env} and taken back on purpose"


def summary(
    material: Material,
    decision: Decision,
    suites: Sequence[dict[str, Any]],
    gates: Sequence[dict[str, Any]],
    criteria: Sequence[dict[str, Any]],
    monitoring: dict[str, Any],
) -> list[str]:
    """Sentences, each from figures that the sections below have with their evidence."""
    record = material.record
    came = f"Build {record.build} (rollout #{record.number}, {record.kind} by {record.operator}):"
    why = "; ".join(reason.text for reason in decision.reasons[:3])
    more = len(decision.reasons) - 3
    decided = f"Recommendation: {'no-go (yet)' if decision.verdict == 'not-yet' else decision.verdict}"
    decided += f": {why}" + (f"; and {more} more" if more > 0 else "") if why else ""
    sentences = [f"{came} {_standing(material)}.", decided + "."]
    if suites:
        sentences.append("Tests: " + ", ".join(f"{suite['suite']} {suite['text']}" for suite in suites) + ".")
    if gates:
        good, total, warns = passed(gates)
        sentences.append(f"{good} of {count(total, 'gate')} passed{_only(warns)}.")
    if criteria:
        good, total, warns = passed(criteria)
        of = count(total, "soak gate")
        sentences.append(f"{good} of {of} for leaving passed{_only(warns)}.")
    sentences += [*_sessions(material), *_bytes(material)]
    if record.state is State.PROMOTED:
        sentences.append(
            f"In charge for {duration(soaked(material))} of a soak of {duration(material.environment.soak)}."
        )
    sentences.append(monitoring["text"])
    return sentences


def _only(warns: int) -> str:
    return f" ({warns} of the others only {'warns' if warns == 1 else 'warn'})" if warns else ""


def _sessions(material: Material) -> list[str]:
    figures = material.record.figures
    if "sessions_moved" not in figures:
        return ["No live sessions were shifted."]
    parts = [f"{figure('', figures['sessions_moved'])} live sessions carried over"]
    for name, text in (
        ("sessions_drained", "drained"),
        ("sessions_severed", "severed"),
        ("sessions_returned", "returned by the rollback"),
    ):
        if name in figures:
            parts.append(f"{figure('', figures[name])} {text}")
    return [", ".join(parts) + "."]


def _bytes(material: Material) -> list[str]:
    figures = material.record.figures
    if "bytes_verified" not in figures:
        return ["No load run: no byte of output was verified."]
    return [
        f"{figure('', figures['bytes_verified'])} bytes of output verified by"
        f" {count(int(figures.get('load_users', 0)), 'load user')}:"
        f" {figure('', figures.get('bytes_lost', 0))} lost,"
        f" {figure('', figures.get('bytes_doubled', 0))} doubled;"
        f" {count(int(figures.get('commands_twice', 0)), 'command')} ran twice."
    ]


def checklist(material: Material, decision: Decision, criteria: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What has to be true before the build may go on, and whether it is."""
    successors = material.config.successors(material.record.env)
    time_done = soaked(material)
    soak = material.environment.soak
    items = [
        {
            "done": row["verdict"] == Verdict.PASS,
            "text": f"{row['gate']} {row['target']}",
            "actual": _measured(row),
            "evidence": row["evidence"],
        }
        for row in criteria
    ]
    items.insert(
        0,
        {
            "done": time_done >= soak and material.record.state is State.PROMOTED,
            "text": f"{duration(soak)} in charge",
            "actual": duration(time_done),
            "evidence": [],
        },
    )
    items.insert(
        0,
        {
            "done": not any(reason.about in ("rollout", "gate") for reason in decision.reasons),
            "text": "promoted, with every gate passed",
            "actual": material.record.state.value,
            "evidence": [],
        },
    )
    for successor in successors:
        if wanted := successor.approvals:
            people = {event.by for event in material.approvals if event.env == successor.name}
            items.append(
                {
                    "done": len(people) >= wanted,
                    "text": f"{count(wanted, 'approval')} for {successor.name}",
                    "actual": ", ".join(sorted(people)) or "nobody yet",
                    "evidence": [],
                }
            )
    return {
        "next": [successor.name for successor in successors],
        "source": {"now": "judged for this report", "ledger": "as recorded in the ledger"}.get(
            material.criteria_from, "not judged yet"
        ),
        "items": items,
    }


def _measured(row: dict[str, Any]) -> str:
    if not row["step"]:
        return "not judged yet"
    bound = f", {row['interval']}" if row["interval"] else ""
    return f"{row['verdict']}, {row['actual']}{bound} (n {row['n']})"


def steps_next(material: Material, decision: Decision) -> list[str]:
    """What to do now."""
    env = material.record.env
    nexts = [entry.name for entry in material.config.successors(env)]
    if material.record.state.open:
        return [f"finish it: rollout resume {env}"]
    match decision.verdict:
        case "go":
            return [f"rollout promote {name}" for name in nexts] or ["nothing: this is the last environment"]
        case "not-yet":
            left = material.environment.soak - soaked(material)
            wait = [f"the soak needs {duration(left)} more"] if left > 0 else []
            return [*wait, f"then look again: rollout report {env}"]
        case "no-go":
            fix = "fix every reason above in a new build: rollout build"
            return [fix, *([f"or take it back: rollout rollback {env}"] if _in_charge(material) else [])]


def _in_charge(material: Material) -> bool:
    return material.record.state is State.PROMOTED and replaced_by(material) is None
