"""The report of one rollout, from the ledger alone."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

from rollout.config import Config
from rollout.errors import Refused
from rollout.ledger import Ledger, State

_DECISIONS = {
    State.PROMOTED: "go",
    State.ROLLED_BACK: "no-go: rolled back",
    State.ROLLBACK_FAILED: "no-go: the rollback failed",
}


def collect(config: Config, env: str, number: int | None = None) -> dict[str, Any]:
    """Everything the ledger knows of a rollout (the newest of ``env`` without ``number``), as JSON.

    Raises:
        Refused: there is no such rollout.
    """
    config.environment(env)
    with Ledger(config.ledger_url) as ledger:
        records = ledger.rollouts(env)
        record = next((entry for entry in records if number in (None, entry.number)), None)
        if record is None:
            which = f"rollout #{number}" if number is not None else "rollout yet"
            raise Refused(f"{env} has no {which}; look at: rollout history {env}")
        return {
            "rollout": asdict(record),
            "decision": _DECISIONS.get(record.state, "undecided: unfinished"),
            "gates": [{"step": step, **asdict(result)} for step, result in ledger.verdicts(record.id)],
            "checks": ledger.checks(record.id),
            "timeline": [asdict(entry) for entry in ledger.journal(record.id)],
        }


def markdown(data: dict[str, Any]) -> str:
    """The report for people."""
    record = data["rollout"]
    lines = [
        f"# {record['kind'].capitalize()} of {record['build']} to {record['env']} (#{record['number']})",
        "",
        f"**Decision: {data['decision']}**" + (f" ({record['reason']})" if record["reason"] else ""),
        "",
        f"- started {_at(record['started'])}, ended {_at(record['ended'])}, by {record['operator']}",
        f"- digest `{record['digest']}`",
        f"- generation `{record['generation']}`, before it `{record['previous_generation'] or 'nothing'}`"
        + (f" ({record['previous_build']})" if record["previous_build"] else ""),
        "",
        "## Figures",
        "",
        *(f"- {name.replace('_', ' ')}: {value}" for name, value in record["figures"].items()),
        "",
        "## Quality gates",
        "",
        "| step | verdict | what was measured |",
        "| --- | --- | --- |",
        *(f"| {gate['step']} | {gate['verdict']} | {_cell(gate['reason'])} |" for gate in data["gates"]),
        "",
        "## Checks",
        "",
    ]
    for suite in dict.fromkeys(check["suite"] for check in data["checks"]):
        mine = [check for check in data["checks"] if check["suite"] == suite]
        passed = sum(check["ok"] for check in mine)
        lines += [
            f"### {suite}: {passed}/{len(mine)}",
            "",
            "| check | result | detail |",
            "| --- | --- | --- |",
        ]
        lines += [
            f"| {check['name']} | {'passed' if check['ok'] else '**failed**'} | {_cell(check['detail'])} |"
            for check in mine
        ]
        lines.append("")
    lines += ["## Timeline (UTC)", ""]
    for entry in data["timeline"]:
        text = entry["data"].get("reason") or entry["data"].get("detail") or ""
        lines.append(f"- {_at(entry['at'])} {entry['step']} {entry['phase']}" + (f": {text}" if text else ""))
    return "\n".join(lines) + "\n"


def _at(at: float | None) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(at)) if at else "not yet"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
