"""What a viewer says of a ring, in which order."""

from __future__ import annotations

import asyncio
import os

import pytest
from terminals.manager.ring import Ring, Word
from terminals.worker.viewer import Viewer


class Shown:
    """A viewer of a ring, and all that it has said."""

    def __init__(self, ring: Ring, *, start: int = 0) -> None:
        self.said: list[object] = []
        self.viewer = Viewer(
            handle=1,
            start=start,
            input_base=0,
            fds=[ring.share(), os.eventfd(0, os.EFD_NONBLOCK)],
            send_output=lambda seq, data: self.said.append((seq, data)),
            send_input_ack=lambda seq: self.said.append(("ack", seq)),
            send_exit=lambda status: self.said.append(("exit", status)),
            send_snapshot=lambda seq, data: self.said.append(("screen", seq, data)),
            send_size=lambda cols, rows: self.said.append((cols, rows)),
            size=(80, 24),
            writable=lambda: True,
            overrun=lambda: self.said.append("overrun"),
        )


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
