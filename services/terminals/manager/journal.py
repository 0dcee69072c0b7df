"""Moving bytes between terminals, rings and clients such that a SIGKILL at any moment loses and doubles none.

A byte that has been read from a terminal is nowhere else, and whoever is killed before writing down
that it was read has lost it. So bytes pass through a pipe, which outlives this process at the
holder, and tells how many are in it. Each step moves bytes by one system call, which a SIGKILL
does not cut in the middle, and a page of shared memory says what was about to be done:

* output: terminal -> pipe (splice), pipe -> ring (read), then the ring's head;
* input: client's bytes -> pipe (write), pipe -> terminal (splice), then the client's position.

Needs ``splice(2)`` from and to terminals: Linux 5.11 and later.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import sys
import termios
from collections.abc import Mapping
from enum import IntEnum
from typing import Final

from terminals.manager.ring import Ring, slot_of

LIMIT: Final = 1 << 15
"""Bytes of one step: half of what a pipe holds by default, since pages in it may be half full."""


class _Word(IntEnum):
    """Positions in the page. Of each direction COUNT is cleared first and written last."""

    OUT_COUNT = 0
    """Bytes that the terminal gave; 0 while nothing is known to be in the pipe."""
    OUT_HEAD = 1
    """The ring's head before."""
    OUT_RING = 2
    """The number of the ring."""
    IN_COUNT = 8
    """Bytes that were put into the pipe, for the terminal."""
    IN_BASE = 9
    """The client's position before."""
    IN_SLOT = 10
    """The slot of the client in the header of the ring."""
    IN_RING = 11


class RingLost(Exception):
    """The memory or disk behind a ring is gone: nothing that its shell prints can be kept."""


class Journal:
    """The page and the two pipes. ``fds``: the page's memory file, then read and write end of each pipe."""

    def __init__(self, fds: list[int]) -> None:
        self.fds = fds
        memory, self._out, self._into_out, self._in, self._into_in = fds
        self._map = mmap.mmap(memory, mmap.PAGESIZE)
        self._words = memoryview(self._map).cast("Q")

    @classmethod
    def create(cls) -> Journal:
        """A new one.

        Raises:
            OSError: no more descriptors.
        """
        memory = os.memfd_create("journal", os.MFD_CLOEXEC)
        os.ftruncate(memory, mmap.PAGESIZE)
        pipes = [os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK) for _ in range(2)]
        return cls([memory, *pipes[0], *pipes[1]])

    def output(self, ring: Ring, terminal: int, limit: int) -> int:
        """Move up to ``limit`` bytes, reserved in the ring, from a terminal to it; returns how many.

        Raises:
            OSError: as ``read(2)`` of a terminal does (``BlockingIOError``; EIO when it has hung up).
            RingLost: the ring does not take all of them, and the rest is gone.
        """
        words, head = self._words, ring.head
        words[_Word.OUT_COUNT] = 0
        words[_Word.OUT_HEAD] = head
        words[_Word.OUT_RING] = ring.number
        count = os.splice(terminal, self._into_out, min(limit, LIMIT))
        words[_Word.OUT_COUNT] = count
        if count:
            taken = self._into(ring, count)
            ring.advance(head + taken)
            if taken < count:
                raise RingLost("its ring cannot be written: memory or disk has failed")
        return count

    def _into(self, ring: Ring, count: int) -> int:
        """Have a ring take what is in the pipe; returns how many bytes it has taken."""
        taken = 0
        with contextlib.suppress(OSError):
            taken = ring.take(self._out, count)
        if taken < count:
            # Left in the pipe, they would be the beginning of somebody else's output.
            self._words[_Word.OUT_COUNT] = 0
            _drain(self._out)
        return taken

    def input(self, ring: Ring, slot: int, base: int, terminal: int, data: bytes | bytearray) -> int:
        """Write input of the client in ``slot``, whose position is ``base``; returns how many bytes the
        terminal has taken. The slot has its position then.

        Raises:
            OSError: as ``write(2)`` to a terminal does (``BlockingIOError``).
        """
        words = self._words
        words[_Word.IN_COUNT] = 0
        words[_Word.IN_BASE] = base
        words[_Word.IN_SLOT] = slot
        words[_Word.IN_RING] = ring.number
        count = os.write(self._into_in, memoryview(data)[:LIMIT])
        words[_Word.IN_COUNT] = count
        taken = 0
        try:
            taken = os.splice(self._in, terminal, count)
        finally:
            ring.words[slot_of(slot) + 1] = base + taken
            words[_Word.IN_COUNT] = 0
            if taken < count:
                _drain(self._in)
        return taken

    def recover(self, rings: Mapping[int, Ring]) -> None:
        """Finish what an earlier manager was doing when it was killed. ``rings`` by number."""
        words = self._words
        waiting = _waiting(self._out)
        if ring := rings.get(words[_Word.OUT_RING]):
            if words[_Word.OUT_COUNT] and ring.head == words[_Word.OUT_HEAD]:
                # What is no more in the pipe had been read into its place.
                ring.advance(ring.head + words[_Word.OUT_COUNT] - waiting)
            if waiting:  # this, too, may be cut
                words[_Word.OUT_COUNT] = 0
                words[_Word.OUT_HEAD] = ring.head
                words[_Word.OUT_COUNT] = waiting
                ring.advance(ring.head + self._into(ring, waiting))
        words[_Word.OUT_COUNT] = 0
        _drain(self._out)
        ring = rings.get(words[_Word.IN_RING])
        if ring and words[_Word.IN_COUNT]:
            taken = words[_Word.IN_COUNT] - _waiting(self._in)
            ring.words[slot_of(words[_Word.IN_SLOT]) + 1] = words[_Word.IN_BASE] + taken
        words[_Word.IN_COUNT] = 0
        _drain(self._in)

    def close(self) -> None:
        """Let go of it."""
        self._words.release()
        self._map.close()
        for fd in self.fds:
            os.close(fd)


def _waiting(pipe: int) -> int:
    """Bytes in a pipe."""
    count = bytearray(4)
    fcntl.ioctl(pipe, termios.FIONREAD, count)
    return int.from_bytes(count, sys.byteorder)


def _drain(pipe: int) -> None:
    if count := _waiting(pipe):
        os.read(pipe, count)
