"""Recording with a real recorder: what is recorded, and what becomes of a session when that fails.

Time is told in rounds of the manager's housekeeping, which the tests call.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from terminals.control import packets
from terminals.manager.casts import RecordingRules
from terminals.manager.peers import Peer
from terminals.manager.recordings import Recordings
from terminals.manager.ring import Ring
from terminals.manager.session import Attachment, Session

from tests.support.casts import Cast, cast_at
from tests.unit.manager.sessions import session_of

CAPACITY = 1 << 16
EPOCH = "0123456789abcdef"
PATIENCE = 60.0


class Listening(Peer):
    """A worker that hears."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[str] = []

    def send(self, packet: Any, fds: tuple[int, ...] = ()) -> None:
        assert isinstance(packet, packets.Recording)
        self.heard.append(packet.state)


class Desk:
    """A session, and all that it takes to record it."""

    def __init__(self, folder: Path, rules: RecordingRules, name: str = EPOCH) -> None:
        self.folder = folder / "recordings"
        self.rules = rules
        self.signals: list[int] = []
        self.remembered = 0
        self.ring = Ring.create(folder / f"{name}.ring", CAPACITY)
        self.session = session_of(self.ring)
        self.session.epoch = name
        self.session.keep(None)  # nobody keeps its screen
        self.session.user = "ada"
        self.session.send_signal = lambda session, number: self.signals.append(number)
        self.worker = Listening()
        self.session.watch(Attachment(1, "c", self.worker, os.eventfd(0), 0.0, watching=True))
        self.recordings = self.manager()

    def manager(self) -> Recordings:
        """Another manager's."""
        return Recordings(self.folder, self.rules, required=True, remember=self._remember)

    def _remember(self, session: Session) -> None:
        self.remembered += 1

    @property
    def cast(self) -> Cast:
        return cast_at(self.folder / f"{self.session.epoch}.cast")

    def print(self, data: bytes) -> None:
        self.ring.append(data)
        if self.session.on_printed is not None:
            self.session.on_printed(self.session)

    async def recorded(self) -> None:
        await until(lambda: self.session.recorded == self.ring.head)

    async def lose(self) -> None:
        """End recorders until there is none for so long that it is lost."""
        for _ in range(round(self.rules.lost_seconds) + 3):
            if self.recordings.pid:
                os.kill(self.recordings.pid, signal.SIGKILL)
                await until(lambda: self.recordings.pid is None)
            self.recordings.check()

    def said(self) -> str:
        """What its terminal was told."""
        return bytes(self.ring._data[: self.ring.head]).decode(errors="replace")


async def until(condition: Callable[[], Any]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        await asyncio.sleep(0.005)


def at_a_desk(folder: Path, work: Callable[[Desk], Awaitable[None]], **rules: Any) -> None:
    async def run() -> None:
        desk = Desk(folder, RecordingRules(**rules))
        try:
            await work(desk)
        finally:
            desk.recordings.close()
            desk.session.discard()

    asyncio.run(run())


def test_a_session_from_its_first_byte_to_its_end(tmp_path):
    async def work(desk: Desk) -> None:
        desk.ring.append(b"before anybody came, ")
        desk.recordings.begin(desk.session, start=0, required=True)
        assert desk.session.recording == "on"
        desk.print(b"and after")
        await desk.recorded()
        desk.session.size = (100, 30)
        desk.recordings.resized(desk.session)
        desk.session._exit_status = 3
        desk.session.on_end = desk.recordings.ended
        desk.session._finish()
        await until(lambda: desk.recordings.casts.get(EPOCH).state == "ended")
        assert desk.cast.text == "before anybody came, and after"
        assert (desk.cast.of("r"), desk.cast.of("x")) == (["100x30"], ["3"])
        info = desk.recordings.casts.get(EPOCH)
        assert (info.user, info.profile, info.required) == ("ada", "system", True)
        assert info.bytes == (desk.folder / f"{EPOCH}.cast").stat().st_size
        assert (desk.folder / f"{EPOCH}.cast").stat().st_mode & 0o777 == 0o600
        assert desk.folder.stat().st_mode & 0o777 == 0o700

    at_a_desk(tmp_path, work)


def test_nothing_is_overwritten_that_is_not_recorded(tmp_path):
    async def work(desk: Desk) -> None:
        desk.recordings.begin(desk.session, start=0, required=True)
        desk.print(b"x")
        await desk.recorded()
        assert desk.recordings.pid is not None
        os.kill(desk.recordings.pid, signal.SIGSTOP)
        desk.print(b"y" * (CAPACITY - 100))
        assert desk.session._room() == 100
        desk.recordings.check()
        os.kill(desk.recordings.pid, signal.SIGCONT)
        await desk.recorded()
        assert desk.session._room() == CAPACITY

    at_a_desk(tmp_path, work)


def test_one_on_somebodys_wish_begins_then_and_can_be_stopped_and_gone_on_with(tmp_path):
    async def work(desk: Desk) -> None:
        recordings = desk.recordings
        desk.ring.append(b"a secret")
        recordings.wish(desk.session)
        with pytest.raises(ValueError, match="recorded already"):
            recordings.wish(desk.session)
        desk.print(b"one")
        await desk.recorded()
        recordings.stop(desk.session)
        assert desk.session.recorded is None
        with pytest.raises(ValueError, match="not recorded"):
            recordings.stop(desk.session)
        desk.print(b"another secret")
        recordings.wish(desk.session)
        desk.print(b"two")
        await desk.recorded()
        assert desk.worker.heard == ["on", "", "on"]
        assert "secret" not in desk.cast.text
        assert "recorded from now on" in desk.cast.text
        assert desk.cast.text.count("one") == 1
        assert desk.cast.text.endswith("two")
        assert len(desk.cast.of("m")) == 1

    at_a_desk(tmp_path, work)


def test_one_that_has_to_be_is_not_stopped(tmp_path):
    async def work(desk: Desk) -> None:
        desk.recordings.begin(desk.session, start=0, required=True)
        with pytest.raises(ValueError, match="as all sessions of the profile system"):
            desk.recordings.stop(desk.session)

    at_a_desk(tmp_path, work)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_recorder_that_dies_or_stands_still_is_replaced_and_nothing_is_missing(tmp_path, number):
    async def work(desk: Desk) -> None:
        desk.recordings.begin(desk.session, start=0, required=True)
        desk.print(b"one, ")
        await desk.recorded()
        first = desk.recordings.pid
        assert first is not None
        os.kill(first, number)
        desk.print(b"two, ")
        await until(lambda: desk.recordings.check() or desk.recordings.pid != first)
        await until(lambda: desk.recordings.pid is not None)
        desk.print(b"three")
        await desk.recorded()
        assert (desk.cast.text, desk.cast.of("m")) == ("one, two, three", [])
        assert desk.worker.heard == ["on"]

    at_a_desk(tmp_path, work)


@pytest.mark.parametrize("when_lost", ["refuse", "end", "notify"])
def test_when_the_recorder_is_lost(tmp_path, when_lost):
    async def work(desk: Desk) -> None:
        desk.recordings.begin(desk.session, start=0, required=True)
        desk.print(b"one")
        await desk.recorded()
        await desk.lose()
        assert desk.worker.heard == ["on", "lost"]
        assert desk.session.recorded is None
        assert "this session is not recorded any more: the recorder is gone" in desk.said()
        assert ("it is ended" in desk.said()) is (when_lost == "end")
        assert (signal.SIGHUP in desk.signals) is (when_lost == "end")
        if when_lost == "notify":
            desk.recordings.check_ready()
        else:
            with pytest.raises(OSError, match="would not be: the recorder is gone"):
                desk.recordings.check_ready()
        for _ in range(3):  # the ring is lost again and again
            desk.print(b"z" * (CAPACITY // 2))
        desk.recordings.check()
        await until(lambda: desk.session.recording == "on")
        desk.print(b"last")
        await desk.recorded()
        assert desk.cast.text.endswith("last")
        assert len(desk.cast.of("m")) == 1
        assert desk.worker.heard == ["on", "lost", "on"]
        desk.recordings.check_ready()

    at_a_desk(tmp_path, work, when_lost=when_lost, lost_seconds=3.0)


@pytest.mark.parametrize("when_lost", ["refuse", "end"])
def test_a_recording_that_has_its_limit(tmp_path, when_lost):
    async def work(desk: Desk) -> None:
        desk.recordings.begin(desk.session, start=0, required=True)
        for _ in range(8):
            desk.print(b"z" * 10_000)
            await until(lambda: desk.session.recorded in (None, desk.ring.head))
        await until(lambda: desk.session.recording == "lost")
        assert desk.recordings.casts.get(EPOCH).state == "full"
        assert desk.recordings.kept(desk.session) is None
        assert (signal.SIGHUP in desk.signals) is (when_lost == "end")
        desk.recordings.check()
        assert desk.worker.heard == ["on", "lost"]
        assert (desk.folder / f"{EPOCH}.cast").stat().st_size < 71_000
        desk.recordings.check_ready()  # it is this one's affair

    at_a_desk(tmp_path, work, when_lost=when_lost, max_recording_bytes=70_000)


def test_the_next_manager_goes_on(tmp_path):
    async def work(desk: Desk) -> None:
        desk.recordings.begin(desk.session, start=0, required=True)
        desk.print(b"one, ")
        await desk.recorded()
        kept = desk.recordings.kept(desk.session)
        assert kept is not None
        desk.recordings.close()
        desk.session.on_printed = None
        desk.ring.append(b"two, ")
        desk.recordings = desk.manager()
        desk.recordings.resume(desk.session, kept)
        desk.print(b"three")
        await desk.recorded()
        assert (desk.cast.text, desk.cast.of("m")) == ("one, two, three", [])
        await desk.recordings.start()
        assert [info.state for info in await desk.recordings.all()] == ["running"]

    at_a_desk(tmp_path, work)


def test_without_room_on_the_disk_nothing_begins(tmp_path, monkeypatch):
    async def work(desk: Desk) -> None:
        monkeypatch.setattr(os, "statvfs", lambda path: os.statvfs_result((1, 1, 1, 1, 1, 1, 1, 1, 1, 1)))
        with pytest.raises(OSError, match="the disk is full"):
            desk.recordings.check_ready()
        with pytest.raises(ValueError, match="the disk is full"):
            desk.recordings.wish(desk.session)

    at_a_desk(tmp_path, work)
