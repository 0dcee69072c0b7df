"""Gates fail closed. Several of these are where other tools are known to fail open."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.gates import evaluate
from rollout.gates.evaluate import rate_bounds
from rollout.model import Evidence, Verdict, worst
from tests.support.gates import Gate


def piece(metric: str, kind: str, n: int, **fields) -> Evidence:
    return Evidence("id", metric, kind, "test", 0.0, 1.0, n, **fields)


LOOPS = Gate("load.loops", "==", 0)
RATE = Gate("load.reconnect_rate", ">", 0.99)
LATENCY = Gate("load.connect_ms", "<", 100, min_samples=20)
RATIO = Gate("validate.pass_ratio", ">", 0.95)


@pytest.mark.parametrize("gate", [LOOPS, RATE, LATENCY, RATIO])
def test_no_evidence_is_inconclusive(gate):
    assert evaluate(gate, []).verdict is Verdict.INCONCLUSIVE


def test_evidence_of_another_metric_is_no_evidence():
    assert evaluate(LOOPS, [piece("load.bytes_lost", "count", 10, value=0.0)]).verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize(
    ("gate", "evidence"),
    [
        (LOOPS, piece("load.loops", "count", 0, value=0.0)),
        (RATE, piece("load.reconnect_rate", "rate", 0, successes=0)),
        (LATENCY, piece("load.connect_ms", "samples", 0)),
        (RATIO, piece("validate.pass_ratio", "ratio", 0, successes=0)),
    ],
)
def test_zero_measurements_never_pass(gate, evidence):
    assert evaluate(gate, [evidence]).verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize("value", [math.nan, math.inf, None])
def test_a_value_that_is_no_number_is_an_error(value):
    assert evaluate(LOOPS, [piece("load.loops", "count", 5, value=value)]).verdict is Verdict.ERROR


def test_a_sample_that_is_no_number_is_an_error():
    samples = (*[1.0] * 30, math.nan)
    assert (
        evaluate(LATENCY, [piece("load.connect_ms", "samples", 31, samples=samples)]).verdict is Verdict.ERROR
    )


def test_more_successes_than_trials_is_an_error():
    assert evaluate(RATE, [piece("load.reconnect_rate", "rate", 3, successes=4)]).verdict is Verdict.ERROR


def test_ten_of_ten_is_not_more_than_99_percent():
    result = evaluate(RATE, [piece("load.reconnect_rate", "rate", 10, successes=10)])
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "10 of 10" in result.reason


@pytest.mark.parametrize(("n", "verdict"), [(298, Verdict.INCONCLUSIVE), (299, Verdict.PASS)])
def test_299_without_a_failure_prove_more_than_99_percent_at_95(n, verdict):
    assert evaluate(RATE, [piece("load.reconnect_rate", "rate", n, successes=n)]).verdict is verdict


def test_the_bound_that_is_shown_is_the_one_that_decided():
    gate = Gate("r", op=">", threshold=0.99)

    def said(successes: int, n: int) -> str:
        return evaluate(gate, [piece("r", "rate", n, successes=successes)]).reason

    assert said(0, 1).endswith("0 of 1 (0 %), at 95 % confidence <= 95 %")
    # One that does not pass is never shown as the threshold itself.
    assert ">= 98.99 %: not enough" in said(298, 298)
    assert said(299, 299).endswith(">= 99 %")


def test_a_rate_whose_interval_lies_below_fails():
    assert evaluate(RATE, [piece("load.reconnect_rate", "rate", 400, successes=380)]).verdict is Verdict.FAIL


def test_the_seeds_14_of_15_fails_and_is_not_close():
    result = evaluate(RATIO, [piece("validate.pass_ratio", "ratio", 15, successes=14)])
    assert result.verdict is Verdict.FAIL
    assert "93.3 %" in result.reason


def test_seven_of_ten_samples_at_a_hundred_times_the_limit_fail():
    samples = tuple([1.0] * 12 + [10_000.0] * 28)
    assert (
        evaluate(LATENCY, [piece("load.connect_ms", "samples", 40, samples=samples)]).verdict is Verdict.FAIL
    )


def test_one_loop_among_many_good_sessions_fails():
    evidence = [piece("load.loops", "count", 1000, value=0.0), piece("load.loops", "count", 3, value=1.0)]
    assert evaluate(LOOPS, evidence).verdict is Verdict.FAIL


def test_too_few_samples_are_inconclusive_however_good():
    samples = (1.0,) * 19
    result = evaluate(LATENCY, [piece("load.connect_ms", "samples", 19, samples=samples)])
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "20" in result.reason


def test_percentile_is_a_value_that_was_measured():
    samples = tuple(float(n) for n in range(1, 101))
    assert evaluate(LATENCY, [piece("load.connect_ms", "samples", 100, samples=samples)]).measured == 95.0


def test_precedence_is_error_fail_inconclusive_pass_and_nothing_is_inconclusive():
    assert worst([]) is Verdict.INCONCLUSIVE
    assert worst([Verdict.PASS, Verdict.INCONCLUSIVE]) is Verdict.INCONCLUSIVE
    assert worst([Verdict.INCONCLUSIVE, Verdict.FAIL]) is Verdict.FAIL
    assert worst([Verdict.FAIL, Verdict.ERROR, Verdict.PASS]) is Verdict.ERROR


@given(st.integers(1, 2000), st.data())
def test_bounds_hold_the_measured_rate_between_them(n, data):
    successes = data.draw(st.integers(0, n))
    low, high = rate_bounds(successes, n, 0.95)
    assert 0 <= low <= successes / n <= high <= 1
