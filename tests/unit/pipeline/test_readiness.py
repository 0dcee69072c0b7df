"""A promotion without the predecessor's evidence is refused before anything is touched."""

from __future__ import annotations

import dataclasses
import random
import time
from pathlib import Path

import pytest

from rollout.checks.runner import CheckResult
from rollout.config import Gate, Monitor, load
from rollout.engine import HostFacts
from rollout.errors import Refused
from rollout.gates import evaluate_all
from rollout.ledger import State
from rollout.model import BuildRef, Evidence, GateResult, Verdict
from rollout.pipeline.commands import _another
from rollout.pipeline.obstacles import refuse
from rollout.pipeline.plan import Plan, make_plan
from rollout.pipeline.readiness import assess, permission
from tests.support.rollouts import begun
from tests.unit.pipeline.records import Days

ROOT = Path(__file__).parents[3]


@pytest.fixture
def dev():
    dev = load(ROOT / "rollout.yaml").environment("dev")
    return dev.model_copy(update={"monitor": None, "soak_gates": ()})


def promoted(ledger, dev, verdict=Verdict.PASS, gates=None):
    record = begun(ledger)
    names = [gate.name for gate in dev.gates] if gates is None else gates
    results = [GateResult(name, verdict, 1.0, None, 9, f"{name} figures") for name in names]
    ledger.record_verdicts(record.id, "gate", results, [])
    return ledger.transition(record.id, State.PROMOTED)


def require_evidence(ledger, predecessor, statuses, *, now):
    """What a promotion asks for: the rollout whose build may go on, or a refusal."""
    ready = assess(ledger, predecessor, statuses, {}, now=now)
    refuse(ready.obstacles)
    return ready.record


def serving(generation="g1"):
    return {"local": {"generations": [{"name": generation, "weight": 100}]}}


def tomorrow():
    return time.time() + 25 * 3600


def test_a_warning_that_was_given_does_not_hold_the_build(ledger, dev):
    record = promoted(ledger, dev)
    ledger.record_verdicts(record.id, "gate", [GateResult("warns", Verdict.FAIL, 1.0, None, 9, "")], [])
    warns = dev.gates[0].model_copy(update={"name": "warns", "severity": "warning"})
    both = dev.model_copy(update={"gates": (*dev.gates, warns)})
    assert require_evidence(ledger, both, serving(), now=tomorrow()).id == record.id
    decides = dev.model_copy(
        update={"gates": (*dev.gates, warns.model_copy(update={"severity": "critical"}))}
    )
    with pytest.raises(Refused, match="did not pass"):
        require_evidence(ledger, decides, serving(), now=tomorrow())


def test_where_gates_only_warn_nothing_goes_on(ledger, dev):
    promoted(ledger, dev)
    only = dev.model_copy(
        update={"gates": tuple(g.model_copy(update={"severity": "warning"}) for g in dev.gates)}
    )
    with pytest.raises(Refused, match="no gate of dev decides anything"):
        require_evidence(ledger, only, serving(), now=tomorrow())


def test_the_first_build_needs_no_comparison(ledger, dev):
    record = promoted(ledger, dev)
    compare = dev.gates[0].model_copy(update={"name": "compared", "compare": "baseline"})
    both = dev.model_copy(update={"gates": (*dev.gates, compare)})
    assert require_evidence(ledger, both, serving(), now=tomorrow()).id == record.id
    absolute = dev.gates[0].model_copy(update={"name": "absolute"})
    with pytest.raises(Refused, match="never judged by absolute"):
        require_evidence(
            ledger, dev.model_copy(update={"gates": (*dev.gates, absolute)}), serving(), now=tomorrow()
        )


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


def test_a_gate_that_was_made_stricter_is_asked_again(ledger, dev):
    """Seven of eight were enough when the build came, and are not now."""
    lax = dev.model_copy(update={"gates": (Gate(metric="smoke.pass_ratio", op=">", threshold=0.5),)})
    record = begun(ledger)
    now = time.time()
    seven = Evidence("e1", "smoke.pass_ratio", "ratio", "smoke", now - 1, now, 8, successes=7)
    ledger.record_verdicts(record.id, "gate", evaluate_all(lax.gates, [seven], now), [seven])
    ledger.transition(record.id, State.PROMOTED)
    assert require_evidence(ledger, lax, serving(), now=tomorrow()).id == record.id
    strict = dev.model_copy(update={"gates": (Gate(metric="smoke.pass_ratio", op=">", threshold=0.95),)})
    with pytest.raises(Refused, match="passed another gate in dev"):
        require_evidence(ledger, strict, serving(), now=tomorrow())


def test_going_back_skips_what_is_the_same_build(ledger):
    """Deployed twice, or promoted every night: whoever goes back wants to be rid of it."""
    before = None
    for digest in ("one", "two", "two", "two"):
        record = begun(ledger, build=f"1-{digest}", digest=digest, previous=before)
        before = ledger.transition(record.id, State.PROMOTED)
    assert _another(ledger, "dev", before, before.previous_generation).build == "1-one"
    first = ledger.rollouts("dev")[-1]
    only = ledger.transition(begun(ledger, build="1-one", digest="one", previous=first).id, State.PROMOTED)
    assert _another(ledger, "dev", only, only.previous_generation) is None


@pytest.mark.parametrize("verdict", [Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.ERROR])
def test_anything_but_a_pass_is_refused(ledger, dev, verdict):
    promoted(ledger, dev, verdict)
    with pytest.raises(Refused, match="did not pass"):
        require_evidence(ledger, dev, serving(), now=tomorrow())


def test_before_the_soak_has_passed_it_is_refused_and_says_how_long(ledger, dev):
    promoted(ledger, dev)
    with pytest.raises(Refused, match=r"1 h of the required 24 h; try again in 22.9 h"):
        require_evidence(ledger, dev, serving(), now=time.time() + 3600)


@pytest.mark.parametrize("statuses", [{"local": None}, serving("g9"), {"local": {"generations": []}}])
def test_an_environment_that_does_not_serve_it_is_refused(ledger, dev, statuses):
    promoted(ledger, dev)
    with pytest.raises(Refused, match="does not serve"):
        require_evidence(ledger, dev, statuses, now=tomorrow())


def test_an_unfinished_rollout_is_refused(ledger, dev):
    promoted(ledger, dev)
    begun(ledger, build="2", digest="2")
    with pytest.raises(Refused, match="rollout resume dev"):
        require_evidence(ledger, dev, serving(), now=tomorrow())


def test_plan_survives_the_ledger_and_goes_back_in_order(ledger, dev):
    staging = load(ROOT / "rollout.yaml").environment("staging")
    build = BuildRef("1-abc", "1", "abc", "", 0.0, "/nowhere")
    previous = dataclasses.replace(promoted(ledger, dev), env="staging")
    facts = [HostFacts("local", (), {"sessions": {"live": 40}, "generations": []})]
    plan = make_plan(staging, build, "g2", facts, previous, {}, kind="promote")
    assert Plan.from_dict(plan.as_dict()) == plan
    kinds = [step.kind for step in plan.forward]
    assert kinds[:3] == ["install", "start", "load"]
    assert kinds[3:9] == ["shift", "watch"] * 3
    assert kinds[9:] == ["checks", "gate", "finish"]
    assert "about 4 of 40 live sessions" in plan.forward[3].hosts["local"]
    assert [step.kind for step in plan.backward] == [
        "rollback-shift",
        "rollback-stop",
        "rollback-verify",
        "rollback-tell",
        "rollback-show",
        "rollback-record",
    ]


def test_first_build_has_nothing_to_go_back_to_and_no_canary(dev):
    staging = load(ROOT / "rollout.yaml").environment("staging")
    build = BuildRef("1-abc", "1", "abc", "", 0.0, "/nowhere")
    plan = make_plan(staging, build, "g1", [HostFacts("local", (), None)], None, {}, kind="promote")
    assert [step.weight for step in plan.forward if step.kind == "shift"] == [100]
    assert "rollback-shift" not in [step.kind for step in plan.backward]


@pytest.fixture
def watched(dev):
    """Dev with a monitor and the criteria of the shipped configuration's kind."""
    gates = (
        Gate(metric="monitor.success_rate", op=">", threshold=0.99),
        Gate(metric="monitor.critical_alerts", op="==", threshold=0),
        Gate(metric="validate.reuse_ratio", op="==", threshold=1),
    )
    return dev.model_copy(update={"monitor": Monitor(), "soak_gates": gates})


def checked(ledger, record, *, reuse=True):
    """The checks that were made when the build came."""
    ledger.record_checks(
        "dev", record.id, [CheckResult("validate", "Session Reuse", "Session reuse", reuse, 1.0, 0.1, "")]
    )
    return record


def assessed(ledger, environment, days, statuses=None):
    return assess(ledger, environment, statuses or serving(), {"local": days.log}, now=days.wall)


def test_a_day_that_was_watched_lets_the_build_go_on(ledger, watched):
    record = checked(ledger, promoted(ledger, watched))
    ready = assessed(ledger, watched, Days(record.ended).minutes(1441))
    assert ready.obstacles == ()
    assert [result.verdict for result in ready.results] == [Verdict.PASS] * 3
    assert {item.metric for item in ready.evidence} == {gate.metric for gate in watched.soak_gates}


@pytest.fixture
def shipped():
    """Staging as `rollout init` has it, under the name that the ledger knows."""
    staging = load(ROOT / "rollout.yaml").environment("staging")
    assert {gate.metric for gate in staging.soak_gates} >= {"validate.breaker_ratio", "monitor.latency_drift"}
    return staging.model_copy(update={"name": "dev"})


def soaked(ledger, environment, *, breaker=True, slower=0.0):
    record = promoted(ledger, environment)
    checks = [
        CheckResult("validate", "Session Reuse", "Session reuse", True, 1.0, 0.1, ""),
        CheckResult("validate", "Circuit Breaker", "Circuit breaker", breaker, 1.0, 0.1, ""),
    ]
    ledger.record_checks("dev", record.id, checks)
    days, noise = Days(record.ended), random.Random(1)
    for minute in range(1441):
        days.minutes(1, reconnect_ms=2.6 * (1 + slower * minute / 1440) + noise.gauss(0, 0.1))
    return assessed(ledger, environment, days)


def test_the_shipped_criteria_are_met_by_a_day_as_it_should_be(ledger, shipped):
    ready = soaked(ledger, shipped)
    assert ready.obstacles == ()
    assert {result.verdict for result in ready.results} == {Verdict.PASS}
    assert len(ready.results) == len(shipped.soak_gates)


@pytest.mark.parametrize(
    ("bad", "named"),
    [({"breaker": False}, "validate.breaker_ratio"), ({"slower": 4.0}, "monitor.latency_drift")],
)
def test_and_not_by_one_that_is_not(ledger, shipped, bad, named):
    (obstacle,) = soaked(ledger, shipped, **bad).obstacles
    assert named in obstacle.text


def test_next_to_nothing_that_doubles_is_no_drift(ledger, shipped):
    """2.6 ms become 5.2: that is a machine that has something else to do."""
    assert soaked(ledger, shipped, slower=1.0).obstacles == ()


def test_time_that_was_not_watched_does_not_count(ledger, watched):
    record = checked(ledger, promoted(ledger, watched))
    days = Days(record.ended).minutes(700).pass_time(3600).restart().minutes(700)
    (obstacle,) = assessed(ledger, watched, days).obstacles
    assert "observed in dev for 23.3 h of the required 24 h; try again in 41 min" in obstacle.text
    assert obstacle.retry_after == 41 * 60
    assert obstacle.overridable


def test_a_criterion_that_fails_is_not_waited_for(ledger, watched):
    record = checked(ledger, promoted(ledger, watched))
    days = Days(record.ended).minutes(1300).minutes(141, ok=False)
    (obstacle,) = assessed(ledger, watched, days).obstacles
    assert "dev's soak gate fails: monitor.success_rate" in obstacle.text
    assert obstacle.retry_after is None


def test_a_failed_check_of_reuse_holds_the_build(ledger, watched):
    record = checked(ledger, promoted(ledger, watched), reuse=False)
    (obstacle,) = assessed(ledger, watched, Days(record.ended).minutes(1441)).obstacles
    assert "validate.reuse_ratio" in obstacle.text


def test_a_monitor_that_is_silent_is_named(ledger, watched):
    promoted(ledger, watched)
    ready = assess(ledger, watched, serving(), {"local": None}, now=tomorrow())
    assert any("no records come from local" in obstacle.text for obstacle in ready.obstacles)
    assert all(result.verdict is not Verdict.PASS for result in ready.results)


def test_old_records_are_no_evidence_of_now(ledger, watched):
    record = checked(ledger, promoted(ledger, watched))
    days = Days(record.ended).minutes(1441).pass_time(3 * 3600)
    ready = assessed(ledger, watched, days)
    assert ready.results[0].verdict is Verdict.INCONCLUSIVE


def test_approvals_are_of_this_build_and_of_different_people(ledger, dev):
    wanted = dev.model_copy(update={"name": "production", "approvals": 2})

    def left():
        return permission(ledger, wanted, "abc", now=time.time())

    assert "rollout approve production" in left()[0].text
    ledger.add_event("production", "approval", by="ada@a", build="1-abc", digest="abc", note="")
    ledger.add_event("production", "approval", by="ada@a", build="1-abc", digest="abc", note="again")
    ledger.add_event("production", "approval", by="ada@b", build="1-abc", digest="abc", note="elsewhere")
    ledger.add_event("production", "approval", by="bob@a", build="1-xyz", digest="xyz", note="")
    assert "(so far: ada@a)" in left()[0].text
    assert not left()[0].overridable
    ledger.add_event("production", "approval", by="bob@a", build="1-abc", digest="abc", note="")
    assert left() == []


def test_a_rehearsal_has_to_be_new_enough(ledger, dev):
    wanted = dev.model_copy(update={"rehearsal": 3600.0})
    assert permission(ledger, wanted, "abc", now=time.time()) == []  # nothing there to go back to
    promoted(ledger, dev)
    assert "there has been none" in permission(ledger, wanted, "abc", now=time.time())[0].text
    record = begun(ledger, kind="rehearsal")
    ledger.transition(record.id, State.ROLLING_BACK)
    ledger.transition(record.id, State.REHEARSED)
    assert permission(ledger, wanted, "abc", now=time.time()) == []
    assert "2 h ago" in permission(ledger, wanted, "abc", now=time.time() + 7200)[0].text
