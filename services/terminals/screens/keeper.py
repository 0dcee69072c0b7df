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
import signal
import socket
import sys
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

CHUNK: Final = 1 << 16


class Screen:
    """One session: its ring, its emulator, and how far that has come."""

    def __init__(self, fd: int, cols: int, rows: int, start: int) -> None:
        self._ring = RingReader(fd)
        self._emulator = Emulator(cols, rows)
        self._sizes: collections.deque[tuple[int, int, int]] = collections.deque()
        self.offset = start

    def resize(self, at: int, cols: int, rows: int) -> None:
        """The terminal has this size from output offset ``at`` on."""
        self._sizes.append((at, cols, rows))

    def advance(self) -> None:
        """Take everything that is in the ring now."""
        head = self._ring.words[Word.HEAD]
        while self.offset < head:
            self._apply_sizes()
            until = self._sizes[0][0] if self._sizes else head
            data = self._ring.copy(self.offset, min(CHUNK, until - self.offset, head - self.offset))
            if data is None:
                # Somebody is attached and the shell is quick: between here and there only the
                # client has seen it. A screen is made of what comes last, so go on from there.
                self._emulator.interrupted()
                self.offset = self._ring.words[Word.TAIL]
                head = self._ring.words[Word.HEAD]
                continue
            self._emulator.feed(data)
            self.offset += len(data)
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


class Keeper:
    """Answers one session manager."""

    def __init__(self, manager: socket.socket) -> None:
        self._manager = manager
        self._screens: dict[str, Screen] = {}

    def run(self) -> None:
        """Serve until the manager closes its end."""
        while True:
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
                    screen.advance()
                    self._send(Kept(key=key, offset=screen.offset))
            case Snapshot():
                self._answer(packet, screen)

    def _answer(self, asked: Snapshot, screen: Screen | None) -> None:
        if screen is None:
            self._lose(Lost(key=asked.key, request=asked.request))
            return
        screen.advance()
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
