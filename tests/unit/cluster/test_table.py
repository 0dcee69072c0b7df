"""What follows from what has been heard of other hosts, and from what has not."""

from __future__ import annotations

import random

import pytest
from terminals.cluster.news import News
from terminals.cluster.table import MISSED, Standing, Table

INTERVAL = 2.0
FRESH = (MISSED + 1) * INTERVAL
LOST = 60.0


def table(*tags: str) -> Table:
    return Table(tags or ("bbbb",), interval=INTERVAL)


def news(tag: str = "bbbb", **fields: object) -> News:
    return News(name=tag, tag=tag, instance=f"i-{tag}", **fields)


def silent(known: Table, tag: str, since: float, until: float) -> float:
    """Ask a host in vain from one time to another; gives the time of the last attempt."""
    now = since
    while now <= until:
        known.unheard(now, tag)
        now += INTERVAL
    return now - INTERVAL


def test_a_host_is_untried_then_there_then_silent_then_lost():
    known = table()
    assert (known.standing(0, "bbbb"), known.complete) == (Standing.UNTRIED, False)
    known.heard(1, news())
    assert (known.standing(1 + FRESH, "bbbb"), known.complete) == (Standing.THERE, True)
    last = silent(known, "bbbb", 3, 1 + FRESH + 1)
    assert known.standing(last + 1, "bbbb") is Standing.SILENT
    last = silent(known, "bbbb", last + INTERVAL, 1 + LOST - 1)
    assert known.standing(last, "bbbb") is Standing.SILENT
    last = silent(known, "bbbb", last + INTERVAL, 1 + LOST + 1)
    assert known.standing(last, "bbbb") is Standing.LOST
    assert known.silent_since("bbbb") == 1
    known.heard(last + 1, news())
    assert known.standing(last + 1, "bbbb") is Standing.THERE


def test_one_that_was_never_heard_is_silent_since_it_was_asked_first():
    known = table()
    last = silent(known, "bbbb", 10, 12)
    assert (known.standing(last, "bbbb"), known.complete) == (Standing.SILENT, True)
    last = silent(known, "bbbb", last + INTERVAL, 10 + LOST + 1)
    assert known.standing(last, "bbbb") is Standing.LOST


def test_who_does_not_ask_knows_of_nobody_that_it_is_lost():
    """As where this process stood still, or its asker cannot be started."""
    known = table()
    known.heard(0, news())
    assert known.standing(10 * LOST, "bbbb") is Standing.THERE
    known.unheard(10 * LOST, "bbbb")
    assert known.standing(10 * LOST, "bbbb") is Standing.SILENT
    last = silent(known, "bbbb", 10 * LOST, 12 * LOST)
    assert known.standing(last + 2 * FRESH, "bbbb") is Standing.SILENT
    known.heard(20 * LOST, news())
    assert known.standing(30 * LOST, "bbbb") is Standing.THERE


def test_a_host_that_another_hears_is_there():
    known = table("bbbb", "cccc")
    known.heard(0, news("bbbb"))
    now = 2.0
    while now < 3 * LOST:
        known.unheard(now, "bbbb")
        known.heard(now, news("cccc", heard={"bbbb": 1.5}))
        assert known.standing(now, "bbbb") is Standing.THERE
        now += INTERVAL
    # The other has not heard it for as long: neither has anybody.
    while now < 5 * LOST:
        known.unheard(now, "bbbb")
        known.heard(now, news("cccc", heard={"bbbb": now - 3 * LOST}))
        now += INTERVAL
    assert known.standing(now, "bbbb") is Standing.LOST


def test_what_is_heard_by_others_is_not_passed_on():
    """Two that told each other what they have from each other would keep a dead host alive."""
    known = table("bbbb", "cccc")
    known.heard(100, news("cccc", heard={"bbbb": 1.0}))
    assert known.ages(101) == {"cccc": 1}


def test_who_hears_none_of_several_is_cut_off_itself():
    known = table("bbbb", "cccc")
    for tag in ("bbbb", "cccc"):
        known.heard(0, news(tag))
        last = silent(known, tag, 2, 3 * LOST)
    assert {known.standing(last, tag) for tag in ("bbbb", "cccc")} == {Standing.SILENT}
    known.heard(last, news("cccc"))
    assert known.standing(last, "bbbb") is Standing.LOST


@pytest.mark.parametrize("ago", [-1.0, -1e9])
def test_nobody_was_heard_in_the_future(ago):
    known = table("bbbb", "cccc")
    known.heard(5, news("cccc", heard={"bbbb": ago, "zzzz": 1.0}))
    assert known.standing(5, "bbbb") is Standing.UNTRIED
    known.heard(5, news("zzzz"))  # nobody that is known


def test_a_session_whose_id_is_older_than_tags_is_found_by_who_says_to_have_it():
    known = table("bbbb", "cccc")
    assert known.home_of("session_1") is None
    known.heard(0, news("cccc", strays=["session_1"]))
    assert (known.home_of("session_1"), known.home_of("session_2")) == ("cccc", None)


@pytest.mark.parametrize("seed", range(20))
def test_a_host_that_answers_anybody_within_the_limit_is_never_lost(seed):
    """Links between three hosts come and go; nobody is cut off from all others for as long as the limit."""
    drawn = random.Random(seed)
    tables = {
        own: Table([tag for tag in "abc" if tag != own], interval=INTERVAL, lost_after=LOST) for own in "abc"
    }
    cut: dict[frozenset[str], float] = {}
    now, last_word = 0.0, dict.fromkeys("abc", 0.0)
    while now < 40 * LOST:
        now += INTERVAL
        for pair in (frozenset("ab"), frozenset("bc"), frozenset("ac")):
            if now >= cut.get(pair, 0.0) and drawn.random() < 0.1:
                cut[pair] = now + drawn.uniform(0, LOST * 0.9)
        for own, known in tables.items():
            for tag in sorted(set("abc") - {own}):
                if now < cut.get(frozenset((own, tag)), 0.0):
                    known.unheard(now, tag)
                else:
                    last_word[tag] = now
                    known.heard(now, news(tag, heard=tables[tag].ages(now)))
            for tag in set("abc") - {own}:
                if known.standing(now, tag) is Standing.LOST:
                    assert now - last_word[tag] >= LOST - INTERVAL
