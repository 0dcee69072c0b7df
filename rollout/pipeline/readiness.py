"""What has to be true before a build may leave an environment. Decided before anything is touched."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rollout.checks.runner import CheckResult
from rollout.config import Environment, Gate
from rollout.evidence import from_checks, from_monitor
from rollout.gates import deciding, evaluate
from rollout.ledger import Event, Ledger, RolloutRecord, State
from rollout.model import Evidence, GateResult, MonitorLog, Verdict
from rollout.pipeline.obstacles import Obstacle, unfinished
from rollout.units import duration

APPROVAL_POLL = 10.0


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether a build may leave an environment, and on what evidence.

    ``record`` is the rollout that brought it there, ``None`` where there is none. ``observed``: seconds that
    the monitors saw it there, on the host where that is least; 0 where there are none.
    """

    record: RolloutRecord | None
    obstacles: tuple[Obstacle, ...]
    results: tuple[GateResult, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    observed: float = 0.0


class _Seen:
    """What the monitors saw of a build. Their records are gone through once for each window."""

    def __init__(
        self, environment: Environment, record: RolloutRecord, logs: Mapping[str, MonitorLog | None]
    ) -> None:
        self._monitor = environment.monitor
        self._record = record
        self._logs = logs
        self._found: dict[float | None, list[Evidence]] = {}

    def evidence(self, window: float | None = None) -> list[Evidence]:
        """All metrics of the monitors, of the last ``window`` seconds or since the build came."""
        if self._monitor is None:
            return []
        if window not in self._found:
            record, timeout = self._record, self._monitor.timeout
            self._found[window] = from_monitor(
                self._logs, since(record), record.generation, window=window, timeout=timeout
            )
        return self._found[window]

    @property
    def observed(self) -> float:
        """Seconds that it was seen, on the host where that is least."""
        found = self.evidence() if self._logs else []
        values = (item.value for item in found if item.metric == "monitor.observed_seconds")
        return next(values, None) or 0.0

    def soaked(self, now: float) -> float:
        """Seconds that it has soaked.

        Where a monitor watches, only what it has seen counts; elsewhere the time that has passed.
        """
        return self.observed if self._monitor is not None else now - since(self._record)


def assess(
    ledger: Ledger,
    predecessor: Environment,
    statuses: Mapping[str, Mapping[str, Any] | None],
    logs: Mapping[str, MonitorLog | None],
    asked: Sequence[Evidence] = (),
    *,
    now: float,
) -> Readiness:
    """Judge by the ledger, the hosts, and the monitors' records (since the build came; see :func:`since`).

    ``asked``: evidence that others gave of it, a Prometheus for one.
    """
    current, missing = _proven(ledger, predecessor)
    if current is None or missing is not None:
        return Readiness(current, (missing,) if missing else ())
    proof, seen = _proof(ledger, predecessor.name, current), _Seen(predecessor, current, logs)
    obstacles = [*_gates(ledger, predecessor, current, proof), *_serving(predecessor, current, statuses)]
    results: list[GateResult] = []
    evidence: dict[str, Evidence] = {}
    for gate in predecessor.soak_gates:
        found = _evidence(ledger, gate, proof, seen, asked)
        # What a suite found of a build does not grow old with time.
        results.append(evaluate(gate, found, now=None if gate.about.source == "checks" else now))
        evidence |= {item.id: item for item in found if item.metric == gate.metric}
    obstacles += _soak(predecessor, current, logs, seen.soaked(now))
    obstacles += _soak_gates(predecessor, results)
    return Readiness(current, tuple(obstacles), tuple(results), tuple(evidence.values()), seen.observed)


def since(record: RolloutRecord) -> float:
    """When a build had come to its environment (unix seconds)."""
    return record.ended or record.started


def soaked(
    environment: Environment, record: RolloutRecord, logs: Mapping[str, MonitorLog | None], *, now: float
) -> float:
    """Seconds that a build has soaked, by what the monitors recorded of it."""
    return _Seen(environment, record, logs).soaked(now)


def approvals(ledger: Ledger, environment: Environment, digest: str) -> list[Event]:
    """Who has said yes to this very build coming to the environment, each person once: by the name of the
    account, since the same person on another machine is no other one."""
    said: dict[str, Event] = {}
    for event in ledger.events(environment.name, kind="approval"):
        if event.data.get("digest") == digest:
            said.setdefault(account(event.by), event)
    return list(said.values())


def account(by: str) -> str:
    """Of an operator, without the machine."""
    return by.partition("@")[0]


def permission(ledger: Ledger, environment: Environment, digest: str, *, now: float) -> list[Obstacle]:
    """What keeps a build from coming to ``environment``, whatever it was like where it was before."""
    found = []
    said = approvals(ledger, environment, digest)
    if len(said) < environment.approvals:
        by = f" (so far: {', '.join(event.by for event in said)})" if said else ""
        found.append(
            Obstacle(
                f"{environment.name} wants {environment.approvals} approval(s), of different people, of this"
                f" build{by}; give one with: rollout approve {environment.name}",
                retry_after=APPROVAL_POLL,
            )
        )
    if environment.rehearsal is not None and ledger.current(environment.name) is not None:
        last = next(
            (r for r in ledger.rollouts(environment.name) if r.state is State.REHEARSED and r.ended), None
        )
        age = now - (last.ended or 0.0) if last else None
        if age is None or age > environment.rehearsal:
            when = f"the last was {duration(age)} ago" if age is not None else "there has been none"
            found.append(
                Obstacle(
                    f"{environment.name} wants a rehearsal of the rollback within"
                    f" {duration(environment.rehearsal)}, and {when};"
                    f" run: rollout rehearse {environment.name}",
                    overridable=True,
                )
            )
    return found


def _proven(ledger: Ledger, predecessor: Environment) -> tuple[RolloutRecord | None, Obstacle | None]:
    name = predecessor.name
    newest = next(iter(ledger.rollouts(name)), None)
    if newest is not None and newest.state.open:
        return None, unfinished(newest)
    current = ledger.current(name)
    if current is None:
        return None, Obstacle(
            f"nothing has been promoted in {name} yet, so there is no evidence; {_how_to_deploy(predecessor)}"
        )
    return current, None


def _proof(ledger: Ledger, env: str, current: RolloutRecord) -> RolloutRecord | None:
    """The rollout that judged this very build there: going back to it has judged nothing."""
    return next(
        (
            record
            for record in ledger.rollouts(env)
            if record.digest == current.digest
            and record.state is State.PROMOTED
            and record.kind != "rollback"
        ),
        None,
    )


def _gates(
    ledger: Ledger, predecessor: Environment, current: RolloutRecord, proof: RolloutRecord | None
) -> Iterator[Obstacle]:
    name = predecessor.name
    results = [result for _, result in ledger.verdicts(proof.id, "gate")] if proof else []
    if not results:
        yield Obstacle(
            f"the ledger has no evidence of {current.build} in {name}; {_how_to_deploy(predecessor)}"
        )
        return
    decided = deciding(results, predecessor.gates)
    if not decided:
        yield Obstacle(f"no gate of {name} decides anything; make one of them critical")
    bad = [result for result in decided if result.verdict is not Verdict.PASS]
    if bad:
        text = f"{current.build} did not pass in {name}: {bad[0].reason}"
        yield Obstacle(text, overridable=True, explained=True)
    else:
        yield from _as_they_are_now(ledger, predecessor, proof, results, current)
    names = {result.gate for result in results}
    first = proof is not None and proof.previous_generation is None
    missing = [
        gate.name
        for gate in predecessor.gates
        if gate.name not in names and not (first and gate.compare == "baseline")  # nothing to compare with
    ]
    if missing:
        yield Obstacle(
            f"{current.build} was never judged by {missing[0]} in {name}; {_how_to_deploy(predecessor)}",
            overridable=True,
        )


def _as_they_are_now(
    ledger: Ledger,
    predecessor: Environment,
    proof: RolloutRecord | None,
    results: Sequence[GateResult],
    current: RolloutRecord,
) -> Iterator[Obstacle]:
    """A gate may have been made stricter since: it is asked again, about the evidence of then."""
    assert proof is not None
    evidence = {piece.id: piece for piece in ledger.evidence(proof.id)}
    said = {result.gate: result for result in results}
    for gate in predecessor.gates:
        then = said.get(gate.name)
        if then is None or then.verdict is not Verdict.PASS or gate.severity == "warning":
            continue
        used = [evidence[name] for name in then.evidence if name in evidence]
        again = evaluate(gate, used) if used else then
        if again.verdict is not Verdict.PASS:
            yield Obstacle(
                f"{current.build} passed another gate in {predecessor.name} than {gate.name} is now:"
                f" {again.reason}; {_how_to_deploy(predecessor)}",
                overridable=True,
            )


def _serving(
    predecessor: Environment, current: RolloutRecord, statuses: Mapping[str, Mapping[str, Any] | None]
) -> Iterator[Obstacle]:
    for host, status in statuses.items():
        serving = {entry["name"] for entry in (status or {}).get("generations", []) if entry["weight"] == 100}
        if current.generation not in serving:
            yield Obstacle(
                f"{predecessor.name} does not serve {current.build} on {host} right now;"
                f" look at: rollout status"
            )


def _soak(
    predecessor: Environment, current: RolloutRecord, logs: Mapping[str, MonitorLog | None], run: float
) -> Iterator[Obstacle]:
    name, soak = predecessor.name, predecessor.soak
    if run >= soak:
        return
    did, where = f"has run in {name}", ""
    if predecessor.monitor is not None:
        blind = [host for host in predecessor.hosts if not getattr(logs.get(host), "records", ())]
        did = f"was observed in {name}"
        where = f"; no records come from {', '.join(blind)}: rollout logs {name}" if blind else ""
    yield Obstacle(
        f"{current.build} {did} for {duration(run)} of the required {duration(soak)}{where};"
        f" try again in {duration(soak - run)}",
        retry_after=soak - run,
        overridable=True,
    )


def _evidence(
    ledger: Ledger, gate: Gate, proof: RolloutRecord | None, seen: _Seen, asked: Sequence[Evidence]
) -> list[Evidence]:
    if gate.about.source == "monitor":
        return seen.evidence(gate.window)
    if gate.about.source == "checks" and proof is not None:
        suite = gate.metric.partition(".")[0]
        rows = [row for row in ledger.checks(proof.id) if row["suite"] == suite]
        names = CheckResult.__dataclass_fields__
        results = [CheckResult(**{name: row[name] for name in names}) for row in rows]
        return from_checks(suite, results) if results else []
    return [item for item in asked if item.metric == gate.metric]


def _soak_gates(predecessor: Environment, results: Sequence[GateResult]) -> Iterator[Obstacle]:
    name = predecessor.name
    every = predecessor.monitor.every if predecessor.monitor else APPROVAL_POLL
    open_ones = [
        result
        for gate, result in zip(predecessor.soak_gates, results, strict=True)
        if result.verdict is not Verdict.PASS and gate.severity != "warning"
    ]
    early = [result for result in open_ones if result.verdict is Verdict.INCONCLUSIVE]
    for result in open_ones:
        if result not in early:
            text = f"{name}'s soak gate fails: {result.reason}"
            if result.verdict is Verdict.ERROR:
                text = f"{name}'s soak gate is in error: {result.reason}"
            yield Obstacle(text, overridable=True, explained=True)
    if early:
        text = f"{name}'s soak gate is inconclusive: {early[0].reason}"
        if len(early) > 1:  # one cause, as a rule: there are no records yet
            others = ", ".join(result.gate for result in early[1:])
            text = f"{name}'s soak gates are inconclusive: {early[0].reason}; and so are {others}"
        yield Obstacle(text, retry_after=every, overridable=True, explained=True)


def _how_to_deploy(environment: Environment) -> str:
    verb = "promote" if environment.after else "deploy"
    return f"first run: rollout {verb} {environment.name}"
