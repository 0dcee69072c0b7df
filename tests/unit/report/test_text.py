from __future__ import annotations

import pytest

from rollout.report.text import clean, figure, quantity, share, slug, span


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
        (12.34, "12.3 s"),
        (90, "1.5 min"),
        (86399, "23.9 h"),
        (86400, "24 h"),
        (30 * 86400, "30 d"),
    ],
)
def test_durations_are_rounded_down(seconds, text):
    assert span(seconds) == text


def test_figures_have_their_units():
    assert quantity(7.47e6, "bytes") == "7.47 MB"
    assert quantity(2.4, "ms") == "2.4 ms"
    assert quantity(None, "ms") == "nothing"
    assert quantity(float("nan"), "ms") == "not a number"
    assert figure("bytes_verified", 1234567) == "1 234 567"
    assert figure("time_to_promote_s", 44.2) == "44.2 s"


def test_hidden_characters_become_visible_and_lines_one():
    assert clean("a\x1b[31mred\r\nb\u202ec\x9b2J") == "a\\x1b[31mred b\\u202ec\\x9b2J".replace(
        "\\u202e", "\\x202e"
    )
    assert slug('x" onload=y') == "x-onload-y"
