from __future__ import annotations

from dataclasses import replace

import pytest

from rollout.model import Verdict
from rollout.report.decision import Case, Judged, decide

GATE = Judged("loops", Verdict.PASS, "loops == 0: 0 in 9 observations", "gate", evidence=("e1",))
CRITERION = Judged("success", Verdict.PASS, "success > 0.99: 99.9 %", "criteria")
GOOD = Case("promoted", "", (GATE,), ("loops",), (CRITERION,), ("success",), soak=86400, soaked=86400)


def texts(case: Case) -> list[str]:
    return [reason.text for reason in decide(case).reasons]


def test_go_when_everything_passed():
    assert decide(GOOD).verdict == "go"
    assert decide(GOOD).headline == "go"
    assert decide(GOOD).reasons == ()


@pytest.mark.parametrize(
    ("state", "verdict", "headline"),
    [
        ("running", "not-yet", "no-go (yet): the rollout is unfinished"),
        ("rolling-back", "no-go", "no-go: the rollback is unfinished"),
        ("rolled-back", "no-go", "no-go: rolled back"),
        ("rollback-failed", "no-go", "no-go: the rollback failed"),
        ("rehearsed", "no-go", "no-go: a rehearsal, taken back on purpose"),
    ],
)
def test_no_state_but_promoted_goes(state, verdict, headline):
    decision = decide(replace(GOOD, state=state, cause="stopped by the operator"))
    assert (decision.verdict, decision.headline) == (verdict, headline)
    assert "stopped by the operator" in decision.reasons[0].text


def test_a_state_that_is_not_known_is_no_go():
    assert decide(replace(GOOD, state="blessed")).verdict == "no-go"


@pytest.mark.parametrize("verdict", [Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.ERROR])
@pytest.mark.parametrize("step", ["watch-10", "gate"])
def test_a_gate_that_did_not_pass_at_any_step_is_no_go(verdict, step):
    bad = replace(GATE, verdict=verdict, step=step, text="loops == 0: 3 in 9")
    decision = decide(replace(GOOD, gates=(GATE, bad) if step != "gate" else (bad,)))
    assert decision.verdict == "no-go"
    assert decision.reasons[0].text == f"gate {verdict}: loops == 0: 3 in 9 (at {step})"
    assert decision.reasons[0].evidence == ("e1",)


def test_a_gate_that_only_warns_never_decides():
    warning = replace(GATE, name="drift", verdict=Verdict.FAIL, deciding=False)
    assert decide(replace(GOOD, gates=(GATE, warning))).verdict == "go"


def test_a_gate_that_was_never_judged_at_the_end_is_no_go():
    assert texts(replace(GOOD, wanted_gates=("loops", "memory"))) == ["gate memory: never judged"]
    watched = replace(GATE, step="watch-10")
    assert texts(replace(GOOD, gates=(watched,))) == ["gate loops: never judged"]


def test_without_any_gate_nothing_goes():
    assert texts(replace(GOOD, gates=(), wanted_gates=())) == ["no gate has judged it"]


def test_failing_tests_are_named_with_the_gate_they_fail():
    bad = replace(GATE, verdict=Verdict.FAIL, failing=("validate: Session reuse: not acknowledged",))
    assert texts(replace(GOOD, gates=(bad,)))[1] == "failed test: validate: Session reuse: not acknowledged"


def test_a_soak_that_is_not_over_is_not_yet():
    decision = decide(replace(GOOD, soaked=3.25 * 3600))
    assert decision.verdict == "not-yet"
    assert decision.headline == "no-go (yet): soak has 3.2 h of 24 h"
    assert decide(replace(GOOD, soaked=86399.9)).headline == "no-go (yet): soak has 23.9 h of 24 h"


def test_a_criterion_without_evidence_waits_and_one_that_fails_does_not():
    assert decide(replace(GOOD, criteria=())).verdict == "not-yet"
    assert texts(replace(GOOD, criteria=())) == ["soak gate success: not judged yet"]
    unclear = replace(CRITERION, verdict=Verdict.INCONCLUSIVE)
    assert decide(replace(GOOD, criteria=(unclear,))).verdict == "not-yet"
    for verdict in (Verdict.FAIL, Verdict.ERROR):
        assert decide(replace(GOOD, criteria=(replace(CRITERION, verdict=verdict),))).verdict == "no-go"


def test_final_reasons_come_first_and_all_are_named():
    bad = replace(GATE, verdict=Verdict.FAIL)
    decision = decide(replace(GOOD, gates=(bad,), criteria=(), soaked=0))
    assert [reason.waiting for reason in decision.reasons] == [False, True, True]
    assert decision.verdict == "no-go"


def test_a_build_that_was_taken_back_later_does_not_go_on():
    decision = decide(replace(GOOD, taken_back="taken back by rollback #9"))
    assert (decision.verdict, decision.headline) == ("no-go", "no-go: taken back by rollback #9")
