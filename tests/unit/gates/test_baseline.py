"""The new generation against the one before."""

from __future__ import annotations

import random

import pytest
from scipy import stats

from rollout.gates import evaluate
from rollout.model import Evidence, Verdict
from tests.support.gates import BASELINE, CANARY, Gate, count, piece, rate, samples, series

SLOWER = Gate(op="<", threshold=1.25, compare="baseline")


def latencies(scale: float, n: int, seed: int) -> list[float]:
    chance = random.Random(seed)
    return [scale * chance.lognormvariate(3, 0.5) for _ in range(n)]


def both(scale: float, n: int = 1500, seed: int = 5) -> list[Evidence]:
    return [
        samples(*latencies(scale, n, seed), labels=CANARY),
        samples(*latencies(1.0, n, seed + 1000), labels=BASELINE),
    ]


@pytest.mark.parametrize(
    ("scale", "verdict"),
    [(0.8, Verdict.PASS), (1.0, Verdict.PASS), (1.25, Verdict.INCONCLUSIVE), (1.6, Verdict.FAIL)],
)
def test_latencies_as_good_as_before_pass_and_slower_ones_fail(scale: float, verdict: Verdict) -> None:
    result = evaluate(SLOWER, both(scale))
    assert result.verdict is verdict
    assert result.measured is not None and result.low is not None and result.high is not None
    assert result.low < scale < result.high
    assert result.measured == pytest.approx(scale, rel=0.1)


def test_the_interval_is_that_at_which_mann_whitney_changes_its_mind() -> None:
    evidence = both(1.1, n=300)
    result = evaluate(SLOWER, evidence)
    ours, theirs = (list(item.samples) for item in evidence)
    assert result.high is not None
    at = [result.high * value for value in theirs]
    assert stats.mannwhitneyu(ours, at, alternative="less").pvalue == pytest.approx(0.05, abs=0.01)


def test_little_data_is_inconclusive_and_says_how_much_it_takes() -> None:
    result = evaluate(SLOWER, both(1.0, n=30))
    assert result.verdict is Verdict.INCONCLUSIVE
    assert result.needed == 80
    assert "80 of each" in result.reason


def test_a_baseline_of_another_time_is_no_baseline() -> None:
    ours, theirs = both(1.0)
    old = samples(*theirs.samples, labels=BASELINE, at=(-3600.0, -3000.0))
    result = evaluate(SLOWER, [ours, old])
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "another time" in result.reason


def test_baseline_that_is_not_a_number_is_an_error() -> None:
    ours, _ = both(1.0)
    assert (
        evaluate(SLOWER, [ours, samples(*[1.0] * 99, float("nan"), labels=BASELINE)]).verdict is Verdict.ERROR
    )


def test_samples_below_zero_have_no_ratio() -> None:
    evidence = [samples(*[1.0] * 99), samples(*[1.0] * 98, -1.0, labels=BASELINE)]
    assert evaluate(SLOWER, evidence).verdict is Verdict.ERROR


def test_zero_latencies_do_not_divide() -> None:
    evidence = [samples(*[1.0] * 200), samples(*[0.0] * 200, labels=BASELINE)]
    assert evaluate(SLOWER, evidence).verdict is Verdict.FAIL
    evidence = [samples(*[0.0] * 200), samples(*[0.0] * 200, labels=BASELINE)]
    assert evaluate(SLOWER, evidence).verdict is not Verdict.PASS


@pytest.mark.parametrize(
    ("ours", "theirs", "verdict"),
    [
        ((990, 1000), (990, 1000), Verdict.INCONCLUSIVE),
        ((9990, 10000), (9900, 10000), Verdict.PASS),
        ((960, 1000), (990, 1000), Verdict.FAIL),
        ((1000, 1000), (996, 1000), Verdict.PASS),
        ((1000, 1000), (997, 1000), Verdict.INCONCLUSIVE),
        ((1000, 1000), (1000, 1000), Verdict.INCONCLUSIVE),
        ((950, 1000), (1000, 1000), Verdict.FAIL),
    ],
)
def test_failures_are_compared_exactly(
    ours: tuple[int, int], theirs: tuple[int, int], verdict: Verdict
) -> None:
    assert evaluate(SLOWER, [rate(*ours), rate(*theirs, labels=BASELINE)]).verdict is verdict


def test_failures_of_unequal_traffic_are_compared_as_shares() -> None:
    few = rate(95, 100)
    many = rate(95_000, 100_000, labels=BASELINE)
    result = evaluate(SLOWER, [few, many])
    assert result.measured == pytest.approx(1.0)
    assert result.verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize(("ours", "theirs"), [((0, 1000), (0, 1000)), ((400, 1000), (0, 1000))])
def test_beside_a_baseline_that_hardly_works_nothing_passes(
    ours: tuple[int, int], theirs: tuple[int, int]
) -> None:
    twice = Gate(op="<", threshold=2, compare="baseline")
    result = evaluate(twice, [rate(*ours), rate(*theirs, labels=BASELINE)])
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "the baseline itself fails too often for anything to be 2 times worse" in result.reason


def test_only_whole_counts_are_compared() -> None:
    assert evaluate(SLOWER, [count(0.5, 10), count(1, 10, labels=BASELINE)]).verdict is Verdict.ERROR


def test_gauges_are_compared_as_they_are() -> None:
    base = piece("gauge", 1, value=40.0, labels=BASELINE)
    assert evaluate(SLOWER, [piece("gauge", 1, value=48.0), base]).verdict is Verdict.PASS
    assert evaluate(SLOWER, [piece("gauge", 1, value=52.0), base]).verdict is Verdict.FAIL


@pytest.mark.parametrize("op", [">", ">=", "=="])
def test_a_ratio_to_the_baseline_has_one_direction(op: str) -> None:
    gate = Gate(op=op, threshold=1.25, compare="baseline")
    assert evaluate(gate, both(1.0)).verdict is Verdict.ERROR


def test_trends_and_suites_have_no_baseline() -> None:
    for kind in ("series", "ratio"):
        make = {
            "series": lambda **f: series([1.0] * 20, **f),
            "ratio": lambda **f: piece("ratio", 9, successes=9, **f),
        }
        evidence = [make[kind](), make[kind](labels=BASELINE)]
        assert evaluate(SLOWER, evidence).verdict is Verdict.ERROR
