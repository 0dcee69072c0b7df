"""The report as one document: read once, then computed section by section."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from rollout.config import Config
from rollout.model import Evidence, GateResult, JsonObject, MonitorLog
from rollout.report.components import components
from rollout.report.decision import decide
from rollout.report.judged import case, criteria_rows, gate_rows
from rollout.report.material import Material, read
from rollout.report.measures import evidence as evidence_rows
from rollout.report.measures import left_out, metrics
from rollout.report.monitoring import monitoring
from rollout.report.plotted import plots
from rollout.report.risks import remaining, resolved
from rollout.report.suites import failed, split, suites
from rollout.report.summary import checklist, status, steps_next, summary, title
from rollout.report.timeline import decisions_by_people, rollback, timeline

VERSION = 1
"""Of the document's shape: ``schema/report-1.json``, docs/reference/report.md."""


def collect(
    config: Config,
    env: str,
    number: int | None = None,
    *,
    criteria: Sequence[GateResult] | None = None,
    evidence: Sequence[Evidence] = (),
    monitor: Mapping[str, MonitorLog | None] | None = None,
    now: float | None = None,
) -> JsonObject:
    """Everything known of a rollout (the newest of ``env`` without ``number``), as a JSON document.

    ``criteria`` are the verdicts on leaving ``env`` as they are now, with the ``evidence`` they judged, and
    ``monitor`` what the monitors of its hosts have left (``None`` for a host that does not answer). Without
    them the report has what the ledger has. ``now`` in Unix seconds.

    Raises:
        Refused: there is no such rollout.
    """
    material = read(
        config,
        env,
        number,
        criteria=criteria,
        evidence=evidence,
        monitor=monitor,
        samples=None,
        now=time.time() if now is None else now,
    )
    return document(material)


def document(material: Material) -> JsonObject:
    """The document of what has been read."""
    gates, criteria = gate_rows(material), criteria_rows(material)
    checks, checks_after = split(material)
    decision = decide(case(material, gates, criteria, failed(checks)))
    results = suites(checks, [*gates, *criteria], material)
    watched = monitoring(material)
    return {
        "version": VERSION,
        "generated": material.now,
        "ledger_head": material.head,
        "project": material.config.project,
        "title": title(material),
        "rollout": asdict(material.record),
        "decision": decision.headline,
        "recommendation": {
            "verdict": decision.verdict,
            "reasons": [{**asdict(reason), "evidence": list(reason.evidence)} for reason in decision.reasons],
            "next": steps_next(material, decision),
        },
        "summary": summary(material, decision, results, gates, criteria, watched),
        "status": status(material),
        **decisions_by_people(material),
        "metrics": metrics(material, [*gates, *criteria]),
        "suites": results,
        "suites_after": suites(checks_after, (), material),
        "components": components(material),
        "monitoring": watched,
        "risks": {
            "resolved": resolved(material, [*gates, *criteria], checks),
            "remaining": remaining(material, gates, criteria, results, watched),
        },
        "gates": gates,
        "criteria": criteria,
        "timeline": timeline(material),
        "rollback": rollback(material),
        "checklist": checklist(material, decision, criteria),
        "plots": plots(material),
        "evidence": evidence_rows(material),
        "evidence_left_out": left_out(material),
        "checks": [dict(check) for check in material.checks],
    }
