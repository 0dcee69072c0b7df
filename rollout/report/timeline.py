"""What happened when, and the way back: planned, and as it was carried out. Pure."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from rollout.ledger import Event, RolloutRecord
from rollout.report.material import Material
from rollout.report.text import figure, moment

PLAN_STEPS = {
    "stop": "Stop: no more traffic to the bad build",
    "revert": "Revert: the previous build in charge",
    "preserve": "Preserve: sessions carried over, data kept",
    "verify": "Verify: the front door works",
    "communicate": "Communicate: people told",
    "dashboard": "Dashboard: state updated",
    "incident": "Incident: filed with timeline and evidence",
}


def timeline(material: Material) -> list[dict[str, Any]]:
    """Journal, events and the build's way through other environments, in order of time."""
    found = [
        {
            **asdict(entry),
            "source": "journal",
            "text": str(entry.data.get("reason") or entry.data.get("detail") or ""),
        }
        for entry in material.journal
    ]
    found += [_entry(event.at, event.kind, "event", "event", _told(event)) for event in material.events]
    found += [
        _entry(event.at, event.kind, "event", "event", f"for {event.env}: {_told(event)}")
        for event in material.approvals
    ]
    before = [entry.record for entry in material.earlier if entry.record.digest == material.record.digest]
    for other in (*material.elsewhere, *before, *material.after):
        name = f"{other.env} #{other.number}"
        what = f"{other.kind} of {other.build}"
        found.append(_entry(other.started, name, "started", "rollout", what))
        if other.ended is not None:
            text = what + (f": {other.reason}" if other.reason else "")
            found.append(_entry(other.ended, name, other.state.value, "rollout", text))
    return sorted(found, key=_when)


def _entry(at: float, step: str, phase: str, source: str, text: str) -> dict[str, Any]:
    return {"at": at, "step": step, "phase": phase, "source": source, "text": text, "data": {}}


def _when(entry: dict[str, Any]) -> float:
    return float(entry["at"])


def _told(event: Event) -> str:
    data = event.data
    match event.kind:
        case "approval":
            return f"{data.get('build', '')} approved by {event.by}" + (
                f": {data['note']}" if data.get("note") else ""
            )
        case "override":
            return f"refusal overridden by {event.by}: {data.get('reason', '')}"
        case "notification":
            done = "told" if data.get("ok") else f"not told ({data.get('error', '')})"
            return f"{data.get('to', '')} {done}: {data.get('title', '')}"
        case "plan-step":
            done = "" if data.get("ok", True) else "FAILED: "
            return f"{data.get('step', '')}: {done}{data.get('outcome', '')}"
        case "cancel":
            return f"to be taken back, says {event.by}"
        case "teardown":
            hosts = data.get("unknown", [])
            live = f"{data.get('sessions', 0)} live sessions"
            live += "".join(f" and those of {host}, which did not answer" for host in hosts)
            return f"{event.env} was removed by {event.by}, with {live}"
        case "drain":
            return f"{data.get('host', '')} is {data.get('state', '')} for new sessions, says {event.by}"
        case "upgrade":
            return f"the engine of {data.get('host', '')} was upgraded by {event.by}"
        case "certify":
            return f"certificates of {event.env} were brought by {event.by}"
        case "lost":
            return f"without {', '.join(data.get('hosts', ()))}: stated to be lost, says {event.by}"
        case "door":
            done = "taken away" if data.get("removed") else "brought up to date"
            return f"the door of {event.env} was {done} by {event.by}"
        case "alert":
            return f"{data.get('severity', '')} {data.get('rule', '')}: {data.get('text', '')}"


def decisions_by_people(material: Material) -> dict[str, list[dict[str, Any]]]:
    """Overrides and approvals: who, when, why, and what had been refused."""
    return {
        "overrides": [
            {
                "by": event.by,
                "at": event.at,
                "reason": str(event.data.get("reason", "")),
                "refused": [str(line) for line in event.data.get("refused", ())],
            }
            for event in material.events
            if event.kind == "override"
        ],
        "approvals": [
            {
                "by": event.by,
                "at": event.at,
                "for": event.env,
                "build": str(event.data.get("build", "")),
                "note": str(event.data.get("note", "")),
            }
            for event in (
                *(event for event in material.events if event.kind == "approval"),
                *material.approvals,
            )
        ],
    }


def rollback(material: Material) -> dict[str, Any]:
    """The plan's steps back with what became of each, and the documented steps as they were carried out."""
    record = material.record
    steps = [_planned(material, step) for step in record.plan.get("backward", ())]
    executed = [
        {
            "step": str(event.data.get("step", "")),
            "title": PLAN_STEPS.get(str(event.data.get("step", "")), str(event.data.get("step", ""))),
            "at": event.at,
            "seconds": event.data.get("seconds"),
            "outcome": str(event.data.get("outcome", "")),
            "ok": bool(event.data.get("ok", True)),
        }
        for event in material.events
        if event.kind == "plan-step"
    ]
    return {
        "to": record.previous_build,
        "steps": steps,
        "executed": executed,
        "text": _text(record, bool(executed) or any(step["at"] for step in steps)),
        "documented": PLAN_STEPS,
    }


def _planned(material: Material, step: dict[str, Any]) -> dict[str, Any]:
    entries = [entry for entry in material.journal if entry.step == step.get("name")]
    begun = next((entry for entry in reversed(entries) if entry.phase == "begin"), None)
    over = next((entry for entry in reversed(entries) if entry.phase != "begin"), None)
    done = begun is not None and over is not None and over.at >= begun.at
    return {
        "step": str(step.get("name", "")),
        "summary": str(step.get("summary", "")),
        "at": begun.at if begun else None,
        "seconds": round(over.at - begun.at, 3) if begun and over and done else None,
        "outcome": str(over.data.get("reason") or over.data.get("detail") or "done") if over and done else "",
        "state": ("failed" if over and over.phase == "failed" else "done")
        if done
        else "begun"
        if begun
        else "planned",
    }


def _text(record: RolloutRecord, carried_out: bool) -> str:
    if carried_out:
        took = record.figures.get("verdict_to_rolled_back_s")
        fast = f"; all traffic was back {figure('_s', took)} after the verdict" if took is not None else ""
        return f"Carried out, {record.state} at {moment(record.ended)}{fast}."
    if record.previous_build is None:
        return "There is no earlier build to go back to: going back means stopping this one."
    return (
        f"Not needed so far. A failed gate carries it out by itself; by hand: rollout rollback {record.env}."
    )
