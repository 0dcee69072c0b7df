"""Plans as they stand in the ledger, and where there is no way back any more."""

from __future__ import annotations

from pathlib import Path

import pytest

from rollout.config import load
from rollout.engine import HostFacts
from rollout.engine.process import ProcessEngine
from rollout.ledger import Lease
from rollout.model import BuildRef
from rollout.observer import NullObserver
from rollout.pipeline.interrupts import Interrupts
from rollout.pipeline.plan import Plan, make_apply_plan, make_plan, make_rehearsal_plan, make_rollback_plan
from rollout.pipeline.steps import read_step
from rollout.pipeline.trial import Trial
from tests.support.rollouts import begun

ROOT = Path(__file__).parents[3]
FACTS = [HostFacts("local", (), {"sessions": {"live": 4}, "generations": []})]


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
    assert make_apply_plan(config.environment("dev"), begun(ledger), FACTS, {}) is None


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
    index = next(index for index, step in enumerate(plan.steps) if step.kind == "finish")
    ledger.write(record.id, index, "finish", "begin", fence=1)
    assert trial.past_return is past
