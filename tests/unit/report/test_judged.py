from __future__ import annotations

import pytest

from rollout.config import Gate
from rollout.model import GateResult, Verdict
from rollout.report.judged import covers, latest, row

LATENCY = Gate(metric="load.connect_ms", op="<", threshold=100)


def result(reason: str, measured: float | None = 2.4, bound: float | None = None) -> GateResult:
    return GateResult("load.connect_ms p95", Verdict.PASS, measured, bound, 9, reason, ("e1",))


@pytest.mark.parametrize(
    ("reason", "target", "actual"),
    [
        ("load.connect_ms p95 < 250: p95 2.4 of 9 samples", "< 250 ms", "2.4 ms"),
        ("load.connect_ms p95 < 1.2 x baseline: 2.4 times", "< 1.2 x baseline", "2.4 x baseline"),
        ("said in other words", "< 100 ms", "2.4 ms"),
    ],
)
def test_the_target_is_the_one_that_was_judged(reason, target, actual):
    found = row(result(reason), "gate", LATENCY, "load.connect_ms")
    assert (found["target"], found["actual"]) == (target, actual)


def test_a_gate_that_is_declared_no_more_still_decides():
    found = row(result("said in other words"), "gate", None, "load.connect_ms")
    assert (found["target"], found["severity"]) == ("not recorded", "critical")


def test_a_bound_is_on_the_side_that_was_compared():
    reason = "load.connect_ms p95 < 100: p95 2.4"
    assert row(result(reason, bound=3.0), "gate", LATENCY, "load.connect_ms")["interval"] == "at most 3 ms"


def test_a_resumed_step_judges_again():
    first, second = result("a"), result("b")
    assert latest([("gate", first), ("watch-10", first), ("gate", second)]) == [
        ("gate", second),
        ("watch-10", first),
    ]


def test_a_share_of_a_group_counts_its_tests_only():
    assert covers("validate.pass_ratio", "validate", "Integration")
    assert covers("validate.reuse_ratio", "validate", "Session Reuse")
    assert not covers("validate.reuse_ratio", "validate", "Integration")
    assert not covers("smoke.pass_ratio", "validate", "Integration")
