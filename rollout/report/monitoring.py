"""What watches the build, what it saw, and when it saw nothing. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rollout.config.metrics import METRICS
from rollout.config.model import Alert
from rollout.model import MonitorLog
from rollout.report.judged import replaced_by
from rollout.report.material import Material
from rollout.report.text import moment
from rollout.units import count, duration, quantity, share

ALERT_UNITS = {"success_ratio": "share", "memory_bytes": "bytes", "reconnect_ms": "ms"}
LATE = 2.5
"""Rounds that lie further apart than so many intervals have a gap between them."""
MAX_ROWS = 50


def monitoring(material: Material) -> dict[str, Any]:
    """Settings, what each host's monitor saw of this build, and the alerts."""
    monitor = material.environment.monitor
    logs = material.monitor
    window = (material.record.ended or material.record.started, _until(material))
    hosts = [] if logs is None else [_host(host, log, window) for host, log in logs.items()]
    alerts = _alerts(material, window)
    return {
        "configured": monitor is not None,
        "interval": monitor.every if monitor else None,
        "interval_text": duration(monitor.every) if monitor else "no monitor is configured",
        "metrics": [
            {"metric": metric.name, "help": metric.help}
            for metric in METRICS.values()
            if metric.source == "monitor"
        ]
        if monitor
        else [],
        "thresholds": [
            {
                "rule": rule.name,
                "severity": rule.severity,
                "condition": _condition(rule),
                "for": duration(rule.hold),
                "window": duration(rule.window),
            }
            for rule in (monitor.alerts if monitor else ())
        ],
        "asked": logs is not None,
        "from": window[0],
        "to": window[1],
        "hosts": hosts,
        "alerts": alerts,
        "evidence": [item.id for item in material.evidence if item.metric.startswith("monitor.")],
        "text": _text(material, hosts, alerts),
    }


def _condition(rule: Alert) -> str:
    threshold = quantity(rule.threshold, ALERT_UNITS.get(rule.metric, ""))
    return f"{rule.metric} {rule.op} {threshold}" + (f" ({rule.profile})" if rule.profile else "")


def _until(material: Material) -> float:
    successor = replaced_by(material)
    return (successor.ended or material.now) if successor else material.now


def _host(host: str, log: MonitorLog | None, window: tuple[float, float]) -> dict[str, Any]:
    if log is None:
        text = "did not answer: nothing is known of it"
        return {"host": host, "answered": False, "gaps": [], "text": text}
    mine = [record for record in log.records if window[0] <= float(record.get("at", 0.0)) <= window[1]]
    checks = [record for record in mine if record.get("kind") == "check"]
    good = sum(bool(record.get("ok")) for record in checks)
    observed, gaps = observe(mine)
    text = (
        f"{good} of {count(len(checks), 'check')} succeeded ({share(good / len(checks))}),"
        f" observed {duration(observed)}"
        if checks
        else "no check of this build"
    )
    if checks and (
        log.judged is None or log.judged + float(checks[-1].get("interval", 0.0)) < checks[-1]["at"]
    ):
        text += ", its alerts were not written"
    if gaps:
        text += f", blind {count(len(gaps), 'time')}, longest {duration(max(gap['seconds'] for gap in gaps))}"
    if log.damaged:
        text += f", {log.damaged} lines unreadable"
    return {
        "host": host,
        "answered": True,
        "checks": len(checks),
        "succeeded": good,
        "observed": observed,
        "gaps": gaps[:MAX_ROWS],
        "damaged": log.damaged,
        "text": text,
    }


def observe(records: Sequence[dict[str, Any]]) -> tuple[float, list[dict[str, Any]]]:
    """Seconds that were really seen, by the clock that nobody sets, and the gaps in between.

    For the page only: what decides is the evidence ``monitor.observed_seconds``.
    """
    seen, gaps = 0.0, []
    before: dict[str, Any] | None = None
    for record in records:
        if record.get("kind") == "gap":
            gaps.append(
                {
                    "at": float(record["at"]),
                    "seconds": float(record.get("seconds") or 0.0),
                    "reason": str(record.get("reason", "")),
                }
            )
            before = None
            continue
        if before is not None:
            same = record.get("boot") == before.get("boot")
            clock = "boottime" if same else "at"
            passed = float(record.get(clock) or 0.0) - float(before.get(clock) or 0.0)
            if same and 0 <= passed <= LATE * float(record.get("interval") or 60.0):
                seen += passed
            elif passed > 0:
                gaps.append({"at": float(record["at"]), "seconds": passed, "reason": "no records"})
        before = record
    return seen, gaps


def _alerts(material: Material, window: tuple[float, float]) -> list[dict[str, Any]]:
    """What was raised: in the hosts' own histories and in the ledger, each once, the newest first."""
    found = [
        (host, alert)
        for host, log in (material.monitor or {}).items()
        for alert in (log.alerts if log else ())
        if (alert.get("until") or window[1]) >= material.record.started
        and alert.get("since", 0.0) <= window[1]
    ]
    found += [
        (str(event.data.get("host", "")), event.data) for event in material.events if event.kind == "alert"
    ]
    rows = {
        (alert.get("rule"), host, alert.get("since")): {
            "rule": str(alert.get("rule", "")),
            "severity": str(alert.get("severity", "")),
            "host": str(alert.get("host") or host),
            "since": alert.get("since"),
            "until": alert.get("until"),
            "text": str(alert.get("text", "")),
            "when": moment(alert.get("since"))
            + " to "
            + (moment(alert["until"]) if alert.get("until") else "now"),
        }
        for host, alert in found
    }
    return sorted(rows.values(), key=_since, reverse=True)[:MAX_ROWS]


def _since(row: dict[str, Any]) -> float:
    return float(row["since"] or 0.0)


def _text(material: Material, hosts: Sequence[dict[str, Any]], alerts: Sequence[Any]) -> str:
    if material.environment.monitor is None:
        return "No monitor is configured here: nothing was seen between the checks of the rollout."
    if material.monitor is None:
        return "The monitors were not asked for this report; what the ledger has of them is below."
    answered = [host for host in hosts if host["answered"]]
    if len(answered) < len(hosts):
        silent = ", ".join(host["host"] for host in hosts if not host["answered"])
        return f"No answer from: {silent}. What a monitor does not say is not known."
    return f"{len(answered)} of {len(hosts)} monitors answered; {len(alerts)} alerts were raised."
