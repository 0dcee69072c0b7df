"""What differences of clocks say: suspended, late, set; and what a restart leaves unknown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from terminals.monitor.clock import Clock, Gap, allowed, between, next_due, since_last

from tests.support.monitor import reading

DAY = 86400.0


def test_real_clocks_agree_with_themselves():
    clock = Clock()
    before = clock.read()
    assert between(before, clock.read(), allowed(1.0)) is None
    assert before.boottime >= before.monotonic - 0.1


@pytest.mark.parametrize(
    ("after", "gap"),
    [
        (reading(1), None),
        (reading(30), None),  # half an interval: no check was missed
        (reading(600), Gap(600, "late")),
        (reading(600, asleep=599), Gap(600, "suspended")),
        (reading(1, wall=DAY), Gap(0, "clock", DAY)),
        (reading(1, wall=-DAY), Gap(0, "clock", -DAY)),
        (reading(1, wall=1.5), None),  # corrected, not set
        (reading(600, wall=-DAY, asleep=599), Gap(600, "suspended", -DAY)),
        (reading(600, asleep=10), Gap(600, "late")),
    ],
)
def test_gap_is_what_boottime_says_whatever_the_wall_clock_does(after, gap):
    assert between(reading(0), after, allowed(60)) == gap


def test_setting_the_clock_back_by_as_much_as_was_slept_hides_nothing():
    assert between(reading(0), reading(600, wall=-600, asleep=600), 30) == Gap(600, "suspended", -600)


def test_restart_is_a_gap_since_the_last_record():
    last = reading(100)
    assert since_last(last.wall, 100, last.boot, reading(160)) == Gap(60, "restarted")
    assert since_last(last.wall, 100, last.boot, reading(160, wall=DAY)) == Gap(60, "restarted", DAY)
    # Another boot: only the wall clock knows, and not less than this boot has lasted.
    later = reading(40, wall=1000, boot="b1")
    assert since_last(last.wall, 100, last.boot, later) == Gap(940, "restarted")
    wrong = reading(40, wall=-DAY, boot="b1")
    assert since_last(last.wall, 100, last.boot, wrong).seconds == 40


@given(
    st.floats(0.2, 3600),
    st.floats(0, 1e6),
    st.lists(st.floats(0, 10), max_size=30),
)
def test_grid_does_not_drift(interval, origin, rounds):
    """However long rounds take, in intervals, each is due on the grid, after now, by one interval at most."""
    now = origin
    for taken in rounds:
        now += taken * interval
        due = next_due(origin, interval, now)
        assert now < due <= now + interval * (1 + 1e-6) + 1e-6
        assert abs((due - origin) / interval - round((due - origin) / interval)) < 1e-3
        now = due
