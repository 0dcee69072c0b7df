"""Trends: growth as a share of the median, with its interval."""

from __future__ import annotations

import dataclasses
import random
import time

import pytest

from rollout.gates import evaluate
from rollout.model import Verdict
from tests.support.gates import Gate, piece, series

DRIFT = Gate(op="<=", threshold=0.1)


def noisy(growth: float, n: int, *, seed: int = 1, noise: float = 0.03) -> list[float]:
    chance = random.Random(seed)
    return [100.0 * (1 + growth * index / n) * chance.lognormvariate(0, noise) for index in range(n)]


def test_a_flat_series_passes_and_a_leak_fails() -> None:
    assert evaluate(DRIFT, [series(noisy(0.0, 300))]).verdict is Verdict.PASS
    result = evaluate(DRIFT, [series(noisy(0.4, 300))])
    assert result.verdict is Verdict.FAIL
    assert result.low is not None and result.high is not None
    assert result.low < 0.4 / 1.2 < result.high  # growth is told as a share of the median


@pytest.mark.parametrize(
    ("floor", "verdict"), [("100", Verdict.FAIL), ("1000", Verdict.PASS), ("x", Verdict.FAIL)]
)
def test_growth_is_a_share_of_the_floor_where_that_is_more(floor: str, verdict: Verdict) -> None:
    grown = series(noisy(0.4, 300))
    grown = dataclasses.replace(grown, labels={**grown.labels, "floor": floor})
    assert evaluate(DRIFT, [grown]).verdict is verdict


def test_one_that_falls_passes() -> None:
    assert evaluate(DRIFT, [series(noisy(-0.5, 300))]).verdict is Verdict.PASS


def test_too_noisy_to_tell_is_inconclusive() -> None:
    assert evaluate(DRIFT, [series(noisy(0.05, 20, noise=0.5))]).verdict is Verdict.INCONCLUSIVE


def test_a_spike_is_no_trend() -> None:
    values = noisy(0.0, 300)
    values[-3:] = [10_000.0] * 3
    assert evaluate(DRIFT, [series(values)]).verdict is Verdict.PASS


@pytest.mark.parametrize("n", range(10))
def test_too_few_readings_are_inconclusive(n: int) -> None:
    assert evaluate(DRIFT, [series([5.0] * n)]).verdict is Verdict.INCONCLUSIVE
    assert evaluate(DRIFT, [series([5.0] * 10)]).verdict is Verdict.PASS


def test_readings_all_at_once_are_inconclusive() -> None:
    one_time = piece("series", 20, samples=tuple([5.0] * 20), times=tuple([7.0] * 20))
    assert evaluate(DRIFT, [one_time]).verdict is Verdict.INCONCLUSIVE


def test_a_window_that_was_hardly_seen_is_inconclusive() -> None:
    flat = series([5.0] * 61, every=60.0, at=(0.0, 3600.0))
    assert evaluate(Gate(op="<=", threshold=0.1, window=3600), [flat]).verdict is Verdict.PASS
    result = evaluate(Gate(op="<=", threshold=0.1, window=7200), [flat])
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "too short" in result.reason


def test_growth_is_told_over_the_whole_window_though_a_bit_less_was_seen() -> None:
    values = noisy(0.095, 100)
    seen = evaluate(Gate(op="<=", threshold=1), [series(values, every=36, at=(0.0, 3600.0))])
    window = evaluate(Gate(op="<=", threshold=1, window=4300), [series(values, every=36, at=(0.0, 3600.0))])
    assert seen.measured is not None and window.measured is not None
    assert window.measured / seen.measured == pytest.approx(4300 / (99 * 36))


def test_nothing_but_zeros_does_not_grow_and_more_than_zeros_has_no_share() -> None:
    assert evaluate(DRIFT, [series([0.0] * 30)]).verdict is Verdict.PASS
    assert evaluate(DRIFT, [series([*[0.0] * 20, *[5.0] * 10])]).verdict is Verdict.INCONCLUSIVE


def test_equal_readings_are_no_trouble() -> None:
    steps = series([float(100 + index // 50) for index in range(300)])
    assert evaluate(DRIFT, [steps]).verdict is Verdict.PASS


def test_days_of_readings_are_judged_in_the_time_of_three_hundred() -> None:
    def taken(n: int) -> float:
        evidence = [series(noisy(0.0, n))]
        start = time.process_time()  # others' work beside it does not count
        assert evaluate(DRIFT, evidence).verdict is Verdict.PASS
        return time.process_time() - start

    taken(300)  # SciPy is imported once
    assert min(taken(3 * 1440) for _ in range(2)) < 20 * min(taken(300) for _ in range(3)) + 0.5


def test_a_long_series_still_shows_its_leak() -> None:
    assert evaluate(DRIFT, [series(noisy(0.2, 1440))]).verdict is Verdict.FAIL
