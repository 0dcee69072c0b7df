"""Numbers as people read them."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.units import count, duration, figure, growth, number, quantity, share, size


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0 %"),
        (14 / 15, "93.3 %"),
        (0.75, "75 %"),
        (1.0, "100 %"),
        (0.9996, "99.96 %"),
        (0.99999, "99.999 %"),
        (0.0004, "0.04 %"),
    ],
)
def test_a_share_never_reads_as_more_than_it_is(value, text):
    assert share(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.0853, "85 ms"),
        (12.34, "12.3 s"),
        (1800, "30 min"),
        (90, "1 min 30 s"),
        (86399, "23.9 h"),
        (86400, "24 h"),
        (36 * 3600, "36 h"),
        (-5, "-5 s"),
        (30 * 86400, "30 d"),
    ],
)
def test_durations_are_rounded_down(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"), [(12, "12 B"), (7_470_000, "7.47 MB"), (50e6, "50 MB"), (123.4e6, "123 MB")]
)
def test_bytes_are_in_powers_of_ten(value, text):
    assert size(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (5e7, "50 000 000"), (1234567, "1 234 567"), (0.25, "0.25"), (123456.5, "123 456.5")],
)
def test_numbers_have_no_exponent(value, text):
    assert number(value) == text


def test_one_is_not_many():
    assert count(1, "reading") == "1 reading"
    assert count(0, "reading") == "0 readings"
    assert count(2, "criterion", "criteria") == "2 criteria"


def test_a_quantity_is_in_the_unit_of_its_metric():
    assert quantity(2.1e7, "bytes") == "21 MB"
    assert quantity(2.4, "ms") == "2.4 ms"
    assert quantity(0.98514, "share") == "98.5 %"
    assert quantity(None, "ms") == "nothing"
    assert quantity(float("nan"), "ms") == "not a number"
    assert growth(0.7783) == "+77.83 %"
    assert growth(-0.02) == "-2 %"


def test_a_figure_has_its_unit_in_its_name():
    assert figure("time_to_promote_s", 75.274) == ("time to promote", "1 min 15 s")
    assert figure("bytes_verified", 1234567) == ("bytes verified", "1 234 567")
    assert figure("cause", "GateFailed") == ("cause", "GateFailed")


@given(st.floats(0, 1e15), st.sampled_from(["share", "ms", "bytes", "s", ""]))
def test_no_quantity_is_written_for_machines(value, unit):
    assert not re.search(r"e[+-]", quantity(value, unit))
