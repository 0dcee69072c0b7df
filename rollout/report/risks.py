"""What failed before and passes now; what is still open. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rollout.model import Verdict
from rollout.report.material import Material
from rollout.report.text import figure, moment
from rollout.units import count, duration

BAD_FIGURES = {
    "sessions_severed": "sessions were cut off during the shift",
    "bytes_lost": "bytes of output never arrived",
    "bytes_doubled": "bytes of output arrived twice",
    "commands_twice": "commands ran more than once",
}


def resolved(
    material: Material, gates: Sequence[dict[str, Any]], checks: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Gates and tests that did not pass in an earlier rollout of this environment, and pass now."""
    rows = {row["gate"]: row for row in gates}
    bad = {row["gate"] for row in gates if row["verdict"] != Verdict.PASS}
    found: dict[str, dict[str, Any]] = {}
    for earlier in material.earlier:
        where = f"#{earlier.record.number} ({earlier.record.build})"
        for result in earlier.gates:
            if result.gate in rows and result.gate not in bad:
                text = f"{result.verdict} in {where}: {result.reason}; now {rows[result.gate]['text']}"
                found.setdefault(
                    result.gate,
                    {"name": result.gate, "text": text, "evidence": rows[result.gate]["evidence"]},
                )
        for check in earlier.checks:
            name = f"{check['suite']}: {check['name']}"
            now = [
                mine for mine in checks if (mine["suite"], mine["name"]) == (check["suite"], check["name"])
            ]
            if now and all(mine["ok"] for mine in now):
                text = f"failed in {where}: {check['detail']}; now: {now[-1]['detail']}"
                found.setdefault(name, {"name": name, "text": text, "evidence": []})
    return list(found.values())


def remaining(
    material: Material,
    gates: Sequence[dict[str, Any]],
    criteria: Sequence[dict[str, Any]],
    suites: Sequence[dict[str, Any]],
    monitoring: dict[str, Any],
) -> list[dict[str, Any]]:
    """Everything that is not as it should be, deciding or not."""
    found: list[dict[str, Any]] = []

    def add(name: str, text: str, evidence: Sequence[str] = ()) -> None:
        found.append({"name": name, "text": text, "evidence": list(evidence)})

    for row in {row["gate"]: row for row in gates if row["verdict"] != Verdict.PASS}.values():
        kind = "warning" if row["severity"] != "critical" else row["verdict"]
        add(f"gate {row['gate']}", f"{kind}: {row['text']}", row["evidence"])
    for row in criteria:
        if row["verdict"] != Verdict.PASS:
            kind = "warning" if row["severity"] != "critical" else row["verdict"]
            add(f"soak gate {row['gate']}", f"{kind}: {row['text']}", row["evidence"])
    for suite in suites:
        for test in suite["failed"]:
            add(f"{suite['suite']}: {test['name']}", f"fails: {test['detail']}")
    for event in material.events:
        if event.kind == "override":
            add("override", f"by {event.by}: {event.data.get('reason', '')}")
    for name, text in BAD_FIGURES.items():
        if value := material.record.figures.get(name):
            add(name.replace("_", " "), f"{figure(name, value)} {text}", [f"figure-{name}"])
    _blind(monitoring, add)
    _rehearsal(material, add)
    return found


def _blind(monitoring: dict[str, Any], add: Any) -> None:
    if not monitoring["configured"]:
        add("no monitor", monitoring["text"])
    for host in monitoring["hosts"]:
        if not host["answered"]:
            add(f"monitor of {host['host']}", host["text"])
        elif host["gaps"]:
            blind = sum(gap["seconds"] for gap in host["gaps"])
            why = ", ".join(dict.fromkeys(gap["reason"] for gap in host["gaps"] if gap["reason"]))
            add(
                f"blind on {host['host']}",
                f"{duration(blind)} in {count(len(host['gaps']), 'gap')}" + (f" ({why})" if why else ""),
            )
        if host.get("damaged"):
            add(f"records of {host['host']}", f"{count(host['damaged'], 'line')} could not be read")
    for alert in monitoring["alerts"]:
        if alert["until"] is None or alert["severity"] == "critical":
            add(f"alert {alert['rule']}", f"{alert['severity']}, {alert['when']}: {alert['text']}")


def _rehearsal(material: Material, add: Any) -> None:
    limit = material.environment.rehearsal
    if limit is None:
        return
    last = material.rehearsed
    if last is None:
        add("rehearsal", f"the rollback was never rehearsed; wanted within {duration(limit)}")
    elif (age := material.now - (last.ended or last.started)) > limit:
        add(
            "rehearsal",
            f"the last one is {duration(age)} old ({moment(last.ended)}); wanted within {duration(limit)}",
        )
