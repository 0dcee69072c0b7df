"""Durations, sizes and shares, as they are read."""

# ruff: noqa: E501 - one case a line

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.config.units import parse_duration, parse_share, parse_size
from rollout.units import duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("200ms", 0.2), ("5s", 5), ("10m", 600), ("24h", 86400), ("7d", 604800), ("1h30m", 5400), ("30min", 1800), (2.5, 2.5), (0, 0)],
)  # fmt: skip
def test_durations_are_seconds(text: object, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text", ["", "5", "5 apples", "-5s", "s", -1, float("nan"), float("inf"), None, True, [1]]
)
def test_what_is_no_duration_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="expected a duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "size"), [("50MB", 50_000_000), ("1MiB", 1 << 20), ("7.5 kB", 7500), (12, 12), ("3B", 3)]
)
def test_sizes_are_bytes(text: object, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "50", "50mb", -1, 1.5, None, True])
def test_what_is_no_size_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="expected a size"):
        parse_size(text)


@pytest.mark.parametrize(("text", "share"), [("95%", 0.95), (0.95, 0.95), (1, 1.0), ("0%", 0.0)])
def test_shares_are_between_0_and_1(text: object, share: float) -> None:
    assert parse_share(text) == pytest.approx(share)


@pytest.mark.parametrize("text", [95, "101%", "-1%", float("nan"), None, True, "95"])
def test_what_is_no_share_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="expected a share"):
        parse_share(text)


@given(st.floats(min_value=0, max_value=1e7))
def test_a_duration_as_it_is_shown_is_read_back_within_its_precision(seconds: float) -> None:
    again = parse_duration(duration(seconds).replace(" ", ""))
    assert again == pytest.approx(seconds, rel=0.1, abs=0.001)
