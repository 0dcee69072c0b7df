"""Looking often does not make a bad build pass."""

from __future__ import annotations

import pytest

from rollout.gates import END, Watch, checkpoints
from tests.support.gates import Gate

GATE = Gate()


def test_a_step_may_pass_at_its_hold_and_the_doublings_of_it_and_the_limit() -> None:
    assert checkpoints(30, 600) == (30, 60, 120, 240, 480, 600)
    assert checkpoints(60, 60) == (60,)
    assert checkpoints(60, 30) == (60,)
    assert checkpoints(0, 90) == (0, 10, 20, 40, 80, 90)


@pytest.mark.parametrize(("hold", "limit"), [(30, 600), (60, 60), (0, 90), (1, 20), (0, 0)])
@pytest.mark.parametrize("poll", [1.0, 0.7])
@pytest.mark.parametrize("steps", [1, 4])
def test_the_shares_of_all_looks_add_up_to_one(hold: float, limit: float, poll: float, steps: int) -> None:
    passing, failing = 0.0, END.failing
    for step in range(steps):
        watch = Watch(hold, limit, steps=steps, last=step == steps - 1, poll=poll)
        elapsed, own = 0.0, 0.0
        while True:
            watch.tick(elapsed)
            look = watch.look(GATE)
            own += look.passing
            failing += look.failing
            if elapsed >= watch.limit:
                break
            elapsed += poll
        passing = own
    assert passing == pytest.approx(1.0)
    assert failing <= 1.0 + 1e-9


def test_between_two_checkpoints_nothing_passes_at_the_step_that_decides() -> None:
    watch = Watch(30, 600)
    given = []
    for elapsed in range(601):
        watch.tick(elapsed)
        if watch.look(GATE).passing:
            given.append(elapsed)
    assert given == [30, 60, 120, 240, 480, 600]


def test_a_checkpoint_that_was_slept_through_is_made_up_for_once() -> None:
    watch = Watch(30, 600)
    watch.tick(29)
    assert watch.look(GATE).passing == 0
    watch.tick(130)
    assert watch.look(GATE).passing > 0
    watch.tick(131)
    assert watch.look(GATE).passing == 0


def test_steps_before_the_last_pass_at_any_second_unless_they_are_the_last_comparison() -> None:
    watch = Watch(30, 600, last=False)
    watch.tick(31)
    assert watch.look(GATE).passing == 1.0
    watch = Watch(30, 600, last=False)
    watch.tick(29)
    assert watch.look(Gate(compare="baseline")).passing == 0
