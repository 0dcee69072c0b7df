from __future__ import annotations

from rollout.report.text import clean, figure, slug


def test_figures_have_their_units():
    assert figure("bytes_verified", 1234567) == "1 234 567"
    assert figure("time_to_promote_s", 44.2) == "44.2 s"


def test_hidden_characters_become_visible_and_lines_one():
    assert clean("a\x1b[31mred\r\nb\u202ec\x9b2J") == "a\\x1b[31mred b\\u202ec\\x9b2J".replace(
        "\\u202e", "\\x202e"
    )
    assert slug('x" onload=y') == "x-onload-y"
