"""What the dashboard shows: the environments, what goes on there, and what went on before."""

from __future__ import annotations

import collections
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from rollout.cli.overview import lines
from rollout.config import Config, Environment
from rollout.ledger import JournalEntry, Ledger, RolloutRecord, State
from rollout.pipeline import EnvironmentStatus, status
from rollout.pipeline.plan import Plan
from rollout.report.judged import rows

SHOWN: Final = 20
"""Rollouts of the past."""
KEPT: Final = 300
"""Looks of which the curves are drawn."""


@dataclass
class Curves:
    """Sessions by generation over the last looks, for each environment."""

    looks: collections.deque[tuple[float, dict[str, dict[str, int]]]] = field(
        default_factory=lambda: collections.deque(maxlen=KEPT)
    )

    def add(self, entries: Sequence[EnvironmentStatus], now: float) -> None:
        """Take note of a look."""
        seen: dict[str, dict[str, int]] = {}
        for entry in entries:
            sums: collections.Counter[str] = collections.Counter()
            for manager in filter(None, entry.hosts.values()):
                for generation in manager["generations"]:
                    sums[generation["name"]] += generation["attached"]
            seen[entry.environment] = dict(sums)
        self.looks.append((now, seen))

    def of(self, environment: str) -> list[dict[str, Any]]:
        """A curve for each generation that was seen there: its name, and points from 0 to 1 on both axes."""
        mine = [(at, seen[environment]) for at, seen in self.looks if environment in seen]
        names = sorted({name for _, sums in mine for name in sums})
        if len(mine) < 2:
            return []
        begin, end = mine[0][0], mine[-1][0]
        most = max((count for _, sums in mine for count in sums.values()), default=0) or 1
        return [
            {
                "name": name,
                "now": mine[-1][1].get(name, 0),
                "points": [((at - begin) / (end - begin), sums.get(name, 0) / most) for at, sums in mine],
            }
            for name in names
        ]


def look(config: Config, curves: Curves) -> dict[str, Any]:
    """Ask the ledger and all hosts.

    Raises:
        RolloutError: one of them cannot be asked.
    """
    now = time.time()
    entries = status(config)
    curves.add(entries, now)
    with Ledger(config.ledger_url) as ledger:
        history = ledger.rollouts()[:SHOWN]
        ongoing = [
            _progress(ledger, config.environment(entry.environment), entry, now)
            for entry in entries
            if entry.unfinished is not None
        ]
    return {
        "now": now,
        "environments": [_environment(config, entry, curves, now) for entry in entries],
        "ongoing": ongoing,
        "history": [_past(config, record) for record in history],
    }


def _environment(config: Config, entry: EnvironmentStatus, curves: Curves, now: float) -> dict[str, Any]:
    current = entry.current
    said = {line.cells[3]: line.said for line in lines([entry], now)}
    return {
        "name": entry.environment,
        "after": entry.after,
        "build": current.build if current else None,
        "since": now - (current.ended or now) if current else None,
        "soak": entry.soak,
        "soaked": None if entry.soaked is None else min(entry.soaked, entry.soak),
        "held_by": entry.held_by,
        "hosts": [_host(host, manager, said.get(host, "")) for host, manager in entry.hosts.items()],
        "curves": curves.of(entry.environment),
        "actions": _actions(config.environment(entry.environment), entry),
    }


def _host(name: str, manager: dict[str, Any] | None, said: str) -> dict[str, Any]:
    generations = manager["generations"] if manager else []
    shown = [g for g in generations if g["weight"] or g["workers"] or g["attached"]]
    return {
        "name": name,
        "sessions": manager["sessions"] if manager else None,
        "generations": shown,
        "said": said,
    }


def _actions(environment: Environment, entry: EnvironmentStatus) -> list[str]:
    """What may be asked for now; each is a command, which may still refuse it."""
    if entry.unfinished is not None:
        return ["cancel"]
    going = ["promote"] if environment.after is not None else []
    if going and environment.approvals:
        going.insert(0, "approve")
    back = entry.current is not None and entry.current.previous_build is not None
    return [*going, *(["rollback"] if back else [])]


def _progress(
    ledger: Ledger, environment: Environment, entry: EnvironmentStatus, now: float
) -> dict[str, Any]:
    record = entry.unfinished
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
    }


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
