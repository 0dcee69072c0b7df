"""A promotion without the predecessor's evidence is refused before anything is touched."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

import pytest

from rollout.config import load
from rollout.engine import HostFacts
from rollout.errors import Refused
from rollout.ledger import Ledger, State
from rollout.model import BuildRef, GateResult, Verdict
from rollout.pipeline.criteria import require_evidence
from rollout.pipeline.plan import Kind, Plan, make_plan

ROOT = Path(__file__).parents[3]


@pytest.fixture
def dev():
    return load(ROOT / "rollout.yaml").environment("dev")


@pytest.fixture
def ledger(tmp_path):
    with Ledger(f"sqlite:///{tmp_path}/ledger.db") as ledger:
        yield ledger


def promoted(ledger, dev, verdict=Verdict.PASS, gates=None):
    record = ledger.create(
        env="dev",
        kind="deploy",
        build="1-abc",
        digest="abc",
        generation=None,
        previous=None,
        plan={},
        operator="me",
    )
    names = [gate.name for gate in dev.gates] if gates is None else gates
    results = [GateResult(name, verdict, 1.0, None, 9, f"{name} figures") for name in names]
    ledger.record_verdicts(record.id, "gate", results, [])
    return ledger.transition(record.id, State.PROMOTED)


def serving(generation="g1"):
    return {"local": {"generations": [{"name": generation, "weight": 100}]}}


def tomorrow():
    return time.time() + 25 * 3600


def test_with_all_evidence_the_build_may_go_on(ledger, dev):
    record = promoted(ledger, dev)
    assert require_evidence(ledger, dev, serving(), now=tomorrow()).id == record.id


def test_nothing_deployed_is_refused_with_the_way_out(ledger, dev):
    with pytest.raises(Refused, match="rollout deploy dev"):
        require_evidence(ledger, dev, serving(), now=tomorrow())


def test_without_verdicts_it_is_refused(ledger, dev):
    promoted(ledger, dev, gates=[])
    with pytest.raises(Refused, match="no evidence"):
        require_evidence(ledger, dev, serving(), now=tomorrow())


def test_a_gate_added_since_is_refused(ledger, dev):
    promoted(ledger, dev, gates=[gate.name for gate in dev.gates][1:])
    with pytest.raises(Refused, match="never judged"):
        require_evidence(ledger, dev, serving(), now=tomorrow())


@pytest.mark.parametrize("verdict", [Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.ERROR])
def test_anything_but_a_pass_is_refused(ledger, dev, verdict):
    promoted(ledger, dev, verdict)
    with pytest.raises(Refused, match="did not pass"):
        require_evidence(ledger, dev, serving(), now=tomorrow())


def test_before_the_soak_has_passed_it_is_refused_and_says_how_long(ledger, dev):
    promoted(ledger, dev)
    with pytest.raises(Refused, match=r"1\.0 h of the required 1\.0 d; try again in 23\.0 h"):
        require_evidence(ledger, dev, serving(), now=time.time() + 3600)


@pytest.mark.parametrize("statuses", [{"local": None}, serving("g9"), {"local": {"generations": []}}])
def test_an_environment_that_does_not_serve_it_is_refused(ledger, dev, statuses):
    promoted(ledger, dev)
    with pytest.raises(Refused, match="does not serve"):
        require_evidence(ledger, dev, statuses, now=tomorrow())


def test_an_unfinished_rollout_is_refused(ledger, dev):
    promoted(ledger, dev)
    ledger.create(
        env="dev",
        kind="deploy",
        build="2",
        digest="2",
        generation=None,
        previous=None,
        plan={},
        operator="me",
    )
    with pytest.raises(Refused, match="rollout resume dev"):
        require_evidence(ledger, dev, serving(), now=tomorrow())


def test_plan_survives_the_ledger_and_goes_back_in_order(ledger, dev):
    staging = load(ROOT / "rollout.yaml").environment("staging")
    build = BuildRef("1-abc", "1", "abc", "", 0.0, "/nowhere")
    previous = dataclasses.replace(promoted(ledger, dev), env="staging")
    facts = [HostFacts("local", (), {"sessions": {"live": 40}, "generations": []})]
    plan = make_plan(staging, build, "g2", facts, previous, kind="promote")
    assert Plan.from_dict(plan.as_dict()) == plan
    kinds = [step.kind for step in plan.forward]
    assert kinds[:3] == [Kind.INSTALL, Kind.START, Kind.LOAD]
    assert kinds[3:9] == [Kind.SHIFT, Kind.WATCH] * 3
    assert kinds[9:] == [Kind.CHECKS, Kind.GATE, Kind.FINISH]
    assert "about 4 of 40 live sessions" in plan.forward[3].hosts["local"]
    assert [step.kind for step in plan.backward] == [
        Kind.ROLLBACK_SHIFT,
        Kind.ROLLBACK_STOP,
        Kind.ROLLBACK_VERIFY,
        Kind.ROLLBACK_RECORD,
    ]


def test_first_build_has_nothing_to_go_back_to_and_no_canary(dev):
    staging = load(ROOT / "rollout.yaml").environment("staging")
    build = BuildRef("1-abc", "1", "abc", "", 0.0, "/nowhere")
    plan = make_plan(staging, build, "g1", [HostFacts("local", (), None)], None, kind="promote")
    assert [step.params["weight"] for step in plan.forward if step.kind is Kind.SHIFT] == [100]
    assert Kind.ROLLBACK_SHIFT not in [step.kind for step in plan.backward]
