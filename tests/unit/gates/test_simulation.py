"""Our gates are wrong as often as stated at most, on services whose truth is known (see docs/gates.md)."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from benchmarks import gate_ours, gate_rivals, gates
from benchmarks.gate_services import Failing, Leaking, Slow
from rollout.gates import END, Look, evaluate
from rollout.model import Evidence, Verdict

ROLLOUTS = 1000
ALLOWANCE = 3.5 * (0.05 * 0.95 / ROLLOUTS) ** 0.5
STATED = 1 - gates.CONFIDENCE
DOCS = Path(__file__).parents[3] / "docs" / "gates.md"


@pytest.fixture
def bench() -> gates.Bench:
    """Its chance begins anew for each test: what one draws is no other's affair."""
    return gates.Bench(ROLLOUTS, seed=11)


def test_a_rate_that_is_just_too_low_passes_no_more_often_than_stated(bench: gates.Bench) -> None:
    row = bench.rate("", Failing(0.01, per_second=3))
    assert row.bad
    assert row.wrong <= STATED + ALLOWANCE


def test_whoever_looked_each_second_at_the_plain_interval_would_pass_it_more_often(
    bench: gates.Bench,
) -> None:
    """Why the looks share the error rate: this is what they are kept from."""
    passes, _ = gate_ours.RateLimits(gates.RATE).of(Look(), 1800)
    failed = np.cumsum(bench.rng.binomial(3, 0.01, (ROLLOUTS, 600)), axis=1)
    n = 3 * np.arange(1, 601)
    ever = (failed <= passes[n])[:, 30:].any(axis=1)
    assert ever.mean() > STATED + ALLOWANCE


@pytest.mark.slow("a thousand rollouts, each looked at hundreds of times")
def test_a_good_rate_passes_and_hardly_ever_fails(bench: gates.Bench) -> None:
    row = bench.rate("", Failing(0.0005, per_second=8))
    assert not row.bad
    assert row.wrong <= STATED + ALLOWANCE
    assert row.ours[Verdict.PASS] > 0.9


def test_a_percentile_that_is_just_too_high_passes_no_more_often_than_stated(bench: gates.Bench) -> None:
    row = bench.latency("", Slow(100, per_second=3))
    assert row.bad
    assert row.wrong <= STATED + ALLOWANCE


def test_a_good_percentile_passes(bench: gates.Bench) -> None:
    row = bench.latency("", Slow(70, per_second=3))
    assert (row.bad, row.wrong) == (False, 0.0)
    assert row.ours[Verdict.PASS] > 0.9


@pytest.mark.slow("a thousand rollouts, each looked at hundreds of times")
def test_a_generation_that_is_just_too_slow_passes_no_more_often_than_stated(bench: gates.Bench) -> None:
    assert bench.compared("", Slow(100), bad=True, n=300).wrong <= STATED + ALLOWANCE


def test_failures_of_just_twice_the_baseline_pass_no_more_often_than_stated(bench: gates.Bench) -> None:
    assert bench.sparse("", 0.004, 0.002).wrong <= STATED + ALLOWANCE


def test_a_leak_that_is_just_too_large_passes_no_more_often_than_stated(bench: gates.Bench) -> None:
    assert bench.leak("", Leaking(0.1, readings=100)).wrong <= STATED + ALLOWANCE


@pytest.mark.slow("a thousand rollouts, each looked at hundreds of times")
def test_readings_that_resemble_their_neighbours_make_no_certainty(bench: gates.Bench) -> None:
    """Taken as independent, they would pass such a leak in 29 of 100 rollouts."""
    assert bench.leak("", Leaking(0.1, alike=0.8)).wrong <= 2 * STATED + ALLOWANCE


def test_the_limits_of_samples_are_the_verdicts_of_the_gate(bench: gates.Bench) -> None:
    limits = gate_ours.SampleLimits(gates.LATENCY)
    for look in (Look(), END, Look(1 / 6, 1e-4), Look(0.0, 0.02)):
        passes, fails = limits.of(look, 600)
        for n in bench.rng.integers(1, 600, 60).tolist():
            for failed in {
                0,
                max(0, passes[n]),
                min(n, passes[n] + 1),
                max(0, min(n, fails[n] - 1)),
                min(n, fails[n]),
            }:
                values = (1.0,) * (n - failed) + (200.0,) * failed
                evidence = Evidence("e", gates.LATENCY.metric, "samples", "test", 0.0, 1.0, n, samples=values)
                expected = (
                    Verdict.PASS if failed <= passes[n]
                    else Verdict.FAIL if failed >= fails[n]
                    else Verdict.INCONCLUSIVE
                )  # fmt: skip
                assert evaluate(gates.LATENCY, [evidence], None, look).verdict is expected, (n, failed)


def test_the_models_of_the_others_follow_their_rules() -> None:
    met = np.array(
        [[True] * 10, [False, *[True] * 9], [*[False] * 4, *[True] * 6], [*[True] * 5, *[False] * 5]]
    )
    assert gate_rivals.argo(met, 0).tolist() == [True, False, False, False]
    assert gate_rivals.argo(met, 3).tolist() == [True, True, False, False]
    assert gate_rivals.flagger(met).tolist() == [True, True, True, True]
    assert gate_rivals.flagger(~met).tolist() == [False, False, False, False]


def test_the_model_of_kayenta_passes_what_spinnaker_6278_tells_of() -> None:
    canary, baseline = np.array([[100.0] * 7 + [1.0] * 3]), np.ones((1, 10))
    assert gate_rivals.kayenta(canary, baseline).tolist() == [True]
    assert gate_rivals.kayenta(canary + 100, baseline).tolist() == [False]


def test_the_table_of_the_documentation_is_this_programs_and_keeps_the_stated_error_rate() -> None:
    text = DOCS.read_text()
    assert gates.HEADER in text
    rows = re.findall(
        r"^\| (.+?)( \*)? \| (bad|good) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \| (.*) \|$", text, re.M
    )
    assert [row[0] for row in rows] == [name for name, _ in gates.CASES]
    rollouts = int(re.search(r"([\d,]+) rollouts a row", text)[1].replace(",", ""))  # type: ignore[index]
    assert rollouts >= 10_000
    allowance = 3.5 * (STATED * (1 - STATED) / rollouts) ** 0.5
    for name, star, truth, passed, failed, inconclusive, rivals in rows:
        assert abs(sum(map(float, (passed, failed, inconclusive))) - 100) < 0.2, name
        assert len(rivals.split(" | ")) == len(gates.RIVALS)
        if not star:
            wrong = float(passed if truth == "bad" else failed) / 100
            assert wrong <= STATED + allowance, name
