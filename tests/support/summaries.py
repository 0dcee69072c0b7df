"""Ledgers to report on: the figures that this project began with, and the same with everything fixed.

What the gates say is computed by the gates, from this evidence; only the clock is set, so that a day of
records needs no day.
"""

from __future__ import annotations

import contextlib
import json
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from unittest.mock import patch

from rollout.checks.runner import CheckResult
from rollout.checks.smoke import CHECKS as SMOKE
from rollout.checks.validate import CHECKS as VALIDATE
from rollout.config import Config, load
from rollout.engine import HostFacts
from rollout.evidence import from_checks
from rollout.gates import evaluate_all
from rollout.ledger import Ledger, RolloutRecord, State
from rollout.model import BuildRef, Evidence, GateResult, MonitorLog
from rollout.pipeline.plan import make_plan

DAY = 86400.0
BEGAN = 1_785_000_000.0
RULES = """
version: 1
project: terminals
source: services
state: state
environments:
  dev:
    engine: process
    hosts: {local: {root: env/dev}}
    listen: {system: 4001, claude: 4002, web: 4110}
    canary: [{weight: 10, hold: 30s}, {weight: 100, hold: 30s}]
    checks: [validate, smoke]
    load: {users: 60}
    max_hold: 10m
    monitor: {every: 1m}
    soak: 24h
    rehearsal: 30d
    gates:
      - {metric: validate.pass_ratio, op: ">", threshold: 0.95}
      - {metric: smoke.pass_ratio, op: ">", threshold: 0.95}
      - {metric: load.connect_ms, op: "<", threshold: 100ms}
      - {metric: load.reconnect_rate, op: ">", threshold: 0.99}
      - {metric: generation.memory_bytes, op: "<", threshold: 50MB}
      - {metric: load.loops, op: "==", threshold: 0}
    soak_gates:
      - {name: observed, metric: monitor.observed_seconds, op: ">=", threshold: 85000}
      - {name: success, metric: monitor.success_rate, op: ">", threshold: 0.99}
      - {name: critical-alerts, metric: monitor.critical_alerts, op: "==", threshold: 0}
      - {name: session-reuse, metric: monitor.reuse_rate, op: ">", threshold: 0.99}
      - {name: stable, metric: monitor.reconnect_ms, op: "<", threshold: 100ms}
  staging:
    engine: process
    after: dev
    hosts: {local: {root: env/staging}}
    listen: {system: 4201, claude: 4202, web: 4210}
    approvals: 1
    checks: [smoke]
    canary: [{weight: 100, hold: 30s}]
    gates:
      - {metric: smoke.pass_ratio, op: ">", threshold: 0.95}
"""


class Clock:
    """What ``time.time()`` says while a ledger is being written."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> float:
        self.now += seconds
        return self.now


@contextlib.contextmanager
def clock(now: float = BEGAN) -> Iterator[Clock]:
    told = Clock(now)
    with patch("time.time", told):
        yield told


def project(folder: Path) -> Config:
    """A project of two environments, with the gates of the seed's table and the criteria of its checklist."""
    path = folder / "rollout.yaml"
    path.write_text(RULES)
    return load(path)


def begin(
    ledger: Ledger, config: Config, version: str, *, env: str = "dev", kind: str = "deploy"
) -> RolloutRecord:
    """A rollout with the plan that the toolkit makes for it."""
    digest = (version.encode().hex() * 32)[:64]
    build = BuildRef(BuildRef.id_of(version, digest), version, digest, "", BEGAN, "/builds")
    number = len(ledger.rollouts(env)) + 1
    previous = ledger.current(env)
    facts = [HostFacts(host, (), None) for host in config.environment(env).hosts]
    plan = make_plan(config.environment(env), build, f"g{number}", facts, previous, {}, kind=kind)
    return ledger.create(
        env=env,
        kind=kind,
        build=build.id,
        digest=digest,
        generation=None,
        previous=previous,
        plan=plan.as_dict(),
        operator="ada",
    )


def suite(
    checks: Sequence, name: str, at: float, failures: dict[str, str] | None = None
) -> list[CheckResult]:
    """Results of every check of a real suite, by its real names."""
    bad = failures or {}
    return [
        CheckResult(
            name,
            check.group,
            check.name,
            check.name not in bad,
            at,
            0.02,
            bad.get(check.name, "as it should be"),
        )
        for check in checks
    ]


def piece(metric: str, kind: str, window: tuple[float, float], n: int, **fields) -> Evidence:
    return Evidence(f"{metric}-{window[1]:.0f}", metric, kind, metric.split(".")[0], *window, n, **fields)


def headline(window: tuple[float, float], generation: str) -> list[Evidence]:
    """2.4 ms, 100 % reconnection, 7.47 MB, no loop."""
    labels = {"generation": generation}
    return [
        piece("load.connect_ms", "samples", window, 400, samples=(2.4,) * 400, labels=labels),
        piece("load.reconnect_ms", "samples", window, 400, samples=(2.6,) * 400, labels=labels),
        piece("load.reconnect_rate", "rate", window, 400, successes=400, labels=labels),
        piece("generation.memory_bytes", "gauge", window, 1, value=7.47e6, labels=labels),
        piece("load.loops", "count", window, 800, value=0.0, labels=labels),
    ]


VALIDATE_FAILURES = {"Session reuse": "server acknowledgment missing"}
SMOKE_FAILURES = {
    "API health": "/health/live answered 401 without a token",
    "Circuit breaker": "the threshold is 5, not 3",
}


def carry_out(
    ledger: Ledger,
    config: Config,
    record: RolloutRecord,
    told: Clock,
    *,
    validate: dict[str, str],
    smoke: dict[str, str],
) -> list[GateResult]:
    """Journal the way forward, run the suites, judge every gate. Returns what the gates said at the end."""
    environment = config.environment(record.env)
    began = told.now
    found: list[Evidence] = []
    results: list[GateResult] = []
    for step in record.plan["forward"]:
        if step["name"] == "finish":
            break
        ledger.write(record.id, step["index"], step["name"], "begin", fence=1)
        told.advance(30 if step["kind"] == "watch" else 2)
        if step["kind"] == "checks":
            for name, checks, failures in (("validate", VALIDATE, validate), ("smoke", SMOKE, smoke)):
                outcome = suite(checks, name, told.now - 1, failures)
                ledger.record_checks(record.env, record.id, outcome)
                found += from_checks(name, outcome)
        if step["kind"] == "gate":
            evidence = [*found, *headline((began, told.now), record.generation)]
            results = evaluate_all(environment.gates, evidence)
            ledger.record_verdicts(record.id, step["name"], results, evidence)
        ledger.write(record.id, step["index"], step["name"], "end", fence=1, detail="done")
    ledger.add_figures(
        record.id,
        sessions_moved=30,
        sessions_drained=0,
        sessions_severed=0,
        load_users=60,
        load_reconnections=400,
        load_loops=0,
        bytes_verified=1_234_567,
        bytes_lost=0,
        bytes_doubled=0,
        commands_twice=0,
    )
    return results


def take_back(ledger: Ledger, record: RolloutRecord, told: Clock, reason: str) -> RolloutRecord:
    """Journal the way back, with the documented steps as events."""
    ledger.transition(record.id, State.ROLLING_BACK, reason=reason)
    for step in record.plan["backward"]:
        ledger.write(record.id, step["index"], step["name"], "begin", fence=1)
        told.advance(1.5)
        ledger.write(record.id, step["index"], step["name"], "end", fence=1, detail="done")
    for name in ("stop", "revert", "preserve", "verify", "communicate", "dashboard", "incident"):
        ledger.add_event(
            record.env,
            "plan-step",
            by="ada",
            rollout=record.id,
            step=name,
            seconds=0.4,
            outcome=f"{name} done",
            ok=True,
        )
    return ledger.transition(record.id, State.ROLLED_BACK)


def seed(config: Config) -> RolloutRecord:
    """The seed's own figures as evidence: 14/15, 6/8, the rest of its table passed."""
    with Ledger(config.ledger_url) as ledger, clock() as told:
        first = begin(ledger, config, "0.9.0")
        told.advance(40)
        ledger.transition(first.id, State.PROMOTED)
        told.advance(600)
        record = begin(ledger, config, "1.0.0")
        results = carry_out(ledger, config, record, told, validate=VALIDATE_FAILURES, smoke=SMOKE_FAILURES)
        reason = "; ".join(result.reason for result in results if result.verdict != "pass")
        return take_back(ledger, record, told, reason)


def fixed(config: Config) -> RolloutRecord:
    """The next build, with everything fixed: rehearsed, then promoted. (After :func:`seed`.)"""
    with Ledger(config.ledger_url) as ledger, clock(BEGAN + 3600) as told:
        trial = begin(ledger, config, "1.0.1", kind="rehearsal")
        ledger.transition(trial.id, State.ROLLING_BACK, reason="rehearsal")
        told.advance(60)
        ledger.transition(trial.id, State.REHEARSED)
        told.advance(600)
        record = begin(ledger, config, "1.0.1")
        write_samples(config, record, told.now)
        carry_out(ledger, config, record, told, validate={}, smoke={})
        return ledger.transition(record.id, State.PROMOTED)


def write_samples(config: Config, record: RolloutRecord, start: float) -> None:
    """What 60 load users leave, who change generation under way."""
    dice = random.Random(7)
    folder = config.state / "runs" / record.env / str(record.number) / "load-1"
    folder.mkdir(parents=True)
    lines = []
    for user in range(60):
        at = start + dice.random()
        while at < start + 80:
            old = at < start + 8 or (at < start + 38 and user % 10)
            kind = dice.choice(["reconnect", "command", "command", "command"])
            sample = {
                "t": at,
                "user": user,
                "host": "local",
                "kind": kind,
                "ok": True,
                "ms": 2 + dice.random(),
            }
            sample |= {"generation": record.previous_generation if old else record.generation}
            lines.append((sample | {"away": 0.1 + dice.random() / 5}) if kind == "reconnect" else sample)
            at += 0.4 + dice.random()
    lines.sort(key=_time)
    (folder / "samples.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def _time(sample: dict) -> float:
    return sample["t"]


def day(
    start: float,
    generation: str,
    *,
    rounds: int = 1440,
    blind: range = range(0),
    bad: Callable[[int], bool] = lambda n: False,
) -> MonitorLog:
    """A monitor's records of a day, a check a minute on two profiles; ``blind`` rounds left none."""
    dice = random.Random(11)
    records, seq = [], 0
    for number in range(rounds):
        at = start + 60.0 * (number + 1)
        if number in blind:
            continue
        clocks = {"at": at, "boottime": at - start, "monotonic": at - start, "interval": 60.0}
        common = {"version": 1, "run": "0badcafe", "boot": "b0", **clocks}
        if blind and number == blind.stop:
            seq += 1
            gap = {"kind": "gap", "seconds": 60.0 * (len(blind) + 1), "reason": "suspended"}
            records.append(common | {"seq": seq} | gap)
        for profile in ("system", "claude"):
            seq += 1
            ok = not bad(number)
            records.append(
                common
                | {
                    "seq": seq,
                    "kind": "check",
                    "profile": profile,
                    "ok": ok,
                    "generation": generation,
                    "build": "1.0.1",
                    "connect_ms": 2 + dice.random(),
                    "attach_ms": 2.0,
                    "command_ms": 1.0,
                    "reconnect_ms": 2.2 + dice.random() if ok else None,
                    "acknowledged": True,
                    "resumed": ok,
                    "error": "" if ok else "no answer",
                }
            )
        seq += 1
        memory = int(7.3e6 + 2e5 * dice.random())
        entry = {"name": generation, "build": "1.0.1", "weight": 100, "connections": 30, "attaches": 60}
        entry |= {"short_lived": 0, "loops": 0, "breaker_opened": 0, "memory_bytes": memory}
        records.append(
            common
            | {
                "seq": seq,
                "kind": "services",
                "sessions": 28 + number % 5,
                "connections": 30,
                "generations": [entry],
                "memory_bytes": memory,
                "error": "",
            }
        )
    return MonitorLog(tuple(records), (), judged=records[-1]["at"])


def soak(log: MonitorLog, window: tuple[float, float]) -> list[Evidence]:
    """Evidence of a monitor's records, as the criteria judge it."""
    checks = [record for record in log.records if record["kind"] == "check"]
    good = sum(record["ok"] for record in checks)
    gaps = sum(record["seconds"] for record in log.records if record["kind"] == "gap")
    seen = 60.0 * len({record["at"] for record in checks}) - min(gaps, 60.0) * bool(gaps)
    critical = [alert for alert in log.alerts if alert["severity"] == "critical"]
    took = tuple(record["reconnect_ms"] for record in checks if record["reconnect_ms"] is not None)
    return [
        piece("monitor.observed_seconds", "gauge", window, len(checks), value=seen),
        piece("monitor.success_rate", "rate", window, len(checks), successes=good),
        piece("monitor.reuse_rate", "rate", window, len(took), successes=len(took)),
        piece("monitor.critical_alerts", "count", window, len(checks), value=float(len(critical))),
        piece("monitor.reconnect_ms", "samples", window, len(took), samples=took),
    ]


def live(config: Config, log: MonitorLog, record: RolloutRecord, now: float) -> dict:
    """What the hosts say now, as ``collect`` takes it."""
    evidence = soak(log, (record.ended, now))
    results = evaluate_all(config.environment(record.env).soak_gates, evidence)
    return {"criteria": results, "evidence": evidence, "monitor": {"local": log}, "now": now}
