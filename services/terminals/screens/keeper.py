"""The process that keeps screens: reads rings, feeds emulators, answers with snapshots.

Started by the session manager (see :mod:`terminals.manager.screens`) when the first session is
about to overwrite output that somebody may still come back for. What shells print is fed to
a parser here, so it runs with as few rights as it can: read-only rings, and nobody's account
where the manager is root.
What is said between the two is in :mod:`terminals.screens.packets`.
"""

from __future__ import annotations

import collections
import contextlib
import os
import select
import signal
import socket
import sys
import time
from dataclasses import dataclass, field
from typing import Final

from terminals.control import framing
from terminals.control.descriptors import memory_file
from terminals.manager.ring import RingReader, Word
from terminals.rights import give_up_rights
from terminals.screens.emulator import Emulator, ScreenTooLarge
from terminals.screens.packets import (
    Advance,
    Follow,
    Forget,
    FromKeeper,
    Kept,
    Lost,
    Painted,
    Resize,
    Snapshot,
    ToKeeper,
    Unpaintable,
    read_by_keeper,
)

MOST: Final = 1 << 12
LEAST: Final = 1 << 8
"""Bytes that a screen is fed at once: few where they are work, as clearing a huge screen is."""
PIECE_SECONDS: Final = 0.005
SLICE_SECONDS: Final = 0.02
"""So long one screen is worked on while others wait for theirs."""
TELL_SECONDS: Final = 1.0
"""The manager is told how far a screen has come that takes longer: the shell has room by that, and whoever
works is not taken for stuck."""


class Screen:
    """One session: its ring, its emulator, and how far that has come."""

    def __init__(self, fd: int, cols: int, rows: int, start: int) -> None:
        self._ring = RingReader(fd)
        self._emulator = Emulator(cols, rows)
        self._sizes: collections.deque[tuple[int, int, int]] = collections.deque()
        self._piece = LEAST
        self.offset = start

    @property
    def head(self) -> int:
        """The offset of what the shell has printed last."""
        return self._ring.words[Word.HEAD]

    def resize(self, at: int, cols: int, rows: int) -> None:
        """The terminal has this size from output offset ``at`` on."""
        self._sizes.append((at, cols, rows))

    def advance(self, until: int, seconds: float) -> None:
        """Take what is in the ring before ``until``, or as much of it as can be taken in that time."""
        end = time.monotonic() + seconds
        while self.offset < until and (began := time.monotonic()) < end:
            self._apply_sizes()
            change = self._sizes[0][0] if self._sizes else until
            data = self._ring.copy(self.offset, min(self._piece, change - self.offset, until - self.offset))
            if data is None:
                # Somebody is attached and the shell is quick: between here and there only the
                # client has seen it. A screen is made of what comes last, so go on from there.
                self._emulator.interrupted()
                self.offset = self._ring.words[Word.TAIL]
                continue
            self._emulator.feed(data)
            self.offset += len(data)
            took = time.monotonic() - began
            if took > PIECE_SECONDS:
                self._piece = max(LEAST, self._piece // 4)
            elif took < PIECE_SECONDS / 4:
                self._piece = min(MOST, self._piece * 2)
        self._apply_sizes()

    def snapshot(self, most: int) -> bytes:
        """See :meth:`Emulator.snapshot`; the state at :attr:`offset`.

        Raises:
            ScreenTooLarge: as there.
        """
        return self._emulator.snapshot(most)

    def close(self) -> None:
        """Give the memory back."""
        self._ring.close()
        self._emulator.close()

    def _apply_sizes(self) -> None:
        while self._sizes and self._sizes[0][0] <= self.offset:
            _, cols, rows = self._sizes.popleft()
            self._emulator.resize(cols, rows)


@dataclass(slots=True)
class Work:
    """What is asked for of one screen. ``told``: when the manager has last heard of it, monotonic seconds."""

    told: float
    until: int | None = None
    """``Kept`` is to be said then."""
    snapshots: list[tuple[int, Snapshot]] = field(default_factory=list)
    """Each to be answered when its offset has been reached."""

    @property
    def end(self) -> int:
        """The offset that it is over with."""
        return max(self.until or 0, *(offset for offset, _ in self.snapshots), 0)


class Keeper:
    """Answers one session manager. Each screen that is asked for has its turn, so that one which is much
    work keeps nobody else waiting."""

    def __init__(self, manager: socket.socket) -> None:
        self._manager = manager
        self._screens: dict[str, Screen] = {}
        self._work: collections.OrderedDict[str, Work] = collections.OrderedDict()

    def run(self) -> None:
        """Serve until the manager closes its end."""
        while True:
            if self._work and not select.select([self._manager], [], [], 0)[0]:
                self._go_on()
                continue
            data, fds = framing.receive(self._manager)
            if not data:
                return
            try:
                self._handle(read_by_keeper(data), fds)
            finally:
                for fd in fds:
                    os.close(fd)

    def _handle(self, packet: ToKeeper, fds: list[int]) -> None:
        screen = self._screens.get(packet.key)
        match packet:
            case Follow(key=key, cols=cols, rows=rows, start=start):
                self._forget(key)
                # Out of descriptors, there is no screen of this session, and the others are kept.
                with contextlib.suppress(IndexError, OSError):
                    self._screens[key] = Screen(fds.pop(), cols, rows, start)
            case Forget(key=key):
                self._forget(key)
            case Resize(at=at, cols=cols, rows=rows):
                if screen is not None:
                    screen.resize(at, cols, rows)
            case Advance(key=key):
                if screen is None:
                    self._lose(Lost(key=key))
                else:
                    self._work_of(key).until = screen.head
            case Snapshot(key=key):
                if screen is None:
                    self._lose(Lost(key=key, request=packet.request))
                else:
                    self._work_of(key).snapshots.append((screen.head, packet))

    def _work_of(self, key: str) -> Work:
        return self._work.setdefault(key, Work(time.monotonic()))

    def _go_on(self) -> None:
        """Work for a moment on the screen whose turn it is, and answer what can be answered by that."""
        key, work = self._work.popitem(last=False)
        screen = self._screens[key]
        screen.advance(work.end, SLICE_SECONDS)
        now = time.monotonic()
        done = work.until is not None and screen.offset >= work.until
        if done or (work.until is not None and now - work.told >= TELL_SECONDS):
            self._send(Kept(key=key, offset=screen.offset))
            work.told = now
        if done:
            work.until = None
        for asked in [asked for offset, asked in work.snapshots if screen.offset >= offset]:
            self._paint(asked, screen)
        work.snapshots = [entry for entry in work.snapshots if screen.offset < entry[0]]
        if work.until is not None or work.snapshots:
            self._work[key] = work

    def _paint(self, asked: Snapshot, screen: Screen) -> None:
        try:
            data = screen.snapshot(asked.most)
            fd = memory_file("snapshot", data)
        except (OSError, ScreenTooLarge):
            self._send(Unpaintable(key=asked.key, request=asked.request))
            return
        try:
            painted = Painted(key=asked.key, request=asked.request, offset=screen.offset, length=len(data))
            self._send(painted, (fd,))
        finally:
            os.close(fd)

    def _lose(self, lost: Lost) -> None:
        """The manager waits for an answer."""
        self._send(lost)
        self._forget(lost.key)

    def _send(self, packet: FromKeeper, fds: tuple[int, ...] = ()) -> None:
        framing.send(self._manager, framing.encode(packet), fds)

    def _forget(self, key: str) -> None:
        if work := self._work.pop(key, None):
            for _, asked in work.snapshots:
                self._send(Lost(key=key, request=asked.request))
        if screen := self._screens.pop(key, None):
            screen.close()


def main(fd: int) -> None:
    """Serve the manager on the other end of socket ``fd``."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C at the manager's terminal is the manager's affair
    give_up_rights()
    with contextlib.suppress(ConnectionError):
        Keeper(socket.socket(fileno=fd)).run()


if __name__ == "__main__":
    main(int(sys.argv[1]))
