"""What a viewer says of a ring, in which order."""

from __future__ import annotations

import asyncio
import os

import pytest
from terminals.manager.ring import Ring, Word
from terminals.worker.viewer import Viewer


class Shown:
    """A viewer of a ring, and all that it has said."""

    def __init__(self, ring: Ring, *, start: int = 0, watches: bool = True) -> None:
        self.said: list[object] = []
        self.takes = True
        self.viewer = Viewer(
            handle=1,
            start=start,
            input_base=0,
            fds=[ring.share(), os.eventfd(0, os.EFD_NONBLOCK)],
            channel=4,
            outlet=self,
            size=(80, 24) if watches else None,
        )

    def writable(self) -> bool:
        return self.takes

    def output(self, channel: int, seq: int, data: bytes) -> None:
        self._say(channel, (seq, data))

    def input_ack(self, channel: int, seq: int, *, alone: bool) -> None:
        self._say(channel, ("ack", seq, "alone" if alone else "and more"))

    def snapshot(self, channel: int, seq: int, screen: bytes) -> None:
        self._say(channel, ("screen", seq, screen))

    def exit(self, channel: int, status: int) -> None:
        self._say(channel, ("exit", status))

    def resized(self, channel: int, cols: int, rows: int) -> None:
        self._say(channel, (cols, rows))

    def overrun(self, viewer: Viewer) -> None:
        assert viewer is self.viewer
        self.said.append("overrun")

    def _say(self, channel: int, what: object) -> None:
        assert channel == 4
        self.said.append(what)


@pytest.fixture
def ring(tmp_path):
    ring = Ring.create(tmp_path / "a.ring", 1 << 16)
    yield ring
    ring.close()


def resized(ring: Ring, cols: int, rows: int) -> None:
    ring.words[Word.SIZE_AT] = ring.head
    ring.words[Word.SIZE] = cols << 32 | rows


def test_another_size_comes_between_the_output_of_before_and_after(ring):
    async def play() -> None:
        shown = Shown(ring)
        ring.append(b"before")
        resized(ring, 100, 30)
        ring.append(b"after")
        shown.viewer.pump()
        assert shown.said == [(0, b"before"), (100, 30), (6, b"after")]
        shown.viewer.close()

    asyncio.run(play())


def test_a_watcher_that_was_overtaken_is_told_the_size_before_the_screen(ring):
    """The screen is of the new size: painted into the old one its lines would wrap."""

    async def play() -> None:
        shown = Shown(ring)
        ring.append(b"seen")
        shown.viewer.pump()
        ring.append(b"x" * 40_000)
        resized(ring, 100, 30)
        for _ in range(2):
            ring.append(b"y" * 40_000)
        shown.viewer.pump()
        assert shown.said == [(0, b"seen"), "overrun"]
        shown.said.clear()
        shown.viewer.jump(ring.head, b"painted")
        assert shown.said == [(100, 30), ("screen", ring.head, b"painted")]
        shown.viewer.close()

    asyncio.run(play())


def test_an_acknowledgement_goes_along_with_the_output_that_follows(ring):
    async def play() -> None:
        shown = Shown(ring, watches=False)
        ring.words[Word.INPUT_HANDLE] = 1
        ring.words[Word.INPUT_WRITTEN] = 1
        shown.viewer.pump()
        ring.words[Word.INPUT_WRITTEN] = 2
        ring.append(b"k")
        shown.viewer.pump()
        shown.takes = False
        ring.words[Word.INPUT_WRITTEN] = 3
        ring.append(b"l")
        shown.viewer.pump()
        ring.words[Word.INPUT_HANDLE] = 2  # somebody else types now
        ring.words[Word.INPUT_WRITTEN] = 4
        shown.viewer.pump()
        assert shown.said == [("ack", 1, "alone"), ("ack", 2, "and more"), (0, b"k"), ("ack", 3, "alone")]
        shown.viewer.close()

    asyncio.run(play())


def test_the_end_comes_after_the_last_byte(ring):
    async def play() -> None:
        shown = Shown(ring, watches=False)
        ring.append(b"bye")
        ring.end(-9)
        shown.takes = False
        shown.viewer.pump()
        assert shown.said == []
        shown.takes = True
        shown.viewer.pump()
        shown.viewer.pump()
        assert shown.said == [(0, b"bye"), ("exit", -9)]
        shown.viewer.close()

    asyncio.run(play())
