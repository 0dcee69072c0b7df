"""What holds of every gate and every evidence."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from rollout.gates import evaluate
from rollout.model import Evidence, Verdict
from tests.support.gates import BASELINE, Gate, count, piece, rate, samples, series
from tests.support.tiers import examples

OPS = st.sampled_from(["<", "<=", ">", ">=", "=="])
NUMBERS = st.floats(0, 1000, allow_nan=False)
LABELS = st.sampled_from(
    [{}, {"host": "one"}, {"host": "two"}, BASELINE, {"role": "canary"}, {"window": "60"}]
)

BADNESS = {Verdict.PASS: 0, Verdict.INCONCLUSIVE: 1, Verdict.FAIL: 2}


@st.composite
def gates(draw: Any) -> Gate:
    return Gate(
        op=draw(OPS),
        threshold=draw(st.one_of(st.sampled_from([0.0, 0.5, 0.99, 1.25, 100.0]), NUMBERS)),
        percentile=draw(st.sampled_from([5.0, 50.0, 95.0, 99.9])),
        min_samples=draw(st.integers(1, 30)),
        confidence=draw(st.sampled_from([0.6, 0.95, 0.999])),
        window=draw(st.sampled_from([None, None, 60.0, 3600.0])),
        compare=draw(st.sampled_from(["threshold", "threshold", "baseline"])),
    )


@st.composite
def evidence(draw: Any) -> Evidence:
    n = draw(st.integers(0, 40))
    fields: dict[str, Any] = {"labels": draw(LABELS), "id": draw(st.sampled_from("abcdef"))}
    start = draw(st.sampled_from([0.0, 3000.0, 3540.0]))
    fields["at"] = (start, 3600.0)
    kind = draw(st.sampled_from(["count", "rate", "ratio", "gauge", "samples", "series"]))
    values = draw(st.lists(NUMBERS, min_size=n, max_size=n))
    if kind in ("rate", "ratio"):
        return piece(kind, n, successes=draw(st.integers(0, n)), **fields)
    if kind == "samples":
        return samples(*values, **fields)
    if kind == "series":
        return series(values, **fields)
    return piece(kind, n, value=draw(NUMBERS), **fields)


@given(gates(), st.lists(evidence(), max_size=5), st.sampled_from([None, 3600.0, 3700.0, 90_000.0, 0.0]))
@settings(max_examples=examples(300))
def test_every_evidence_gets_a_verdict_and_what_was_not_observed_never_passes(
    gate: Gate, pieces: list[Evidence], now: float | None
) -> None:
    result = evaluate(gate, pieces, now)
    if sum(item.n for item in pieces if item.labels.get("role") != "baseline") == 0:
        assert result.verdict is not Verdict.PASS
    if len({item.kind for item in pieces}) > 1 and gate.window is None and gate.compare == "threshold":
        judged = {item.kind for item in pieces if not {"role", "window"} & set(item.labels)}
        assert len(judged) < 2 or result.verdict is Verdict.ERROR


@given(gates(), st.lists(evidence(), max_size=5), st.randoms(use_true_random=False))
@settings(max_examples=examples(200))
def test_the_order_of_the_evidence_does_not_matter(
    gate: Gate, pieces: list[Evidence], chance: random.Random
) -> None:
    shuffled = list(pieces)
    chance.shuffle(shuffled)
    one, other = evaluate(gate, pieces, 3600.0), evaluate(gate, shuffled, 3600.0)
    assert (one.verdict, one.n) == (other.verdict, other.n)
    assert sorted(one.evidence) == sorted(other.evidence)


@given(
    st.integers(1, 2000),
    st.data(),
    st.sampled_from([0.5, 0.9, 0.99]),
    st.sampled_from([None, (1000, 995), (1000, 900)]),
)
@settings(max_examples=examples(200))
def test_more_failures_never_make_a_verdict_better(
    n: int, data: Any, threshold: float, base: tuple[int, int] | None
) -> None:
    fewer = data.draw(st.integers(0, n))
    more = data.draw(st.integers(fewer, n))
    if base is None:
        gate, rest = Gate(op=">", threshold=threshold), []
    else:
        gate, rest = Gate(threshold=1.25, compare="baseline"), [rate(base[1], base[0], labels=BASELINE)]
    good, bad = (evaluate(gate, [rate(n - failed, n), *rest]) for failed in (fewer, more))
    assert BADNESS[good.verdict] <= BADNESS[bad.verdict]


@given(st.lists(NUMBERS, min_size=1, max_size=150), st.data(), st.booleans())
@settings(max_examples=examples(150))
def test_slower_samples_never_make_a_verdict_better(values: list[float], data: Any, compare: bool) -> None:
    index = data.draw(st.integers(0, len(values) - 1))
    slower = [*values[:index], values[index] + data.draw(NUMBERS), *values[index + 1 :]]
    gate = Gate(threshold=1.25, compare="baseline") if compare else Gate(threshold=300)
    base = [samples(*(float(number) for number in range(100)), labels=BASELINE)] if compare else []
    one, other = (evaluate(gate, [samples(*side), *base]) for side in (values, slower))
    assert BADNESS[one.verdict] <= BADNESS[other.verdict]


@given(st.integers(0, 5), st.integers(0, 5), st.integers(0, 50), st.integers(1, 60))
def test_more_of_what_must_not_be_never_makes_a_verdict_better(a: int, b: int, n: int, least: int) -> None:
    gate = Gate(op="==", threshold=0, min_samples=least)
    fewer, more = sorted((a, b))
    one, other = (evaluate(gate, [count(value, n)]) for value in (fewer, more))
    assert BADNESS[one.verdict] <= BADNESS[other.verdict]
