"""What a report is made of, read once: from the ledger, the run's own files, and what the caller brings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rollout.config import Config, Environment, Gate
from rollout.errors import Refused
from rollout.ledger import Event, JournalEntry, Ledger, RolloutRecord, State
from rollout.model import Evidence, GateResult, MonitorLog, Verdict
from rollout.report.series import number, read_samples

EARLIER = 20
"""So many rollouts before this one are looked through for what failed then."""

RECORD_TIMES = ("boottime", "interval", "seconds")
Verdicts = Sequence[tuple[str, GateResult]]


@dataclass(frozen=True, slots=True)
class Earlier:
    """A rollout of the same environment before this one, with what did not pass."""

    record: RolloutRecord
    gates: tuple[GateResult, ...]
    checks: tuple[dict[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Material:
    """Everything the sections are computed from; they do no I/O.

    ``verdicts`` and ``evidence`` are of the rollout that ``proof`` names: of this one, or for a rollback of
    the one that promoted the same build before. ``criteria`` are verdicts on leaving the environment, from
    ``criteria_from`` ("now", "ledger" or ""). ``after`` are later rollouts of the environment, the oldest
    first; ``elsewhere`` those of the same build in other environments; ``samples`` the load users' own.
    """

    config: Config
    environment: Environment
    record: RolloutRecord
    proof: RolloutRecord
    journal: Sequence[JournalEntry]
    verdicts: Verdicts
    evidence: Sequence[Evidence]
    checks: Sequence[dict[str, Any]]
    events: Sequence[Event]
    criteria: Sequence[GateResult]
    criteria_from: str
    monitor: Mapping[str, MonitorLog | None] | None
    samples: Sequence[dict[str, Any]]
    earlier: Sequence[Earlier]
    after: Sequence[RolloutRecord]
    elsewhere: Sequence[RolloutRecord]
    approvals: Sequence[Event]
    rehearsed: RolloutRecord | None
    head: str | None
    now: float

    @property
    def gates(self) -> dict[str, Gate]:
        """The declared gates and criteria by name; a criterion never hides a gate."""
        return {gate.name: gate for gate in (*self.environment.soak_gates, *self.environment.gates)}


def read(
    config: Config,
    env: str,
    number: int | None,
    *,
    criteria: Sequence[GateResult] | None,
    evidence: Sequence[Evidence],
    monitor: Mapping[str, MonitorLog | None] | None,
    samples: Sequence[dict[str, Any]] | None,
    now: float,
) -> Material:
    """Read everything about one rollout.

    Raises:
        Refused: there is no such rollout.
    """
    environment = config.environment(env)
    with Ledger(config.ledger_url) as ledger:
        everything = ledger.rollouts()
        here = [entry for entry in everything if entry.env == env]
        record = next((entry for entry in here if number in (None, entry.number)), None)
        if record is None:
            which = f"rollout #{number}" if number is not None else "rollout yet"
            raise Refused(f"{env} has no {which}; look at: rollout history {env}")
        proof = _proof(record, here)
        judged, judged_from, judged_evidence = _criteria(ledger, config, record, everything)
        if criteria is not None:
            judged, judged_from, judged_evidence = list(criteria), "now", list(evidence)
        events = ledger.events(env)
        runs = config.runs(env, record.number)
        return Material(
            config=config,
            environment=environment,
            record=record,
            proof=proof,
            journal=ledger.journal(record.id),
            verdicts=ledger.verdicts(proof.id),
            evidence=[*ledger.evidence(proof.id), *judged_evidence],
            checks=ledger.checks(proof.id) if proof is record else _both(ledger, proof, record),
            events=[event for event in events if _concerns(event, record)],
            criteria=judged,
            criteria_from=judged_from,
            monitor=None if monitor is None else {host: usable(log) for host, log in monitor.items()},
            samples=read_samples(runs) if samples is None else samples,
            earlier=_earlier(ledger, record, here),
            after=[entry for entry in reversed(here) if entry.number > record.number],
            elsewhere=[
                entry for entry in reversed(everything) if entry.env != env and entry.digest == record.digest
            ],
            approvals=_approvals(ledger, config, record),
            rehearsed=next((entry for entry in here if entry.state is State.REHEARSED), None),
            head=_head(ledger),
            now=now,
        )


def usable(log: MonitorLog | None) -> MonitorLog | None:
    """Only the records and alerts whose times are times: a host's broken file must not keep a report away."""
    if log is None:
        return None
    records = tuple(record for record in log.records if _timed(record, ("at",), RECORD_TIMES))
    alerts = tuple(alert for alert in log.alerts if _timed(alert, ("since",), ("until",)))
    lost = len(log.records) - len(records) + len(log.alerts) - len(alerts)
    return replace(log, records=records, alerts=alerts, damaged=log.damaged + lost)


def _timed(record: Mapping[str, Any], wanted: Sequence[str], may: Sequence[str]) -> bool:
    return all(number(record.get(name)) is not None for name in wanted) and all(
        record.get(name) is None or number(record[name]) is not None for name in may
    )


def _proof(record: RolloutRecord, here: Sequence[RolloutRecord]) -> RolloutRecord:
    """A rollback is not judged by gates: its build was when it came."""
    if record.kind != "rollback":
        return record
    return next(
        (
            entry
            for entry in here
            if entry.digest == record.digest
            and entry.state is State.PROMOTED
            and entry.kind != "rollback"
            and entry.number < record.number
        ),
        record,
    )


def _both(ledger: Ledger, proof: RolloutRecord, record: RolloutRecord) -> list[dict[str, Any]]:
    return [*ledger.checks(proof.id), *ledger.checks(record.id)]


def _criteria(
    ledger: Ledger, config: Config, record: RolloutRecord, everything: Sequence[RolloutRecord]
) -> tuple[list[GateResult], str, list[Evidence]]:
    """What the ledger has on leaving: judged when a successor asked for this build, or by `rollout soak`."""
    names = {entry.name for entry in config.successors(record.env)}
    for entry in everything:
        if entry.env in names and entry.digest == record.digest and entry.started >= record.started:
            results = [result for _, result in ledger.verdicts(entry.id, "criteria")]
            if results:
                used = {identity for result in results for identity in result.evidence}
                mine = [item for item in ledger.evidence(entry.id) if item.id in used]
                return results, "ledger", mine
    declared = {gate.name for gate in config.environment(record.env).soak_gates}
    watched = {
        result.gate: result for _, result in ledger.verdicts(record.id, "soak") if result.gate in declared
    }
    return list(watched.values()), "ledger" if watched else "", []


def _earlier(ledger: Ledger, record: RolloutRecord, here: Sequence[RolloutRecord]) -> list[Earlier]:
    before = [entry for entry in here if entry.number < record.number][:EARLIER]
    return [
        Earlier(
            entry,
            tuple(result for _, result in ledger.verdicts(entry.id) if result.verdict is not Verdict.PASS),
            tuple(check for check in ledger.checks(entry.id) if not check["ok"]),
        )
        for entry in before
    ]


def _concerns(event: Event, record: RolloutRecord) -> bool:
    if event.rollout is not None:
        return event.rollout == record.id
    return event.data.get("digest") == record.digest or event.data.get("build") == record.build


def _approvals(ledger: Ledger, config: Config, record: RolloutRecord) -> list[Event]:
    """Who approved this build for the environments that come next."""
    return [
        event
        for entry in config.successors(record.env)
        for event in ledger.events(entry.name, kind="approval")
        if event.data.get("digest") == record.digest
    ]


def _head(ledger: Ledger) -> str | None:
    """The hash of the chain's last entry."""
    return ledger.head()[1] or None
