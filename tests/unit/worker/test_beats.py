"""Heartbeats of many on one timer. The loop's clock is one of the test's own."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable
from typing import Any

import pytest
import uvloop
from terminals.worker.beats import GRAINS, Beats


class Loop:
    """As much of an event loop as there has to be."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.timers: list[Timer] = []

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, call: Callable[[], None]) -> Timer:
        self.timers.append(timer := Timer(self, when, call))
        return timer

    def until(self, end: float) -> None:
        while (
            due := min((timer for timer in self.timers), key=Timer.when, default=None)
        ) and due.when() <= end:
            self.now = max(self.now, due.when())
            self.timers.remove(due)
            due.call()
        self.now = end


class Timer:
    def __init__(self, loop: Loop, when: float, call: Callable[[], None]) -> None:
        self._loop, self._when, self.call = loop, when, call

    def when(self) -> float:
        return self._when

    def cancel(self) -> None:
        self._loop.timers.remove(self)


class Member:
    """Beats again and again, and knows when it did."""

    def __init__(self, loop: Loop, beats: Beats, interval: float) -> None:
        self.loop, self.beats, self.interval = loop, beats, interval
        self.began = loop.now
        self.times: list[float] = []
        self.at = beats.add(self, interval)

    def beat(self) -> None:
        self.times.append(self.loop.now)
        self.at = self.beats.add(self, self.interval)

    def leave(self) -> None:
        self.beats.discard(self, self.at)


def played(monkeypatch) -> tuple[Loop, Beats]:
    loop = Loop()
    monkeypatch.setattr(asyncio, "get_running_loop", lambda: loop)
    return loop, Beats()


def test_each_beats_in_its_interval_and_late_by_a_grain_at_the_most(monkeypatch):
    loop, beats = played(monkeypatch)
    draw = random.Random(7)
    members = []
    for _ in range(300):
        loop.until(loop.now + draw.uniform(0, 0.2))
        members.append(Member(loop, beats, 15.0))
    loop.until(loop.now + 150)
    for member in members:
        gaps = [b - a for a, b in zip([member.began, *member.times], member.times, strict=False)]
        assert len(gaps) >= 9
        assert all(15.0 <= gap <= 15.0 * (1 + 1 / GRAINS) + 1e-6 for gap in gaps)
    assert len(loop.timers) == 1


def test_one_alone_wakes_nobody_in_between(monkeypatch):
    loop, beats = played(monkeypatch)
    member = Member(loop, beats, 15.0)
    (timer,) = loop.timers
    assert timer.when() >= 1015.0
    loop.until(1100)
    assert len(member.times) == 6


def test_who_has_left_beats_no_more_and_nothing_is_left_of_him(monkeypatch):
    loop, beats = played(monkeypatch)
    stays, leaves = Member(loop, beats, 1.0), Member(loop, beats, 1.0)
    loop.until(1002.5)
    leaves.leave()
    before = len(leaves.times)
    loop.until(1010)
    assert len(leaves.times) == before
    assert len(stays.times) >= 9
    stays.leave()
    loop.until(1020)
    assert not beats._due
    assert not loop.timers


def test_another_interval_holds_from_the_next_beat_on(monkeypatch):
    loop, beats = played(monkeypatch)
    member = Member(loop, beats, 10.0)
    late = Member(loop, beats, 10.0)
    member.interval = 0.5
    loop.until(1015)
    assert len(member.times) >= 5
    assert len(late.times) == 1


def test_one_that_breaks_stops_no_other(monkeypatch):
    loop, beats = played(monkeypatch)
    members = [Member(loop, beats, 1.0) for _ in range(20)]
    broken: list[float] = []

    class Broken:
        def beat(self) -> None:
            broken.append(loop.now)
            raise RuntimeError

    for _ in range(5):  # due with the others, wherever it is among them
        beats.add(Broken(), 1.0)
    while loop.now < 1003:
        with contextlib.suppress(RuntimeError):  # which the loop tells of, and goes on
            loop.until(1003)
    assert len(broken) == 5
    assert all(len(member.times) >= 2 for member in members)


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_many_at_once_go_on_in_the_loops_that_there_are(new_loop):
    """A loop need not give a timer for what is due already: uvloop gives a handle that knows no time."""
    errors: list[dict[str, Any]] = []

    async def all_beat() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: errors.append(context))
        enough, beats, counts = loop.create_future(), Beats(), [0] * 5

        class Counted:
            def __init__(self, place: int) -> None:
                self.place = place

            def beat(self) -> None:
                counts[self.place] += 1
                beats.add(self, 0.02)
                if min(counts) >= 3 and not enough.done():
                    enough.set_result(None)

        for place in range(len(counts)):
            beats.add(Counted(place), 0.02)
        await asyncio.wait_for(enough, 60)

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(all_beat())
    assert errors == []
