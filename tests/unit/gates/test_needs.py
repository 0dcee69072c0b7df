"""How much evidence a verdict takes agrees with the verdicts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import bdtr

from rollout.gates import evaluate, needs
from rollout.model import Verdict
from tests.support.gates import Gate, rate


def passes(failed: int, n: int, share: float) -> bool:
    return evaluate(Gate(op=">", threshold=share), [rate(n - failed, n)]).verdict is Verdict.PASS


@pytest.mark.parametrize(("share", "expected"), [(0.99, 299), (0.95, 59), (0.999, 2995), (0.5, 5)])
def test_without_a_failure(share: float, expected: int) -> None:
    assert needs.without_failure(share, 0.05) == expected
    assert passes(0, expected, share) and not passes(0, expected - 1, share)


def test_a_rate_of_one_is_proven_by_nothing_and_one_of_zero_needs_nothing() -> None:
    assert needs.without_failure(1.0, 0.05) is None
    assert needs.without_failure(0.0, 0.05) == 0


@given(st.integers(1, 5000), st.sampled_from([0.5, 0.9, 0.95, 0.99, 0.999]))
def test_failures_allowed_are_those_with_which_the_gate_passes(n: int, share: float) -> None:
    allowed = needs.failures_allowed(n, share, 0.05)
    assert -1 <= allowed < n
    if allowed >= 0:
        assert passes(allowed, n, share)
    assert not passes(allowed + 1, n, share)


@given(
    st.one_of(st.integers(1, 100), st.integers(1, 20_000_000)),
    st.sampled_from([0.001, 0.05, 0.5, 0.95, 0.99, 0.99999]),
    st.sampled_from([0.2, 0.05, 0.001, 1e-6]),
)
def test_the_probabilities_are_those_of_scipy(n: int, share: float, alpha: float) -> None:
    allowed = needs.failures_allowed(n, share, alpha)
    assert allowed < 0 or bdtr(allowed, n, 1 - share) <= alpha * (1 + 1e-6)
    assert bdtr(allowed + 1, n, 1 - share) > alpha * (1 - 1e-6)


@pytest.mark.parametrize(("failed", "share"), [(0.002, 0.99), (0.02, 0.95), (0.0005, 0.999)])
def test_observations_are_enough_and_hardly_fewer_would_do(failed: float, share: float) -> None:
    n = needs.observations(failed, share, 0.05)
    assert n is not None
    assert passes(int(-(-failed * n // 1)), n, share)
    assert not passes(int(-(-failed * (n - 1) // 1)), n - 1, share)


def test_more_of_what_is_too_bad_proves_nothing() -> None:
    assert needs.observations(0.01, 0.99, 0.05) is None
    assert needs.observations(0.0100001, 0.99, 0.05) is None


@pytest.mark.parametrize("share", [0.5, 0.9, 0.95, 0.99])
def test_samples_to_compare_in_the_tail_are_enough(share: float) -> None:
    from scipy.stats import hypergeom

    n = needs.compared(share, 0.05)
    assert n is not None
    above = n - -(-share * n // 1) + 1
    assert hypergeom.cdf(0, 2 * n, n, above) <= 0.05
