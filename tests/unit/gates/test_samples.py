"""Percentiles with their interval."""

from __future__ import annotations

import random

import pytest
from scipy import stats

from rollout.gates import Look, evaluate
from rollout.gates.samples import ranks
from rollout.model import Verdict
from tests.support.gates import Gate, samples


@pytest.mark.parametrize("n", [1, 20, 58, 59, 60, 93, 181, 500, 2880])
@pytest.mark.parametrize("percentile", [50.0, 95.0, 99.0])
@pytest.mark.parametrize("alpha", [0.05, 0.005])
def test_the_ranks_are_the_tightest_whose_error_is_as_stated(n: int, percentile: float, alpha: float) -> None:
    share = percentile / 100
    first, last = ranks(n, share, alpha, alpha)
    # The upper end is too low when at most last - 1 samples lie below the true percentile ...
    if last <= n:
        assert 1 - stats.binom.cdf(last - 1, n, share) <= alpha
    assert 1 - stats.binom.cdf(last - 2, n, share) > alpha
    # ... and the lower end too high when fewer than `first` do.
    if first:
        assert stats.binom.cdf(first - 1, n, share) <= alpha
    assert stats.binom.cdf(first, n, share) > alpha


@pytest.mark.parametrize("seed", range(30))
def test_verdicts_are_those_of_scipys_quantile_test(seed: int) -> None:
    chance = random.Random(seed)
    values = [chance.lognormvariate(4, 0.4) for _ in range(chance.randint(60, 600))]
    threshold = chance.uniform(70, 160)
    result = evaluate(Gate(threshold=threshold), [samples(*values)])
    below = stats.quantile_test(values, q=threshold, p=0.95, alternative="less").pvalue
    above = stats.quantile_test(values, q=threshold, p=0.95, alternative="greater").pvalue
    expected = Verdict.PASS if below <= 0.05 else Verdict.FAIL if above <= 0.05 else Verdict.INCONCLUSIVE
    assert result.verdict is expected


def test_an_interval_that_holds_the_threshold_is_inconclusive_and_says_what_would_do() -> None:
    values = [*[50.0] * 97, *[200.0] * 3]
    result = evaluate(Gate(), [samples(*values)])
    assert result.verdict is Verdict.INCONCLUSIVE
    assert result.measured == 50.0
    assert result.needed is not None and result.needed > 100
    again = [*[50.0] * round(0.97 * result.needed), *[200.0] * (result.needed - round(0.97 * result.needed))]
    assert evaluate(Gate(), [samples(*again)]).verdict is Verdict.PASS


def test_when_more_of_the_same_proves_the_contrary_nothing_would_do() -> None:
    result = evaluate(Gate(), [samples(*[50.0] * 93, *[200.0] * 7)])
    assert (result.verdict, result.needed) == (Verdict.INCONCLUSIVE, None)


def test_a_hard_limit_beside_it_is_a_gate_of_its_own() -> None:
    values = [*[50.0] * 990, *[5000.0] * 10]
    assert evaluate(Gate(), [samples(*values)]).verdict is Verdict.PASS
    assert evaluate(Gate(percentile=99.9, threshold=1000), [samples(*values)]).verdict is Verdict.FAIL


def test_where_more_is_better_the_lower_end_decides() -> None:
    gate = Gate(op=">", threshold=10, percentile=5)
    assert evaluate(gate, [samples(*[20.0] * 58)]).verdict is Verdict.INCONCLUSIVE
    assert evaluate(gate, [samples(*[20.0] * 59)]).verdict is Verdict.PASS
    assert evaluate(gate, [samples(*[5.0] * 59)]).verdict is Verdict.FAIL


def test_a_share_of_the_error_rate_asks_for_more() -> None:
    look = Look(passing=1 / 6)
    assert evaluate(Gate(), [samples(*[1.0] * 93)], None, look).verdict is Verdict.INCONCLUSIVE
    assert evaluate(Gate(), [samples(*[1.0] * 94)], None, look).verdict is Verdict.PASS
    assert evaluate(Gate(), [samples(*[1.0] * 5000)], None, Look(passing=0)).verdict is Verdict.INCONCLUSIVE
