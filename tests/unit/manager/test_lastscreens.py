"""Which screens are copied to another host, in which order, and how many at a time."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

from terminals.cluster.lastscreens import ScreenCopy
from terminals.manager.lastscreens import (
    A_SECOND,
    ALIVE_SECONDS,
    ENDED_SECONDS,
    TOO_MUCH_SECONDS,
    WHAT,
    LastScreens,
)
from terminals.manager.screens import Screens, Snapshot
from terminals.manager.session import Session
from terminals.protocol.messages import MAX_LAST_SCREEN


@dataclass
class Printed:
    """What of a session is looked at."""

    id: str
    printed: int = 0
    live: bool = True
    size: tuple[int, int] = (80, 24)
    user: str = "ada"
    profile: str = "system"
    epoch: str = "e"

    @property
    def ring(self) -> SimpleNamespace:
        return SimpleNamespace(head=self.printed)


@dataclass
class World:
    """A keeper of screens, and the way to another host."""

    sessions: list[Printed]
    at: str | None = "bbbb"
    refuses: set[str] = field(default_factory=set)
    paints: bool = True
    taken: list[tuple[str, str, int]] = field(default_factory=list)
    """To which host, of which session, and up to where."""
    said: list[tuple[str, list[str]]] = field(default_factory=list)
    limits: set[int] = field(default_factory=set)
    at_once: int = 0
    most_at_once: int = 0

    def screens_at(self) -> str | None:
        return self.at

    def alive(self, to: str, sessions: Iterable[str]) -> None:
        self.said.append((to, list(sessions)))

    async def copy(self, to: str, screen: ScreenCopy, snapshot: Snapshot) -> str:
        self.at_once += 1
        self.most_at_once = max(self.at_once, self.most_at_once)
        await asyncio.sleep(0)
        self.at_once -= 1
        if screen.id in self.refuses:
            return "no room"
        self.taken.append((to, screen.id, screen.output))
        return ""

    async def snapshot(self, session: Printed, most: int) -> Snapshot | None:
        self.limits.add(most)
        if not self.paints:
            return None
        return Snapshot(session.printed, 0, os.memfd_create("screen"))


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208


Scenario = Callable[[LastScreens, Callable[[float], Any]], Coroutine[Any, Any, None]]


def play(world: World, scenario: Scenario) -> None:
    """Play with a clock of its own: ``await after(seconds)`` looks once so much later, and waits for what
    comes of it."""

    async def run() -> None:
        loop = asyncio.get_running_loop()
        began, passed = loop.time(), 0.0
        loop.time = lambda: began + passed  # type: ignore[method-assign]
        sessions = cast(Callable[[], list[Session]], lambda: [s for s in world.sessions if s.live])
        last = LastScreens(cast(Screens, world), sessions, world, interval=5)

        async def after(seconds: float) -> None:
            nonlocal passed
            passed += seconds
            last.look()
            with contextlib.suppress(ValueError):
                await asyncio.gather(*last._background.tasks)

        await scenario(last, after)

    gc.collect()  # what other tests have left to it would be closed in between
    before = open_files()
    asyncio.run(run())
    assert open_files() == before


def test_each_is_copied_again_only_when_it_has_changed_and_not_too_often():
    a, b = Printed("a", 5), Printed("b", 7)
    world = World([a, b])

    async def scenario(last: LastScreens, after: Callable[[float], Any]) -> None:
        await after(0)
        assert world.taken == [("bbbb", "a", 5), ("bbbb", "b", 7)]
        a.printed = 6
        await after(1)
        assert len(world.taken) == 2, "that is too soon"
        await after(4)
        assert world.taken[2:] == [("bbbb", "a", 6)]
        b.size = (81, 24)
        await after(5)
        assert world.taken[3:] == [("bbbb", "b", 7)]
        await after(5)
        assert len(world.taken) == 4

    play(world, scenario)
    assert world.limits == {MAX_LAST_SCREEN}


def test_of_many_so_many_a_second_and_those_that_wait_longest_first():
    world = World([Printed(f"s{number}", 1) for number in range(A_SECOND + 10)])

    async def scenario(last: LastScreens, after: Callable[[float], Any]) -> None:
        await after(0)
        assert len(world.taken) == A_SECOND
        for session in world.sessions:
            session.printed = 2
        await after(1)
        assert len(world.taken) == A_SECOND + 10
        assert {copy[1] for copy in world.taken} == {session.id for session in world.sessions}
        await after(1)
        assert len(world.taken) == A_SECOND + 10
        await after(3)
        assert len(world.taken) == 2 * A_SECOND + 10

    play(world, scenario)
    assert 1 < world.most_at_once <= 4


def test_what_is_not_taken_or_not_painted_is_tried_again_and_holds_nothing_up():
    a, b = Printed("a", 1), Printed("b", 1)
    world = World([a, b], refuses={"a"})

    async def scenario(last: LastScreens, after: Callable[[float], Any]) -> None:
        await after(0)
        assert [copy[1] for copy in world.taken] == ["b"]
        world.refuses.clear()
        await after(1)
        assert [copy[1] for copy in world.taken] == ["b"]
        await after(4)
        assert [copy[1] for copy in world.taken] == ["b", "a"]
        world.paints, a.printed = False, 2
        await after(5)
        world.paints = True
        await after(TOO_MUCH_SECONDS - 1)
        assert len(world.taken) == 2, "what was too much is likely to be so again"
        await after(1)
        assert world.taken[2:] == [("bbbb", "a", 2)]

    play(world, scenario)


def test_what_went_wrong_is_said_once_and_that_it_is_over_only_when_all_went_well(caplog):
    a, b = Printed("a", 1), Printed("b", 1)
    world = World([a, b], refuses={"a"})

    async def scenario(last: LastScreens, after: Callable[[float], Any]) -> None:
        for number in range(4):
            a.printed = b.printed = number
            await after(5)
        assert [record.getMessage() for record in caplog.records] == [f"{WHAT}: no room"]
        world.refuses.clear()
        await after(5)
        assert caplog.records[-1].getMessage() == f"{WHAT}: works again"

    with caplog.at_level("INFO", "terminals.manager"):
        play(world, scenario)


def test_another_host_gets_all_of_them_and_hears_now_and_then_which_live():
    a, b = Printed("a", 1), Printed("b", 1)
    world = World([a, b])

    async def scenario(last: LastScreens, after: Callable[[float], Any]) -> None:
        await after(0)
        assert world.said == [("bbbb", ["a", "b"])]
        await after(ALIVE_SECONDS - 1)
        assert len(world.said) == 1
        await after(1)
        assert len(world.said) == 2
        b.live = False
        await after(ENDED_SECONDS - 1)
        assert len(world.said) == 2
        await after(1)
        assert world.said[2:] == [("bbbb", ["a"])], "nothing of what has ended is to stay there"
        await after(ENDED_SECONDS)
        assert len(world.said) == 3
        world.at = None
        a.printed = 2
        await after(30)
        assert (len(world.said), len(world.taken)) == (3, 2)
        world.at = "cccc"
        await after(1)
        assert world.said[3:] == [("cccc", ["a"])]
        assert world.taken[2:] == [("cccc", "a", 2)]

    play(world, scenario)


def test_what_the_other_host_has_lost_it_gets_again_though_nothing_has_changed():
    world = World([Printed("a", 1), Printed("b", 1)])

    async def scenario(last: LastScreens, after: Callable[[float], Any]) -> None:
        await after(0)
        last.missing(["a", "nobody"])
        await after(1)
        assert world.taken[2:] == [("bbbb", "a", 1)]

    play(world, scenario)


def test_a_session_begun_anew_under_the_same_id_is_another():
    a = Printed("a", 1)
    world = World([a])

    async def scenario(last: LastScreens, after: Callable[[float], Any]) -> None:
        await after(0)
        a.epoch = "f"
        await after(5)
        assert len(world.taken) == 2

    play(world, scenario)


def test_nothing_is_copied_where_it_is_not_wanted():
    world = World([Printed("a", 1)])

    async def run() -> None:
        last = LastScreens(
            cast(Screens, world), lambda: cast(list[Session], world.sessions), world, interval=0
        )
        last.look()
        assert not last._background.tasks

    asyncio.run(run())
    assert world.said == world.taken == []
