"""Where other tools are known to pass what they should not: each of these stays closed here."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from rollout.checks.load import LoadSummary
from rollout.evidence import from_load
from rollout.gates import deciding, evaluate, evaluate_all
from rollout.model import Evidence, Verdict, worst
from tests.support.gates import BASELINE, CANARY, Gate, count, piece, rate, samples, series

PASS, FAIL, INCONCLUSIVE, ERROR = Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.ERROR
LATENCY = Gate(op="<", threshold=100)
RATE = Gate(op=">", threshold=0.99)
ZERO = Gate(op="==", threshold=0)
SLOWER = Gate(op="<", threshold=1.25, compare="baseline")


# --- Argo Rollouts --------------------------------------------------------------------------------


@pytest.mark.parametrize("compare", ["threshold", "baseline"])
@pytest.mark.parametrize(
    ("op", "nothing"),
    [
        ("<", samples()),
        (">", rate(0, 0)),
        ("==", count(0, 0)),
        (">=", piece("ratio", 0, successes=0)),
        ("<", piece("gauge", 0, value=0.0)),
        ("<", series([])),
    ],
)
def test_argo_1329_zero_measurements_are_no_success(op: str, nothing: Evidence, compare: str) -> None:
    gate = Gate(op=op, threshold=0.5, compare=compare)
    assert evaluate(gate, [nothing]).verdict is not PASS
    assert evaluate(gate, []).verdict is INCONCLUSIVE


def test_argo_no_conditions_at_all_is_no_success() -> None:
    results = evaluate_all([], [rate(1000, 1000)])
    assert worst(result.verdict for result in deciding(results)) is INCONCLUSIVE


def test_argo_nothing_but_warnings_is_no_success() -> None:
    results = evaluate_all([replace(RATE, severity="warning")], [rate(1000, 1000)])
    assert [result.verdict for result in results] == [PASS]
    assert worst(result.verdict for result in deciding(results)) is INCONCLUSIVE


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("op", ["<", "<=", ">", ">=", "=="])
def test_argo_nan_is_an_error_under_every_comparison(op: str, value: float) -> None:
    good = [1.0] * 100
    times = tuple(float(index) for index in range(101))
    for bad in (
        piece("count", 9, value=value),
        piece("gauge", 1, value=value),
        samples(*good, value),
        piece("series", 101, samples=(*good, value), times=times),
        piece("series", 101, samples=(*good, 1.0), times=(*times[:-1], value)),
    ):
        assert evaluate(Gate(op=op, threshold=50), [bad]).verdict is ERROR


def test_argo_error_is_worse_than_fail_and_inconclusive_no_better_than_it() -> None:
    results = evaluate_all(
        [Gate("a", "==", 0), Gate("b", "==", 0), Gate("c", "==", 0), Gate("d", "==", 0)],
        [count(0, 9, metric="a"), count(1, 9, metric="b"), count(math.nan, 9, metric="d")],
    )
    verdicts = [result.verdict for result in results]
    assert verdicts == [PASS, FAIL, INCONCLUSIVE, ERROR]
    assert worst(verdicts) is ERROR
    assert worst(verdicts[:3]) is FAIL


# --- Flagger --------------------------------------------------------------------------------------


def test_flagger_931_an_empty_load_run_passes_no_gate_at_all() -> None:
    nobody = LoadSummary()
    evidence = from_load(nobody, nobody, (0.0, 60.0), "g2")
    assert len(evidence) == 9
    for item in evidence:
        up = item.metric.endswith("_rate")
        gate = Gate(item.metric, ">" if up else "<=", 0.5 if up else 0.0)
        assert evaluate(gate, evidence).verdict is INCONCLUSIVE, item.metric


def test_flagger_an_error_of_the_query_is_no_pass_however_good_the_others() -> None:
    failed = Evidence("query", "m", "rate", "prometheus", 0.0, 60.0, 0, successes=None)
    assert evaluate(RATE, [rate(10_000, 10_000), failed]).verdict is ERROR


@pytest.mark.parametrize("n", range(1, 299))
def test_flagger_1353_little_traffic_is_inconclusive_even_without_a_failure(n: int) -> None:
    assert evaluate(RATE, [rate(n, n)]).verdict is INCONCLUSIVE


def test_flagger_1353_and_the_reason_says_how_much_would_do() -> None:
    result = evaluate(RATE, [rate(40, 40)])
    assert result.needed == 299
    assert "about 299" in result.reason


# --- Kayenta --------------------------------------------------------------------------------------


def test_kayenta_a_group_without_data_is_not_100_percent() -> None:
    evidence = [rate(5000, 5000, labels={"host": "one"}), rate(0, 0, labels={"host": "two"})]
    result = evaluate(RATE, evidence)
    assert result.verdict is INCONCLUSIVE
    assert "two" in result.reason


def test_kayenta_neither_is_a_baseline_without_data() -> None:
    ours = samples(*[1.0] * 500)
    assert evaluate(SLOWER, [ours]).verdict is INCONCLUSIVE
    assert evaluate(SLOWER, [ours, samples(labels=BASELINE)]).verdict is INCONCLUSIVE


def test_kayenta_a_metric_that_throws_stays_in_the_denominator() -> None:
    gates = [Gate("good", ">", 0.9), Gate("thrown", ">", 0.9)]
    results = evaluate_all(gates, [rate(100, 100, metric="good"), rate(-1, 100, metric="thrown")])
    assert [result.verdict for result in results] == [PASS, ERROR]
    assert worst(result.verdict for result in results) is ERROR
    results = evaluate_all(gates, [rate(100, 100, metric="good")])
    assert worst(result.verdict for result in results) is INCONCLUSIVE


@pytest.mark.parametrize("n", [1, 3, 10, 20, 58])
def test_kayenta_there_is_a_least_number_of_samples(n: int) -> None:
    """59 samples are the fewest that say anything of a p95 at 95 %."""
    assert evaluate(LATENCY, [samples(*[1.0] * n)]).verdict is INCONCLUSIVE
    assert evaluate(LATENCY, [samples(*[1.0] * 59)]).verdict is PASS


def test_kayenta_there_is_a_least_number_of_samples_to_compare_too() -> None:
    few = [samples(1.0, 1.1, 0.9), samples(9.0, 9.1, 8.9, labels=BASELINE)]
    assert evaluate(SLOWER, few).verdict is INCONCLUSIVE


def test_spinnaker_6278_seven_of_ten_points_at_100_times_the_baseline_fail() -> None:
    canary = samples(*[100.0] * 7, 1.0, 1.0, 1.0)
    baseline = samples(*[1.0] * 10, labels=BASELINE)
    result = evaluate(SLOWER, [canary, baseline])
    assert result.verdict is FAIL
    assert "7 beyond" in result.reason


def test_spinnaker_6278_so_does_a_heavy_tail_behind_a_better_middle() -> None:
    canary = samples(*[0.5] * 170, *[100.0] * 30, labels=CANARY)
    baseline = samples(*[1.0 + index / 1000 for index in range(200)], labels=BASELINE)
    result = evaluate(SLOWER, [canary, baseline])
    assert result.measured is not None and result.measured < 1  # the middle is twice as fast
    assert result.verdict is FAIL
    assert "worse in the tail" in result.reason


@pytest.mark.parametrize("kind", [rate, count])
def test_kayenta_426_sparse_errors_beside_none_fail(kind: object) -> None:
    ours, theirs = (993, 1000) if kind is rate else (7, 1000), (1000, 1000) if kind is rate else (0, 1000)
    evidence = [kind(*ours, labels=CANARY), kind(*theirs, labels=BASELINE)]  # type: ignore[operator]
    assert evaluate(SLOWER, evidence).verdict is FAIL


def test_kayenta_426_one_error_beside_none_is_no_pass() -> None:
    evidence = [rate(999, 1000), rate(1000, 1000, labels=BASELINE)]
    assert evaluate(SLOWER, evidence).verdict is INCONCLUSIVE
