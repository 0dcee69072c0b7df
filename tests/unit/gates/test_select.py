"""Which evidence a gate judges: age, clocks, windows, roles, and what was looked at in vain."""

from __future__ import annotations

import math

import pytest

from rollout.gates import evaluate
from rollout.model import Verdict
from tests.support.gates import BASELINE, CANARY, Gate, count, piece, rate, series

ZERO = Gate(op="==", threshold=0, max_age=300)
NOW = 10_000.0


def at(end: float, seconds: float = 60.0) -> dict[str, tuple[float, float]]:
    return {"at": (end - seconds, end)}


@pytest.mark.parametrize(("age", "verdict"), [(300, Verdict.PASS), (301, Verdict.INCONCLUSIVE)])
def test_evidence_older_than_max_age_is_stale(age: float, verdict: Verdict) -> None:
    result = evaluate(ZERO, [count(0, 10, **at(NOW - age))], NOW)
    assert result.verdict is verdict
    assert ("stale" in result.reason) == (verdict is not Verdict.PASS)


def test_without_now_nothing_is_stale() -> None:
    assert evaluate(ZERO, [count(0, 10, **at(1.0))]).verdict is Verdict.PASS


def test_fresh_evidence_of_one_host_does_not_speak_for_another() -> None:
    fresh = count(0, 10, labels={"host": "one"}, **at(NOW))
    old = count(0, 10, labels={"host": "two"}, **at(NOW - 3600))
    result = evaluate(ZERO, [fresh, old], NOW)
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "stale: two" in result.reason


def test_what_differs_in_its_kind_alone_is_not_the_same_piece_handed_in_twice() -> None:
    """Found by Hypothesis: whichever came last was judged."""
    pieces = [piece(kind, 9, successes=0, **at(NOW)) for kind in ("rate", "ratio")]
    for handed_in in (pieces, pieces[::-1]):
        assert evaluate(Gate(op=">", threshold=0.5), handed_in, NOW).verdict is Verdict.ERROR


def test_earlier_evidence_of_the_same_host_counts_beside_fresh() -> None:
    pieces = [
        count(value, 10, labels={"host": "one"}, **at(end)) for value, end in ((1, NOW - 3600), (0, NOW))
    ]
    assert evaluate(ZERO, pieces, NOW).verdict is Verdict.FAIL


@pytest.mark.parametrize(
    ("ahead", "verdict"), [(4, Verdict.PASS), (6, Verdict.ERROR), (86400, Verdict.ERROR)]
)
def test_evidence_of_the_future_is_an_error(ahead: float, verdict: Verdict) -> None:
    result = evaluate(ZERO, [count(0, 10, **at(NOW + ahead))], NOW)
    assert result.verdict is verdict
    assert ("clock" in result.reason) == (verdict is Verdict.ERROR)


@pytest.mark.parametrize(
    "wrong",
    [
        piece("count", -1, value=0.0),
        piece("count", 3, value=-1.0),
        piece("rate", 3, successes=-1),
        piece("rate", 3, successes=None),
        piece("samples", 3, samples=(1.0, 2.0)),
        piece("series", 2, samples=(1.0, 2.0), times=(1.0,)),
        piece("series", 2, samples=(1.0, 2.0), times=(1.0, math.nan)),
        piece("samples", 2, samples=(1.0, -1.0)),
        piece("gauge", 1, value=None),
        piece("gauge", 1, value=-1.0),
        piece("count", 3, value=0.0, at=(60.0, 0.0)),
        piece("count", 3, value=0.0, at=(0.0, math.inf)),
        piece("none-such", 3, value=0.0),
    ],
)
def test_evidence_that_cannot_be_true_is_an_error(wrong: object) -> None:
    assert evaluate(Gate(), [wrong]).verdict is Verdict.ERROR  # type: ignore[list-item]


def test_a_query_of_ones_own_may_give_less_than_nothing() -> None:
    gate = Gate(metric="prometheus.value")
    assert evaluate(gate, [piece("gauge", 1, metric=gate.metric, value=-1.0)]).verdict is Verdict.PASS


def test_evidence_of_different_kinds_is_an_error() -> None:
    assert evaluate(Gate(), [count(0, 10), rate(10, 10)]).verdict is Verdict.ERROR


def test_a_window_takes_what_is_inside_alone() -> None:
    gate = Gate(op="==", threshold=0, window=600)
    loops_before = count(3, 10, **at(NOW - 700))
    assert evaluate(gate, [loops_before, count(0, 10, **at(NOW))], NOW).verdict is Verdict.PASS
    assert evaluate(gate, [loops_before, count(1, 10, **at(NOW))], NOW).verdict is Verdict.FAIL


def test_what_reaches_into_a_window_from_before_and_has_no_times_is_left_out() -> None:
    gate = Gate(op="==", threshold=0, window=600)
    result = evaluate(gate, [count(0, 10, at=(NOW - 700, NOW))], NOW)
    assert result.verdict is Verdict.INCONCLUSIVE


def test_samples_with_times_are_cut_to_the_window() -> None:
    times = tuple(NOW - 1200 + 10 * index for index in range(120))
    values = tuple(1000.0 if time < NOW - 600 else 1.0 for time in times)
    evidence = piece("samples", 120, samples=values, times=times, at=(times[0], NOW))
    assert evaluate(Gate(threshold=100), [evidence], NOW).verdict is Verdict.FAIL
    result = evaluate(Gate(threshold=100, window=600), [evidence], NOW)
    assert (result.verdict, result.n) == (Verdict.PASS, 60)


def test_a_gauge_is_of_the_time_it_was_read() -> None:
    gate = Gate(op="<", threshold=10, window=60)
    assert evaluate(gate, [piece("gauge", 1, value=3.0, at=(0.0, NOW))], NOW).verdict is Verdict.PASS


def test_what_was_measured_for_a_window_is_for_its_gates_alone() -> None:
    everything = count(2, 100, at=(0.0, NOW))
    lately = count(0, 10, at=(NOW - 60, NOW), labels={"window": "60"})
    assert evaluate(Gate(op="==", threshold=2), [everything, lately], NOW).n == 100
    result = evaluate(Gate(op="==", threshold=0, window=60), [everything, lately], NOW)
    assert (result.verdict, result.n) == (Verdict.PASS, 10)


def test_what_is_there_to_be_compared_counts_for_no_other_gate() -> None:
    evidence = [
        count(0, 10, id="all"),
        count(5, 10, labels=BASELINE, id="base"),
        count(4, 10, labels=CANARY, id="canary"),
    ]
    result = evaluate(ZERO, evidence)
    assert (result.verdict, result.evidence) == (Verdict.PASS, ("all",))
    compared = evaluate(Gate(threshold=9, compare="baseline"), evidence)
    assert compared.evidence == ("canary", "base")


def test_a_host_on_which_nothing_was_observed_is_not_known_to_be_good() -> None:
    seen, unseen = (piece("gauge", n, value=1.0, labels={"host": h}) for n, h in ((1, "one"), (0, "two")))
    result = evaluate(Gate(threshold=9), [seen, unseen])
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "two" in result.reason


def test_a_count_that_is_too_high_already_fails_however_little_was_seen() -> None:
    assert evaluate(Gate(op="==", threshold=0, min_samples=100), [count(1, 3)]).verdict is Verdict.FAIL
    assert (
        evaluate(Gate(op="==", threshold=0, min_samples=100), [count(0, 3)]).verdict is Verdict.INCONCLUSIVE
    )


def test_of_several_gauges_the_worst_counts_in_the_gates_own_direction() -> None:
    readings = [piece("gauge", 1, value=value) for value in (3.0, 8.0)]
    assert evaluate(Gate(op="<", threshold=5), readings).verdict is Verdict.FAIL
    assert evaluate(Gate(op=">", threshold=5), readings).verdict is Verdict.FAIL
    assert evaluate(Gate(op=">", threshold=2), readings).measured == 3.0


def test_series_are_judged_apart_and_the_worst_counts() -> None:
    flat = series([10.0] * 30, labels={"host": "one"})
    leak = series([10.0 + index for index in range(30)], labels={"host": "two"})
    result = evaluate(Gate(op="<=", threshold=0.1), [flat, leak])
    assert result.verdict is Verdict.FAIL
    assert "two" in result.reason


def test_a_piece_that_is_handed_in_twice_was_measured_once() -> None:
    gate = Gate(metric=rate(1, 1).metric, op=">", threshold=0.99)
    once = rate(150, 150)
    assert evaluate(gate, [once]).verdict is Verdict.INCONCLUSIVE
    result = evaluate(gate, [once, once])
    assert (result.verdict, result.n) == (Verdict.INCONCLUSIVE, 150)
