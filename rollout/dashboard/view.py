"""What the dashboard shows: the environments, what goes on there, and what went on before."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from rollout.cli.overview import lines
from rollout.config import Config, Environment
from rollout.dashboard.curves import Curves, figure
from rollout.dashboard.monitors import Monitors
from rollout.ledger import JournalEntry, Ledger, RolloutRecord, State
from rollout.pipeline import EnvironmentStatus, status
from rollout.pipeline.plan import Plan
from rollout.pipeline.readiness import approvals
from rollout.report.judged import rows
from rollout.report.material import read
from rollout.report.plotted import shift_plots
from rollout.units import number, quantity

SHOWN: Final = 20
"""Rollouts of the past."""


@dataclass
class Memory:
    """What one look leaves for the next."""

    curves: Curves = field(default_factory=Curves)
    monitors: Monitors = field(default_factory=Monitors)


def look(config: Config, memory: Memory) -> dict[str, Any]:
    """Ask the ledger and all hosts.

    Raises:
        RolloutError: one of them cannot be asked.
    """
    now = time.time()
    entries = status(config)
    memory.curves.add(entries, now)
    with Ledger(config.ledger_url) as ledger:
        environments = [_environment(config, ledger, entry, memory, now) for entry in entries]
        history = ledger.rollouts()[:SHOWN]
        ongoing = [_progress(config, ledger, entry, now) for entry in entries if entry.unfinished is not None]
    return {
        "now": now,
        "alerts": [{"environment": one["name"], **alert} for one in environments for alert in one["alerts"]],
        "environments": environments,
        "ongoing": ongoing,
        "history": [_past(config, record) for record in history],
    }


def _environment(
    config: Config, ledger: Ledger, entry: EnvironmentStatus, memory: Memory, now: float
) -> dict[str, Any]:
    current, environment = entry.current, config.environment(entry.environment)
    heard = memory.monitors.of(config, environment, now)
    said = {line.cells[3]: line.said for line in lines([entry], now)}
    return {
        "name": entry.environment,
        "after": entry.after,
        "build": current.build if current else None,
        "since": now - (current.ended or now) if current else None,
        "soak": entry.soak,
        "soaked": None if entry.soaked is None else min(entry.soaked, entry.soak),
        "held_by": entry.held_by,
        "hosts": [_host(host, manager, said.get(host, "")) for host, manager in entry.known.items()],
        "alerts": heard["alerts"],
        "monitored": heard["said"],
        "figures": [*memory.curves.of(entry.environment), *heard["figures"]],
        "coming": _coming(ledger, environment, current),
        "actions": _actions(environment, entry),
    }


def _coming(ledger: Ledger, environment: Environment, here: RolloutRecord | None) -> dict[str, Any] | None:
    """The build that may come here next, and who has approved it; ``None`` where nobody is asked."""
    if environment.after is None or not environment.approvals:
        return None
    before = ledger.current(environment.after)
    if before is None or (here is not None and here.digest == before.digest):
        return None
    by = [event.by for event in approvals(ledger, environment, before.digest)]
    return {"build": before.build, "by": by, "missing": max(0, environment.approvals - len(by))}


def _host(name: str, manager: dict[str, Any] | None, said: str) -> dict[str, Any]:
    generations = manager["generations"] if manager else []
    shown = [g for g in generations if g["weight"] or g["workers"] or g["attached"]]
    return {
        "name": name,
        "sessions": manager["sessions"] if manager else None,
        "generations": shown,
        "pool": _pool(manager),
        "said": said,
    }


def _pool(manager: dict[str, Any] | None) -> str:
    """Of the connections on their way to workers and web processes; "" of a manager that does not tell."""
    pool = (manager or {}).get("pool")
    if pool is None:
        return ""
    passed = pool["passed"]
    text = f"{number(passed)} connections passed on"
    if passed:
        text += f", after {quantity(1000 * pool['waited'] / passed, 'ms')} on average"
    waiting = f"{number(pool['waiting'])} of {number(pool['room'])} wait"
    return f"{text}; {waiting}" + (f"; {number(pool['dropped'])} dropped" if pool["dropped"] else "")


def _actions(environment: Environment, entry: EnvironmentStatus) -> list[str]:
    """What may be asked for now; each is a command, which may still refuse it."""
    if entry.unfinished is not None:
        return ["cancel"]
    going = ["promote"] if environment.after is not None else []
    if going and environment.approvals:
        going.insert(0, "approve")
    back = entry.current is not None and entry.current.previous_build is not None
    return [*going, *(["rollback"] if back else [])]


def _progress(config: Config, ledger: Ledger, entry: EnvironmentStatus, now: float) -> dict[str, Any]:
    record, environment = entry.unfinished, config.environment(entry.environment)
    assert record is not None
    plan, journal = Plan.from_dict(record.plan), ledger.journal(record.id)
    turned = record.state is not State.RUNNING
    wanted = plan.steps if turned else plan.forward
    begun = {item.index for item in journal}
    return {
        **_known(record),
        "reason": record.reason,
        "by": entry.held_by,
        "seconds": now - record.started,
        "steps": [
            _step(index, step.name, step.summary, journal, now, back=index >= len(plan.forward))
            for index, step in enumerate(wanted)
            # Of the way that it has left, only what was gone.
            if not turned or index in begun or index >= len(plan.forward)
        ],
        "gates": rows(
            [verdict for verdict in ledger.verdicts(record.id) if verdict[0] != "criteria"],
            ledger.evidence(record.id),
            {gate.name: gate for gate in environment.gates},
        ),
        "figures": _figures(config, record, now),
    }


def _figures(config: Config, record: RolloutRecord, now: float) -> list[dict[str, Any]]:
    """What reports plot of a shift, as far as it has come."""
    material = read(
        config, record.env, record.number, criteria=None, evidence=(), monitor=None, samples=None, now=now
    )
    return [
        figure(plot["title"], plot["unit"], plot["series"], (plot["from"], plot["to"]), plot["marks"])
        for plot in shift_plots(material)
        if plot["series"]
    ]


def _step(
    index: int, name: str, summary: str, journal: Sequence[JournalEntry], now: float, *, back: bool
) -> dict[str, Any]:
    mine = [entry for entry in journal if entry.index == index]
    began = next((entry.at for entry in reversed(mine) if entry.phase == "begin"), None)
    last = mine[-1] if mine else None
    states = {"begin": "running", "end": "done", "failed": "failed"}
    ended = last.at if last is not None and last.phase != "begin" else now
    return {
        "name": name,
        "summary": summary,
        "back": back,
        "state": "waiting" if last is None else states.get(last.phase, last.phase),
        "seconds": None if began is None else ended - began,
        "detail": "" if last is None else str(last.data.get("detail") or last.data.get("reason") or ""),
    }


def _past(config: Config, record: RolloutRecord) -> dict[str, Any]:
    return {
        **_known(record),
        "started": record.started,
        "seconds": None if record.ended is None else record.ended - record.started,
        "by": record.operator,
        "reason": record.reason or str(record.figures.get("why", "")),
        "incident": (config.runs(record.env, record.number) / "incident.md").is_file(),
    }


def _known(record: RolloutRecord) -> dict[str, Any]:
    """What every rollout is shown with."""
    return {
        "environment": record.env,
        "number": record.number,
        "kind": record.kind,
        "build": record.build,
        "state": record.state.value,
    }
