"""``rollout gates explain``: what was measured, from how much data, and what a pass takes."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rollout.config import Gate, load
from rollout.gates import evaluate_all
from rollout.ledger import Ledger
from rollout.model import Evidence
from tests.support.rollouts import begun

CONFIG = """\
version: 1
project: terminals
source: services
state: state
environments:
  dev:
    hosts: {local: {root: dev}}
    listen: {system: 5001, claude: 5002, web: 5110}
    checks: [validate]
    canary: [{weight: 50, hold: 5s}, {weight: 100, hold: 5s}]
    load: {users: 60, cut_every: 3s}
    monitor: {every: 60s}
    max_hold: 2m
    gates:
      - {metric: validate.pass_ratio, op: ">", threshold: 0.9}
      - {metric: load.connect_ms, op: "<", threshold: 100}
      - {metric: load.reconnect_rate, op: ">", threshold: 0.99}
      - {metric: load.command_ms, op: "<", threshold: 1.25, compare: baseline, severity: warning}
      - {metric: load.loops, op: "==", threshold: 0}
    soak_gates:
      - {metric: monitor.success_rate, op: ">", threshold: 0.99}
      - {metric: monitor.memory_drift, op: "<=", threshold: 0.1}
  staging:
    after: dev
    hosts: {local: {root: staging}}
    listen: {system: 6001, claude: 6002, web: 6110}
    checks: [validate]
    gates: [{metric: validate.pass_ratio, op: ">", threshold: 0.9}]
"""
END = 1_750_000_000.0


@pytest.fixture
def project() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="rollout-") as folder:
        (Path(folder) / "rollout.yaml").write_text(CONFIG)
        yield Path(folder)


def rollout(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "rollout", *arguments], cwd=cwd, capture_output=True, text=True, timeout=60
    )


def explained(project: Path, env: str = "dev") -> dict[str, Any]:
    done = rollout("gates", "explain", env, "--output", "json", cwd=project)
    assert done.returncode == 0, done.stderr
    data: dict[str, Any] = json.loads(done.stdout)
    return data


def record(project: Path, env: str, step: str, gates: tuple[Gate, ...], evidence: list[Evidence]) -> None:
    config = load(project / "rollout.yaml")
    with Ledger(config.ledger_url) as ledger:
        rollout = begun(ledger, env=env)
        ledger.record_verdicts(rollout.id, step, evaluate_all(gates, evidence, END), evidence)


def piece(metric: str, kind: str, n: int, **fields: Any) -> Evidence:
    return Evidence(f"{metric}-1", metric, kind, "test", END - 60, END, n, **fields)  # type: ignore[arg-type]


MEASURED = [
    piece("validate.pass_ratio", "ratio", 15, successes=14),
    piece("load.connect_ms", "samples", 200, samples=(*[20.0] * 197, *[150.0] * 3)),
    piece("load.reconnect_rate", "rate", 200, successes=200),
    piece("load.loops", "count", 200, value=0.0),
]


def test_before_any_rollout_it_says_what_a_pass_takes(project: Path) -> None:
    data = explained(project)
    assert data["rollout"] is None
    by_name = {gate["name"]: gate for gate in data["gates"]}
    assert by_name["load.connect_ms p95"]["verdict"] is None
    # Six looks share the error rate: log(0.05 / 6) / log(0.95) = 93.3, and 476.4 for 0.99.
    assert by_name["load.connect_ms p95"]["needs"].startswith("94 samples")
    assert by_name["load.reconnect_rate"]["needs"].startswith("477 observations")
    assert by_name["load.command_ms p95 to baseline"]["needs"].startswith("120 samples of each generation")
    assert by_name["validate.pass_ratio"]["needs"] == "> 90 % of its checks, all of which are made"
    criteria = {gate["name"]: gate["needs"] for gate in data["soak_gates"]}
    assert criteria["monitor.success_rate"].startswith("299 observations")
    assert criteria["monitor.memory_drift"].startswith("10 readings")


def test_after_one_it_says_what_was_measured_from_how_much_and_what_is_missing(project: Path) -> None:
    gates = load(project / "rollout.yaml").environment("dev").gates
    record(project, "dev", "gate", gates, MEASURED)
    by_name = {gate["name"]: gate for gate in explained(project)["gates"]}
    connect = by_name["load.connect_ms p95"]["last"]
    assert (connect["verdict"], connect["n"], connect["measured"]) == ("pass", 200, 20.0)
    assert connect["at"] == END
    assert connect["step"] == "gate"
    assert (connect["low"], connect["high"]) == (20.0, 20.0)
    assert connect["spare"] == 1  # of 200 samples, 4 may be beyond; 3 are
    rate = by_name["load.reconnect_rate"]["last"]
    assert (rate["verdict"], rate["needed"], rate["high"]) == ("inconclusive", 299, 1.0)
    assert rate["low"] == pytest.approx(0.05 ** (1 / 200))
    warning = by_name["load.command_ms p95 to baseline"]
    assert (warning["verdict"], warning["severity"]) == ("inconclusive", "warning")
    assert by_name["validate.pass_ratio"]["verdict"] == "pass"


def test_criteria_are_those_judged_when_the_build_left(project: Path) -> None:
    criteria = load(project / "rollout.yaml").environment("dev").soak_gates
    record(project, "dev", "gate", (), [])
    evidence = [piece("monitor.success_rate", "rate", 2880, successes=2880)]
    record(project, "staging", "criteria", criteria, evidence)
    success, drift = explained(project)["soak_gates"]
    assert (success["verdict"], success["last"]["environment"]) == ("pass", "staging")
    assert (drift["verdict"], drift["last"]["n"]) == ("inconclusive", 0)


def test_it_reads_well_at_80_columns(project: Path) -> None:
    gates = load(project / "rollout.yaml").environment("dev").gates
    record(project, "dev", "gate", gates, MEASURED)
    done = rollout("gates", "explain", "dev", cwd=project)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) < 80
    assert lines[0] == "dev: #1 1-abc, running"
    assert "pass: load.connect_ms p95" in lines
    assert "inconclusive: load.command_ms p95 to baseline (warns only)" in lines
    assert "  measured    20 ms from 200 samples, 2025-06-15 15:06:40 UTC (dev #1, gate)" in lines
    assert "  missing     99 more observations, if they go on as they did" in lines
    assert "  to spare    1 more could have failed" in lines
    assert "not judged yet: monitor.success_rate" in lines


def test_an_environment_that_is_not_there_is_one_line(project: Path) -> None:
    done = rollout("gates", "explain", "dve", cwd=project)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and "dev" in done.stderr
