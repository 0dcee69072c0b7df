"""Session managers that do not answer for the moment: nothing is planned or judged as if they were none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rollout.config import load
from rollout.engine import HostFacts, ShiftResult
from rollout.engine.base import PartRef
from rollout.errors import EngineError, Refused
from rollout.evidence import from_generation
from rollout.gates import evaluate
from rollout.ledger import Lease, State
from rollout.model import BuildRef, Verdict
from rollout.pipeline import begin, silence
from rollout.pipeline.drain import nothing_adrift
from rollout.pipeline.obstacles import silent
from rollout.pipeline.runner import unproven
from rollout.pipeline.silence import facts_of, live_in, statuses_of
from rollout.pipeline.steps.parts import Replace
from rollout.pipeline.steps.traffic import GoBack, VerifyReturn
from tests.support.rollouts import begun

ROOT = Path(__file__).parents[3]
SILENT, BARE = HostFacts("local", (), None), HostFacts("local", (), None, held=False)
ANSWERS = HostFacts("local", (), {"sessions": {"live": 4}, "generations": [{"name": "g1", "weight": 100}]})


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(silence, "SILENT_SECONDS", 0.2)
    monkeypatch.setattr(silence, "SILENT_POLL", 0.01)


@pytest.fixture
def config():
    return load(ROOT / "rollout.yaml")


class Engine:
    """Says one thing after the other, and the last again and again."""

    def __init__(self, *said: Any) -> None:
        self._said = list(said)
        self.asked = 0
        self.kept: list[list[str]] = []
        self.led = 0

    def facts(self) -> Any:
        self.asked += 1
        return self._said.pop(0) if len(self._said) > 1 else self._said[0]

    status = facts

    def wanted(self, build: BuildRef) -> dict[str, Any]:
        return {}

    def marks(self) -> dict[str, Any]:
        return {}

    def manage(self, parts: Any, *, fence: int) -> None:
        assert list(parts) == ["a", "b"]

    def keep(self, generation: str, *, fence: int, hosts: list[str]) -> None:
        self.kept.append(hosts)

    def shift(self, *weights: Any, **how: Any) -> ShiftResult:
        self.led += 1
        return ShiftResult()


def test_who_is_back_in_time_was_never_away():
    engine = Engine([SILENT], [SILENT], [ANSWERS])
    assert facts_of(engine) == [ANSWERS]
    assert engine.asked == 3
    engine = Engine({"a": None, "b": None}, {"a": {}, "b": None})
    assert statuses_of(engine, ["a"]) == {"a": {}, "b": None}
    assert engine.asked == 2


@pytest.mark.parametrize("facts", [BARE, ANSWERS])
def test_where_nothing_is_held_or_somebody_answers_nobody_waits(facts):
    engine = Engine([facts])
    assert facts_of(engine) == [facts]
    assert engine.asked == 1


@pytest.mark.parametrize(
    ("facts", "previous"),
    [(SILENT, "g1"), (ANSWERS, "g1"), (BARE, None)],
    ids=["it does not answer", "it answers", "nothing runs"],
)
def test_a_build_is_the_first_only_where_nothing_runs(config, ledger, monkeypatch, facts, previous):
    """Else all people would be led to it at once, and there would be no way back."""
    monkeypatch.setattr(begin, "lacking", lambda *of: [])
    ledger.transition(begun(ledger, generation="g1").id, State.PROMOTED)
    build = BuildRef("2-def", "2", "def", "", 0.0, "/nowhere")
    found = begin.look(config, ledger, config.environment("dev"), build, Engine([facts]), "deploy")
    assert found.plan is not None
    assert found.plan.previous_generation == previous
    assert next(step.kind for step in found.plan.backward) == (
        "rollback-shift" if previous else "rollback-stop"
    )


def test_a_ledger_that_hosts_are_ahead_of_is_told_and_gives_no_name_again(config, ledger, monkeypatch):
    monkeypatch.setattr(begin, "lacking", lambda *of: [])
    ledger.transition(begun(ledger, generation="g1").id, State.PROMOTED)
    entries = [{"name": name, "weight": 100 * (name == "g1")} for name in ("g1", "g9r4", "special")]
    build = BuildRef("2-def", "2", "def", "", 0.0, "/nowhere")

    def looked(ledger: Any, fence: int) -> Any:
        facts = replace(ANSWERS, status={**(ANSWERS.status or {}), "fence": fence, "generations": entries})
        return begin.look(config, ledger, config.environment("dev"), build, Engine([facts]), "deploy")

    def told(found: Any) -> bool:
        return any("first: rollout adopt dev" in one.text for one in found.obstacles)

    found = looked(ledger, 2)
    assert found.plan.generation == "g10"
    assert told(found)
    with Lease(ledger, "dev") as lease:
        assert told(looked(lease.ledger, 2))
        assert not told(looked(lease.ledger, 1))
    assert not told(looked(ledger, 2)), "whoever comes next"
    entries[1]["weight"] = 1
    assert told(looked(ledger, 2)), "who has asked often enough has a token that is high enough"


def test_it_is_in_the_way_of_what_is_about_all_that_runs():
    (obstacle,) = silent("dev", [SILENT])
    assert obstacle.text.startswith("local: its session manager does not answer")
    assert silent("dev", [BARE]) == silent("dev", [ANSWERS]) == []


def test_those_who_do_not_answer_are_not_counted_as_none():
    live = {"sessions": {"live": 3}}
    assert live_in({"a": live, "b": None, "c": live}) == (6, ["b"])


def test_a_host_is_not_empty_while_shells_are_adrift_or_nobody_knows():
    nothing_adrift("a", {"sessions": {"live": 0}})
    with pytest.raises(Refused, match="a: 2 shells are left that its session manager could not go on with"):
        nothing_adrift("a", {"sessions": {"live": 0, "left": 2}})
    with pytest.raises(Refused, match="a: its session manager does not answer"):
        nothing_adrift("a", None)


def trial_of(engine: Engine) -> Any:
    plan = SimpleNamespace(generation="g1", previous_generation="g2", steps=())
    ledger = SimpleNamespace(add_figures=lambda *of, **figures: None)
    lease = SimpleNamespace(token=1, check=lambda: None)
    return SimpleNamespace(
        engine=engine,
        plan=plan,
        lease=lease,
        ledger=ledger,
        record=SimpleNamespace(id=1),
        shifts=lambda weight: None,
        reached=lambda: ["a"],
    )


LEAVING = {"generations": [{"name": "g1", "weight": 0, "retire_at": 5.0, "state": "active"}]}


@pytest.mark.parametrize("first", [None, LEAVING])
def test_what_is_gone_back_to_stays_where_nobody_could_say_at_first_that_it_was_to_end(first):
    engine = Engine({"a": first}, {"a": LEAVING})
    GoBack(summary="", hosts={"a": ""}, name="shift-100", weight=100).run(trial_of(engine))
    assert (engine.kept, engine.led) == ([["a"]], 1)


def test_shells_of_who_does_not_answer_are_not_said_to_be_gone():
    live = {"sessions": {"live": 3}}
    replaced = {"manager": (None, PartRef("b2", "m2"))}
    step = Replace.of({"a": replaced, "b": replaced})
    assert step.run(trial_of(Engine({"a": live, "b": None, "c": live}))).startswith("3 sessions kept, after")
    assert step.run(trial_of(Engine({"a": live, "b": None}))).endswith("; b does not answer yet")
    back = Engine({"a": live, "b": None}, {"a": live, "b": live})
    assert step.run(trial_of(back)).startswith("6 sessions kept, after")


def test_who_does_not_answer_is_not_said_to_serve_something_else():
    with pytest.raises(EngineError, match=r"^a: its session manager does not answer$"):
        VerifyReturn.everywhere("", ["a"]).run(trial_of(Engine({"a": None})))


@pytest.mark.parametrize(
    ("reached", "verdict"),
    [(["a", "b"], Verdict.INCONCLUSIVE), (["a"], Verdict.PASS)],
    ids=["there", "not yet"],
)
def test_of_a_host_that_does_not_answer_there_are_no_observations(config, reached, verdict):
    entry = {"name": "g2", "attaches": 50, "loops": 0, "short_lived": 0, "memory_bytes": 1 << 20}
    found = from_generation({"a": {"generations": [entry]}, "b": None}, "g2", (0.0, 9.0), reached)
    gates = [gate for gate in config.environment("staging").gates if gate.metric == "generation.loops"]
    assert [evaluate(gate, found, 9.0).verdict for gate in gates] == [verdict]


def test_a_rehearsal_that_nobody_verified_to_the_end_proves_nothing(config):
    loaded, calm = config.environment("staging"), config.environment("dev")
    assert (loaded.load is None, calm.load is None) == (False, True)
    good = {"load_users": 60, "load_unfinished": 0, "bytes_verified": 1000}
    assert unproven(loaded, good) == unproven(calm, {}) == ""
    assert "did not check any output" in unproven(loaded, {})
    assert "2 of 60 load users did not check" in unproven(loaded, {**good, "load_unfinished": 2})
