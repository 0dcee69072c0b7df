"""What a rollout observes for its gates: in their windows, and beside the generation before."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rollout.checks import load as load_module
from rollout.checks.load import LoadRun
from rollout.config import Config, load
from rollout.engine import HostFacts
from rollout.engine.process import ProcessEngine
from rollout.errors import EngineError
from rollout.gates import evaluate
from rollout.ledger import Lease, Ledger
from rollout.model import BuildRef, Evidence, Verdict
from rollout.observer import NullObserver
from rollout.pipeline.interrupts import Interrupts
from rollout.pipeline.judging import NotPassed
from rollout.pipeline.plan import make_plan
from rollout.pipeline.trial import Trial
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
    canary: [{weight: 50, hold: 5s}, {weight: 100, hold: 5s}]
    load: {users: 60, cut_every: 3s}
    max_hold: 2m
    gates:
      - {metric: load.loops, op: "==", threshold: 0}
      - {metric: load.command_ms, op: "<", threshold: 50}
      - {metric: load.command_ms, op: "<", threshold: 50, window: 60s, name: lately}
      - {metric: load.command_ms, op: "<", threshold: 1.25, compare: baseline}
"""
START = 1_000.0


class Bench:
    """A rollout in the middle, with the samples that load users have left."""

    def __init__(self, folder: Path, ledger: Ledger, config: Config, *, first: bool = False) -> None:
        environment = config.environment("dev")
        before = _record(ledger, None, {}) if not first else None
        build = BuildRef("2-def", "2", "def", "", 0.0, "/nowhere")
        plan = make_plan(environment, build, "new", [HostFacts("local", (), None)], before, {}, kind="deploy")
        record = _record(ledger, before, plan.as_dict())
        self.environment = environment
        self.trial = Trial(
            config, environment, ProcessEngine(config, environment), Lease(ledger, "dev"),
            NullObserver(), record, Interrupts(print),
        )  # fmt: skip
        self.load = LoadRun([], users=1, spawn_rate=1, cut_every=0, directory=folder)

    def sampled(self, *samples: dict[str, Any]) -> None:
        with self.load.samples_path.open("a") as file:
            file.writelines(
                json.dumps({"user": 1, "kind": "command", "ok": True, **one}) + "\n" for one in samples
            )

    def observed(self, until: float) -> list[Evidence]:
        return self.trial.judging.of_load(self.load, (START, until))


def _record(ledger: Ledger, previous: Any, plan: dict[str, Any]) -> Any:
    name = "old" if previous is None else "new"
    return begun(ledger, generation=name, previous=previous, plan=plan)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    (tmp_path / "rollout.yaml").write_text(CONFIG)
    return load(tmp_path / "rollout.yaml")


@pytest.fixture
def ledger(config: Config) -> Iterator[Ledger]:
    with Ledger(config.ledger_url) as ledger:
        yield ledger


def commands(generation: str, ms: float, since: float, n: int = 200) -> list[dict[str, Any]]:
    return [{"t": since + index / 10, "generation": generation, "ms": ms} for index in range(n)]


def test_a_window_is_judged_by_its_own_samples_and_the_whole_by_all(
    tmp_path: Path, config: Config, ledger: Ledger
) -> None:
    bench = Bench(tmp_path, ledger, config)
    bench.sampled(*commands("new", 80.0, START), *commands("new", 5.0, START + 200))
    evidence = bench.observed(START + 220)
    _, whole, lately, _ = (evaluate(gate, evidence, START + 220) for gate in bench.environment.gates)
    assert (whole.verdict, whole.n) == (Verdict.FAIL, 400)
    assert (lately.verdict, lately.n) == (Verdict.PASS, 200)


def test_what_each_host_shows_is_worked_out_for_a_gate_that_fails_alone(
    tmp_path: Path, config: Config, ledger: Ledger
) -> None:
    bench = Bench(tmp_path, ledger, config)
    bench.sampled(*({**one, "host": "local"} for one in commands("new", 80.0, START)))
    assert {piece.part for piece in bench.observed(START + 30)} == {"all"}
    bench.trial.begins(next(step for step in bench.trial.plan.forward if step.kind == "start"))
    of_hosts = [piece for piece in bench.trial.judging.of_hosts() if piece.metric == "load.command_ms"]
    assert {(piece.part, piece.labels["host"], piece.n) for piece in of_hosts} >= {("host", "local", 200)}


def test_load_that_has_ended_by_itself_is_no_evidence_and_is_noticed_before_it_is_told_to_end(
    tmp_path: Path, config: Config, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(tmp_path, ledger, config)
    bench.trial.judging._load = bench.load  # with no process of Locust any more
    bench.trial.judging.found = [bench.observed(START + 1)[0]]
    monkeypatch.setattr(bench.trial.judging, "watch", lambda *of: None)
    gate = next(step for step in bench.trial.plan.forward if step.kind == "gate")
    with pytest.raises(EngineError, match="the load run has ended by itself"):
        gate.run(bench.trial)


def test_load_users_who_have_not_verified_their_shells_to_the_end_are_missed(
    tmp_path: Path, config: Config, ledger: Ledger
) -> None:
    """Of a user that was killed nobody knows what it had lost."""
    bench = Bench(tmp_path, ledger, config)
    counts = {"n": 9, "lost": 0, "doubled": 0, "twice": 0, "t": START, "generation": "new"}
    bench.sampled({"kind": "final", **counts}, {"kind": "verify", "user": 2, **counts})
    judging = bench.trial.judging
    judging._load = bench.load
    judging.finish_load()
    with pytest.raises(EngineError, match="1 of 1 load users did not verify their shells to the end; see"):
        judging.check_load()
    bench.sampled({"kind": "final", "user": 2, **counts})
    judging._load_finished = False
    judging.finish_load()
    judging.check_load()


def test_load_that_tells_nothing_any_more_is_no_evidence(
    tmp_path: Path, config: Config, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench, now = Bench(tmp_path, ledger, config), [100.0]
    judging = bench.trial.judging
    judging._load = bench.load
    monkeypatch.setattr(load_module, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(LoadRun, "running", True)
    bench.sampled(*commands("new", 5.0, START, 1))

    def look(every: float, times: int) -> None:
        for _ in range(times):
            now[0] += every
            bench.load.samples()

    look(1.0, 1)
    look(3600.0, 20)  # whoever stood still, slept or was busy has not looked
    judging.check_load()
    look(1.0, 40)
    with pytest.raises(EngineError, match="have written nothing for 80 s: is the disk full"):
        judging.check_load()
    bench.sampled(*commands("new", 5.0, START + 1, 1))
    look(1.0, 1)
    judging.check_load()


def test_the_ramp_up_of_the_load_is_not_judged(tmp_path: Path, config: Config, ledger: Ledger) -> None:
    """A first deployment gets its users all at once, after the shift: that is no figure of its build."""
    bench = Bench(tmp_path, ledger, config, first=True)
    bench.sampled(*commands("new", 900.0, START), *commands("new", 5.0, START + 30))
    gate = bench.environment.gates[1]
    assert evaluate(gate, bench.observed(START + 60), START + 60).verdict is Verdict.FAIL
    bench.trial.judging.ready_at = START + 25
    result = evaluate(gate, bench.observed(START + 60), START + 60)
    assert (result.verdict, result.n) == (Verdict.PASS, 200)


def test_both_generations_are_compared_over_the_time_in_which_both_serve(
    tmp_path: Path, config: Config, ledger: Ledger
) -> None:
    bench = Bench(tmp_path, ledger, config)
    bench.sampled(*commands("new", 10.0, START), *commands("old", 10.0, START))
    compare = bench.environment.gates[-1]
    result = evaluate(compare, bench.observed(START + 30), START + 30)
    assert (result.verdict, result.n) == (Verdict.PASS, 200)
    # From here on the old one serves nobody: what the new one does alone is compared with nothing.
    bench.trial.full_at = START + 30
    bench.sampled(*commands("new", 99.0, START + 40))
    evidence = bench.observed(START + 900)
    result = evaluate(compare, evidence, START + 900)
    assert (result.verdict, result.n) == (Verdict.PASS, 200)
    assert len(result.evidence) == 2


@pytest.mark.parametrize("verdict", [Verdict.PASS, Verdict.INCONCLUSIVE])
def test_after_a_resume_what_was_said_when_both_served_still_holds(
    tmp_path: Path, config: Config, ledger: Ledger, verdict: Verdict
) -> None:
    bench = Bench(tmp_path, ledger, config)
    judging, gates = bench.trial.judging, bench.environment.gates
    bench.sampled(*commands("new", 10.0, START), *commands("old", 10.0, START))
    evidence = bench.observed(START + 30)
    before = [evaluate(gate, evidence, START + 30) for gate in gates]
    before[-1] = replace(before[-1], verdict=verdict)
    ledger.record_verdicts(bench.trial.record.id, "watch-50", before, evidence)
    # All were led to the new one, and then this program was killed: the load is another one.
    bench.trial.full_at, judging.ready_at = START + 30, START + 60
    bench.sampled(*commands("new", 99.0, START + 70))
    evidence = bench.observed(START + 100)
    alone = [evaluate(gate, evidence, START + 100) for gate in gates]
    assert alone[-1].verdict is Verdict.INCONCLUSIVE
    assert judging.with_earlier(alone) == [*alone[:-1], before[-1]]
    bench.trial.full_at = START + 80
    assert judging.with_earlier(alone) == alone, "it goes on from before that"


def test_a_slower_generation_is_told_by_the_one_beside_it(
    tmp_path: Path, config: Config, ledger: Ledger
) -> None:
    bench = Bench(tmp_path, ledger, config)
    bench.sampled(*commands("new", 14.0, START), *commands("old", 10.0, START))
    evidence = bench.observed(START + 30)
    _, whole, _, compared = (evaluate(gate, evidence, START + 30) for gate in bench.environment.gates)
    assert (whole.verdict, compared.verdict) == (Verdict.PASS, Verdict.FAIL)


def test_who_never_comes_to_the_new_one_is_counted_on_it_and_not_on_the_old_one(
    tmp_path: Path, config: Config, ledger: Ledger
) -> None:
    """Told to come back, and refused each time: none serves them, and the new one ought to."""
    bench = Bench(tmp_path, ledger, config)
    bench.sampled(*commands("new", 10.0, START), *commands("old", 10.0, START))
    for user in range(30):
        lost = {"t": START + 1, "user": 100 + user, "generation": "", "ok": False}
        bench.sampled({**lost, "kind": "attempt", "error": "refused"})
        bench.sampled({**lost, "kind": "reconnect", "ms": 2e4, "away": 20.0, "planned": True})
    evidence = bench.observed(START + 30)

    def rates(metric: str) -> dict[str, tuple[int | None, int]]:
        found = [piece for piece in evidence if piece.metric == metric and "window" not in piece.labels]
        return {piece.labels.get("role", "alone"): (piece.successes, piece.n) for piece in found}

    assert rates("load.success_rate") == {"alone": (200, 260), "canary": (200, 260), "baseline": (200, 200)}
    assert rates("load.reconnect_rate") == {"alone": (0, 30), "canary": (0, 30), "baseline": (0, 0)}


def test_the_first_build_is_compared_with_nothing_and_judged_by_all_else(
    tmp_path: Path, config: Config, ledger: Ledger
) -> None:
    bench = Bench(tmp_path, ledger, config, first=True)
    assert [gate.name for gate in bench.trial.judging.gates("shift")] == [
        "load.loops", "load.command_ms p95", "lately",
    ]  # fmt: skip
    assert not any("role" in item.labels for item in bench.observed(time.time()))


def test_a_warning_neither_stops_a_rollout_nor_passes_one(config: Config) -> None:
    gate = config.environment("dev").gates[0]
    bad = [Evidence("e", "load.loops", "count", "load", 0.0, 1.0, 9, value=3.0)]
    warning = evaluate(gate.model_copy(update={"severity": "warning"}), bad)
    serious = evaluate(gate, bad)
    assert NotPassed([warning, serious]).verdict is Verdict.FAIL
    assert NotPassed([warning]).verdict is Verdict.INCONCLUSIVE
    assert str(NotPassed([warning])) == "no gate gave a verdict"


def test_the_reason_names_what_failed_and_not_what_had_too_little_to_go_by(config: Config) -> None:
    gate = config.environment("dev").gates[0]
    bad = evaluate(gate, [Evidence("e", "load.loops", "count", "load", 0.0, 1.0, 9, value=3.0)])
    little = evaluate(gate, [])
    assert NotPassed([little, bad]).reasons == [bad.reason]
    assert NotPassed([little]).reasons == [little.reason]


def test_who_asks_at_a_moment_at_which_nothing_can_be_raised_is_heard_by_the_watch(
    tmp_path: Path, config: Config, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The interpreter drops what is raised while an object is being taken away."""

    class Goes:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGTERM)

    def observe() -> list[Evidence]:
        Goes()
        return []

    bench = Bench(tmp_path, ledger, config)
    dropped: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", dropped.append)
    monkeypatch.setattr(bench.trial.judging, "observe", observe)
    monkeypatch.setattr(bench.trial.judging, "start_load", str)
    interrupts = bench.trial.interrupts
    with (
        bench.trial.lease,
        pytest.raises(KeyboardInterrupt, match="by SIGTERM"),
        interrupts,
        interrupts.open(),
    ):
        bench.trial.judging.watch([], 3.0)
    assert len(dropped) == 1
