"""Where the last screens of this host's sessions go, and who is said to have those of a lost one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from terminals.cluster.lastscreens import ScreenCopy, packed
from terminals.cluster.news import Heard, Missing, News, Unheard
from terminals.manager.cluster import Cluster
from terminals.manager.homes import Homes, OtherHost, PeerRules
from terminals.protocol.ids import new_session_id

LOST = 8.0


class World:
    """One host, bbbb, of four that ask each other, with a clock of its own."""

    def __init__(self, folder: Path, *, screens: float = 5.0) -> None:
        others = {
            name: OtherHost(name * 4, {"system": f"wss://{name}.example/"}, f"https://{name}:1", name)
            for name in "acd"
        }
        rules = PeerRules("", 0, name="b", interval=1.0, lost_seconds=LOST, screens=screens)
        self.loop = asyncio.get_running_loop()
        self.now = self.loop.time()
        self.loop.time = lambda: self.now  # type: ignore[method-assign]
        self.cluster = Cluster(Homes("bbbb", others, rules), folder, folder / "manager.sock")

    def round(self, there: str, *, keeps: dict[str, list[str]] | None = None, screens_at: str = "") -> None:
        """A second passes, in which these hosts answer; they keep screens of those."""
        self.now += 1
        for name in "acd":
            if name in there:
                of = (keeps or {}).get(name, [])
                news = News(name=name, tag=name * 4, instance=name, screens_of=of, screens_at=screens_at)
                self.cluster._told(Heard(news=news), [])
            else:
                self.cluster._told(Unheard(tag=name * 4, reason="no answer"), [])


def play(folder: Path, scenario: Callable[[World], None], **options: float) -> None:
    async def run() -> None:
        scenario(World(folder, **options))

    asyncio.run(run())


def test_they_go_to_the_next_by_tag_and_stay_there_until_it_is_lost(tmp_path):
    def scenario(world: World) -> None:
        cluster = world.cluster
        assert cluster.screens_at() is None, "nobody was asked yet"
        cluster._told(Heard(news=News(name="d", tag="dddd", instance="d")), [])
        assert cluster.screens_at() is None, "the first to answer is not the first in order"
        world.round("ad")
        assert cluster.screens_at() is None, "the next may only be slow"
        world.round("acd")
        assert cluster.screens_at() == "cccc"
        for _ in range(int(LOST) - 1):
            world.round("ad")
            assert cluster.screens_at() == "cccc", "silent is not lost"
        for _ in range(4):
            world.round("ad")
        assert cluster.screens_at() == "dddd"
        world.round("acd")
        assert cluster.screens_at() == "dddd", "they need not move because one is back"
        for _ in range(12):
            world.round("a")
        assert cluster.screens_at() == "aaaa", "round the end"

    play(tmp_path, scenario)


def test_nowhere_where_that_is_not_wanted(tmp_path):
    def scenario(world: World) -> None:
        world.round("acd")
        assert world.cluster.screens_at() == ""

    play(tmp_path, scenario, screens=0.0)


def test_who_asks_for_one_of_a_lost_host_is_sent_to_one_that_says_that_it_has_them(tmp_path):
    def scenario(world: World) -> None:
        cluster = world.cluster

        def keeper() -> str:
            return found.name if (found := cluster.keeper_of("aaaa")) else ""

        world.round("acd", screens_at="cccc")
        assert keeper() == ""
        world.round("cd", keeps={"d": ["aaaa"]})
        assert keeper() == "d"
        world.round("cd", keeps={"c": ["aaaa"], "d": ["aaaa"]})
        assert keeper() == "c", "it was to have them"
        for _ in range(6):
            world.round("d", keeps={"d": ["aaaa"]})
        assert keeper() == "d", "the other is silent now"
        session = new_session_id("aaaa").value
        screen = ScreenCopy(
            id=session, user="", profile="system", epoch="e", output=1, at=1.0, cols=80, rows=24
        )
        cluster._kept.take("aaaa", packed(screen, b"words"))
        assert keeper() == "", "who has some itself sends nobody on: that could be a circle"
        assert cluster.last_screen("aaaa", session) == (screen, b"words")

    play(tmp_path, scenario)


def test_what_is_missing_is_heard_of_the_host_that_has_them_and_of_no_other(tmp_path):
    def scenario(world: World) -> None:
        missing: list[str] = []
        world.cluster.on_missing = missing.extend
        world.round("acd")
        assert world.cluster.screens_at() == "cccc"
        world.cluster._told(Missing(of="dddd", sessions=["x"]), [])
        world.cluster._told(Missing(of="cccc", sessions=["y"]), [])
        assert missing == ["y"]

    play(tmp_path, scenario)
