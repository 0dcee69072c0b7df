"""Plans as they stand in the ledger, and where there is no way back any more."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from rollout.config import load
from rollout.engine import HostFacts
from rollout.engine.process import ProcessEngine
from rollout.ledger import Lease
from rollout.model import BuildRef
from rollout.observer import NullObserver
from rollout.pipeline.interrupts import Interrupts
from rollout.pipeline.parts import apart, lacks
from rollout.pipeline.plan import Plan, make_apply_plan, make_plan, make_rehearsal_plan, make_rollback_plan
from rollout.pipeline.steps import read_step
from rollout.pipeline.trial import Trial
from tests.support.rollouts import begun

ROOT = Path(__file__).parents[3]
G0, G1 = ({"name": name, "weight": 100} for name in ("g0", "g1"))
FACTS = [HostFacts("local", (), {"sessions": {"live": 4}, "generations": [G1]})]
NEW = HostFacts("new", (), None, held=False)
AWAY = HostFacts("away", ("1-abc",), {"sessions": {"live": 1}, "generations": [G0]})


@pytest.fixture
def config():
    return load(ROOT / "rollout.yaml")


def plans(config, ledger, **changes):
    dev = config.environment("dev").model_copy(update=changes)
    before = begun(ledger, generation="g1")
    build = BuildRef("2-def", "2", "def", "", 0.0, "/nowhere")
    return {
        "first": make_plan(dev, build, "g1", FACTS, None, {}, kind="deploy"),
        "deploy": make_plan(dev, build, "g2", FACTS, before, {}, kind="deploy"),
        "rollback": make_rollback_plan(
            dev, before, FACTS, build="0-a", generation="g0", warm=True, wanted={}
        ),
        "rehearsal": make_rehearsal_plan(dev, before, FACTS, "g2"),
    }


def test_every_plan_survives_the_ledger(config, ledger):
    for plan in plans(config, ledger).values():
        assert Plan.from_dict(plan.as_dict()) == plan
        steps = [*plan.as_dict()["forward"], *plan.as_dict()["backward"]]
        assert [step["index"] for step in steps] == list(range(len(plan.steps)))
        assert len({step.name for step in plan.steps}) == len(plan.steps) - 3 * (plan.kind == "rollback")
    assert make_apply_plan(config.environment("dev"), begun(ledger, generation="g1"), FACTS, {}) is None


def test_hosts_that_lack_what_serves_get_it_and_nothing_else_is_touched(config, ledger):
    serving = begun(ledger, generation="g1", build="1-abc")
    plan = make_apply_plan(config.environment("dev"), serving, [*FACTS, NEW, AWAY], {})
    assert plan is not None
    assert Plan.from_dict(plan.as_dict()) == plan
    assert [(step.kind, list(step.hosts)) for step in plan.forward] == [
        ("install", ["new"]),
        ("join-start", ["new", "away"]),
        ("join", ["new", "away"]),
        ("checks", ["local", "new", "away"]),
        ("join-finish", ["away"]),
    ]
    assert [step.kind for step in plan.backward] == [
        "rollback-join",
        "rollback-tell",
        "rollback-show",
        "rollback-record",
    ]
    assert plan.backward[0].before == {"away": "g0"}
    assert (plan.forward[-1].final, plan.forward[-1].warm) == (True, {})


def test_what_the_others_would_go_back_to_is_kept_where_it_served(config, ledger):
    """For what is left of the time; before, everything is gone back from."""
    dev = config.environment("dev")
    serving = replace(begun(ledger, generation="g1"), previous_generation="g0", ended=time.time() - 60)
    plan = make_apply_plan(dev, serving, [*FACTS, AWAY], {})
    assert plan is not None
    step = plan.forward[-1]
    assert (step.kind, step.final) == ("join-finish", False)
    assert dev.rollback_window - 100 < step.warm["away"] <= dev.rollback_window - 60
    long_ago = replace(serving, ended=time.time() - dev.rollback_window - 1)
    plan = make_apply_plan(dev, long_ago, [*FACTS, AWAY], {})
    assert plan is not None and plan.forward[-1].final


def test_a_way_back_ends_what_is_left_where_it_is(config, ledger):
    left = begun(ledger, generation="g1")
    words = {"build": "0-a", "generation": "g0r1", "warm": False, "wanted": {}}
    plan = make_rollback_plan(config.environment("dev"), left, [*FACTS, NEW], **words)
    hosts = {step.kind: list(step.hosts) for step in plan.forward}
    assert (hosts["start"], hosts["finish"]) == (["local", "new"], ["local"])


@pytest.mark.parametrize(
    ("host", "lacking"),
    [
        (FACTS[0], False),
        (NEW, True),
        (AWAY, True),
        # It does not answer, which says nothing of what it serves.
        (HostFacts("silent", ("1-abc",), None), False),
        # The image came, and nothing was started; or it is another environment's.
        (HostFacts("begun", ("1-abc",), None, held=False), True),
        (
            HostFacts(
                "led", (), {"generations": [{"name": "g1", "weight": 0}, {"name": "g0", "weight": 100}]}
            ),
            True,
        ),
        (HostFacts("canary", (), {"generations": [{"name": "g1", "weight": 1}]}), False),
    ],
    ids=lambda value: value.host if isinstance(value, HostFacts) else "",
)
def test_whether_a_host_lacks_what_serves(host, lacking):
    assert lacks(host, "g1") is lacking


def of(host: str, **weights: int) -> HostFacts:
    entries = [{"name": name, "weight": weight} for name, weight in weights.items()]
    return HostFacts(host, ("1-abc",), {"generations": entries, "sessions": {"live": 3}})


def test_a_host_that_was_away_when_a_build_was_taken_back_is_no_host_like_the_others(config, ledger):
    """Half of its people are on what the others were taken back from, and nobody would know."""
    serving = begun(ledger, generation="g1")
    there, half, all_of_it = of("there", g1=100, g0=0), of("half", g1=50, g2=50), of("gone", g1=0, g2=100)
    assert apart("dev", serving, [there]) == []
    said = [obstacle.text for obstacle in apart("dev", serving, [there, half, all_of_it])]
    assert said == [
        "gone: not on g1, which serves on the others; bring it there first: rollout apply dev",
        "half: on g2, too, while the others are on g1 alone; bring it there first: rollout apply dev",
    ]
    plan = make_apply_plan(config.environment("dev"), serving, [there, half, all_of_it], {})
    assert plan is not None
    steps = {step.kind: step for step in plan.steps}
    assert list(steps["join"].hosts) == ["half", "gone"]
    # It ends on both, and is gone back to only where nothing else served.
    assert steps["join-finish"].before == {"half": "g2", "gone": "g2"}
    assert steps["rollback-join"].before == {"gone": "g2"}
    assert make_apply_plan(config.environment("dev"), serving, [there], {}) is None


def test_a_plan_goes_on_without_hosts_that_are_lost_and_each_step_keeps_its_place(config, ledger):
    dev = config.environment("dev")
    for plan in plans(config, ledger).values():
        left = plan.without({"local"})
        assert [step.name for step in left.steps] == [step.name for step in plan.steps]
        assert not any("local" in step.hosts for step in left.steps)
        assert plan.without(()) == plan
        record = begun(ledger, generation=plan.generation, plan=plan.as_dict(), kind=plan.kind)
        lost = dev.model_copy(
            update={"hosts": {"local": dev.hosts["local"].model_copy(update={"lost": True})}}
        )
        parts = (config, lost.without_lost(), ProcessEngine(config, dev), Lease(ledger, "dev"))
        trial = Trial(*parts, NullObserver(), record, Interrupts(print))
        assert len(trial.nowhere) == sum(bool(step.hosts) for step in plan.steps)
        for index, step in enumerate(plan.steps):
            ledger.write(record.id, index, step.name, "begin", fence=1)
        assert trial.reached() == []


def test_what_served_before_ends_on_the_hosts_alone_that_are_there(config, ledger):
    serving = begun(ledger, generation="g1")
    plan = make_apply_plan(config.environment("dev"), serving, [of("a", g0=100), of("b", g0=100)], {})
    assert plan is not None
    step = plan.without({"b"}).forward[-1]
    ended: list[str] = []
    engine = SimpleNamespace(retire=lambda old, hosts, **rest: ended.extend(hosts))
    trial = SimpleNamespace(plan=plan, engine=engine, lease=SimpleNamespace(token=1))
    step.run(trial)
    assert (step.kind, ended, step.final) == ("join-finish", ["a"], True)


@pytest.mark.parametrize(
    "step",
    [
        {"kind": "teleport", "name": "x", "summary": "", "hosts": {}},
        {"kind": "shift", "name": "shift-50", "summary": "", "hosts": {}, "params": {"weight": 50}},
        {"name": "x"},
    ],
    ids=["of a newer version", "of an older one", "of none"],
)
def test_a_step_of_another_version_is_said_to_be(step):
    with pytest.raises(ValueError, match="this version of rollout"):
        read_step(step)


@pytest.mark.parametrize(
    ("kind", "changes", "past"),
    [
        ("deploy", {}, False),
        ("deploy", {"rollback_window": 0.0}, True),
        ("first", {"rollback_window": 0.0}, False),
        ("rollback", {}, True),
    ],
)
def test_there_is_no_way_back_to_what_has_been_ended(config, ledger, kind, changes, past):
    """Going back would stop what serves, and find nothing to lead its users to."""
    plan = plans(config, ledger, **changes)[kind]
    record = begun(ledger, generation=plan.generation, plan=plan.as_dict(), kind=plan.kind)
    dev = config.environment("dev")
    lease = Lease(ledger, "dev")
    trial = Trial(config, dev, ProcessEngine(config, dev), lease, NullObserver(), record, Interrupts(print))
    assert not trial.past_return
    index, finish = next((index, step) for index, step in enumerate(plan.steps) if step.kind == "finish")
    ledger.write(record.id, index, "finish", "begin", fence=1)
    trial.begins(finish)
    assert trial.past_return is past
    resumed = Trial(config, dev, ProcessEngine(config, dev), lease, NullObserver(), record, Interrupts(print))
    assert resumed.past_return is past
