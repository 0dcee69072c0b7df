"""Which generation hosts are led back to, by what their managers say."""

from __future__ import annotations

from typing import Any

import pytest

from rollout.direct.choice import View, choose
from rollout.direct.mark import Mark, read_mark
from rollout.errors import Refused


def generation(
    name: str,
    build: str,
    *,
    weight: int = 0,
    workers: int = 1,
    ends: float | None = None,
    back_from: str | None = None,
) -> Any:
    state = "serving" if weight else "draining" if workers else "retired"
    return {
        "name": name,
        "build": build,
        "weight": weight,
        "workers": workers,
        "retire_at": ends,
        "way_back_from": back_from,
        "state": state,
    }


def view(*generations: Any, mark: Mark | None = None) -> View:
    return View({"fence": 1, "generations": list(generations)}, mark)


def chosen(*views: View, to: str | None = None) -> str:
    return choose({str(number): each for number, each in enumerate(views)}, to).generation


def test_the_newest_warm_one_before_the_serving_one():
    one = view(
        generation("g1", "a", ends=10.0), generation("g2", "b", ends=20.0), generation("g3", "c", weight=100)
    )
    assert chosen(one) == "g2"


def test_the_one_that_is_kept_for_it_before_one_that_was_forgotten():
    one = view(
        generation("g1", "a", ends=10.0, back_from="g4"),
        generation("g2", "bad", ends=None),
        generation("g3", "worse", ends=99.0),
        generation("g4", "c", weight=100),
    )
    assert chosen(one) == "g1"
    ended = view(generation("g1", "a", workers=0, ends=10.0), generation("g2", "b", weight=100))
    assert chosen(ended) == "g1", "it is started again"


def test_in_the_middle_of_a_shift_it_is_the_one_that_still_has_traffic():
    one = view(
        generation("g9", "a", ends=10.0), generation("g10", "b", weight=95), generation("g11", "c", weight=5)
    )
    assert chosen(one) == "g10"


def test_a_host_whose_turn_has_not_come_stays_where_the_others_go_back_to():
    reached = view(
        generation("g1", "a", ends=10.0), generation("g2", "b", weight=50), generation("g3", "c", weight=50)
    )
    waiting = view(generation("g1", "a", ends=10.0), generation("g2", "b", weight=100))
    assert chosen(reached, waiting) == "g2"


def test_a_bad_one_that_never_got_through_is_not_gone_back_to():
    one = view(
        generation("g1", "a", workers=0, ends=10.0),
        generation("g2", "bad", workers=0),
        generation("g3", "c", weight=100),
    )
    assert chosen(one) == "g1"


def test_one_that_was_taken_back_later_is_not_gone_back_to_once_both_are_cold():
    one = view(
        generation("g2", "good", workers=0, ends=90.0),
        generation("g3", "taken back", workers=0, ends=50.0),
        generation("g4", "c", weight=100),
    )
    assert chosen(one) == "g2"


def test_from_where_one_went_back_to_it_goes_further_back():
    one = view(
        generation("g1", "a", workers=0, ends=10.0),
        generation("g2", "b", weight=100),
        generation("g3", "taken back", workers=0, ends=50.0),
    )
    assert chosen(one) == "g1"


def test_the_same_build_again_is_no_earlier_build():
    one = view(
        generation("g1", "a", ends=10.0), generation("g2", "b", ends=20.0), generation("g3", "b", weight=100)
    )
    assert chosen(one) == "g1"


def test_where_the_glass_was_broken_it_goes_on_to_the_same():
    mark = Mark(1.0, "ada", "g3", "c", "g2", "b", 7)
    back = view(generation("g1", "a", ends=10.0), generation("g2", "b", weight=100), mark=mark)
    choice = choose({"one": back}, None)
    assert (choice.generation, choice.from_generation, choice.again) == ("g2", "g3", mark)
    assert chosen(back, to="a") == "g1"


def test_nothing_before_it_is_refused_and_what_there_is_is_listed():
    with pytest.raises(Refused, match=r"nothing .* before g1; the hosts know g1 \(a\)"):
        chosen(view(generation("g1", "a", weight=100)))
    with pytest.raises(Refused, match="g7 is not known there"):
        chosen(view(generation("g1", "a", weight=100)), to="g7")


def test_a_mark_is_read_back_and_a_damaged_one_is_still_a_mark():
    mark = Mark(1.5, "ada@here", "g3", "c", "g2", "b", 7)
    assert read_mark(mark.as_json()) == mark
    assert read_mark("") is None
    assert read_mark("{") is not None
