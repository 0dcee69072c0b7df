"""The output ring of a session, in memory shared with workers and backed by a file.

The manager writes; workers map the same file read-only. The first page is the header, an
array of unsigned 64-bit words. Each word is stored by one aligned machine store, so a
reader never sees half of one.

``tail`` is advanced before bytes are overwritten and ``head`` after bytes are written: a
reader that copies ``[a, b)`` and then still finds ``tail <= a`` has copied good bytes.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import secrets
import sys
from enum import IntEnum
from pathlib import Path
from typing import Final

HEADER_BYTES = mmap.PAGESIZE
MIN_CAPACITY = 1 << 16
FIRST_RESERVED = 1 << 16
"""What a new ring takes of the disk; most sessions never print more."""
_MAGIC = 0x54455252494E4731
_MAP_FIXED: Final = 0x10
_MAP_FAILED: Final = ctypes.c_void_p(-1).value


class Word(IntEnum):
    """Positions of the header's words."""

    MAGIC = 0
    CAPACITY = 1
    HEAD = 2
    """Count of all bytes ever written: the offset of the next one."""
    TAIL = 3
    """Offset of the oldest byte that is still held."""
    ENDED = 4
    """1 when the shell has ended and everything it printed is in the ring."""
    STATUS = 5
    """Exit status + 1000 (negative statuses are signals), valid when ENDED."""
    INPUT_HANDLE = 6
    """The attachment that INPUT_WRITTEN speaks of."""
    INPUT_WRITTEN = 7
    """Input bytes of that attachment's client that the shell's terminal has taken."""
    # From here on: what the next session manager has to know; SIZE and SIZE_AT are for workers, too.
    NUMBER = 8
    """The session's, for the journal; never 0."""
    RESERVED = 9
    """Bytes of the ring that the disk is known to hold."""
    FLOOR = 10
    """1 + the output offset that must stay in the ring; 0: none must."""
    LEFT_AT = 11
    """Monotonic microseconds at which the last client left; 0 while one is there."""
    SIZE = 12
    """Columns, and rows in the lower 32 bits, of the terminal ..."""
    SIZE_AT = 13
    """... from this output offset on."""


SLOTS: Final = 64
"""Clients whose input position is in the header. The positions of all others do not change there: each
that types is given the slot of the one that has not for longest."""
_FIRST_SLOT: Final = 64


def slot_of(index: int) -> int:
    """The word in which the slot of a client begins: its number, then its input bytes that are written."""
    return _FIRST_SLOT + 2 * index


class RingCorrupt(Exception):
    """The file is not a ring of this version."""


def _mapped(fd: int, size: int, access: int) -> mmap.mmap:
    """Map ``size`` bytes of a file, shared. ``fd`` may be closed then: a session costs no descriptor for it.

    Raises:
        OSError: as ``mmap(2)`` does.
    """
    if sys.version_info >= (3, 13):
        made = mmap.mmap(fd, size, prot=access, trackfd=False)
    else:
        # Python's own mapping of a file keeps a descriptor of it: so map the file over one of no file.
        made = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        place = ctypes.addressof(ctypes.c_char.from_buffer(made))
        if _libc_mmap(place, size, access, mmap.MAP_SHARED | _MAP_FIXED, fd, 0) == _MAP_FAILED:
            error = ctypes.get_errno()
            made.close()
            raise OSError(error, os.strerror(error))
    # Pages as they are touched, not fifteen more around each: most sessions are idle.
    made.madvise(mmap.MADV_RANDOM)
    return made


_libc_mmap = ctypes.CDLL(None, use_errno=True).mmap
_libc_mmap.restype = ctypes.c_void_p
_libc_mmap.argtypes = (
    ctypes.c_void_p,
    ctypes.c_size_t,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_long,
)


class Ring:
    """The writable ring. Offsets are counts of bytes since the shell started."""

    __slots__ = ("_data", "_map", "_path", "capacity", "words")

    def __init__(self, path: Path, fd: int) -> None:
        """Takes over ``fd`` and closes it at once."""
        self._path = os.fspath(path)  # a third of what the object would take
        try:
            size = os.fstat(fd).st_size
            if size < HEADER_BYTES + MIN_CAPACITY:
                raise RingCorrupt(f"{path}: {size} bytes are too few for a ring")
            self._map = _mapped(fd, size, mmap.PROT_READ | mmap.PROT_WRITE)
        finally:
            os.close(fd)
        view = memoryview(self._map)
        self.words = view[:HEADER_BYTES].cast("Q")
        self._data = view[HEADER_BYTES:]
        del view  # it would keep the file mapped
        self.capacity = size - HEADER_BYTES
        if self.words[Word.MAGIC] not in (0, _MAGIC) or self.words[Word.CAPACITY] not in (0, self.capacity):
            self.close()
            raise RingCorrupt(f"{path}: not a ring of this version")

    @classmethod
    def create(cls, path: Path, capacity: int) -> Ring:
        """Make a new ring file of ``capacity`` bytes (a multiple of the page size).

        Raises:
            OSError: the disk is full or the folder is missing. Blocks are reserved before they are written
                to, because a full disk would otherwise be a SIGBUS; but not all of them now.
        """
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            try:
                first = min(capacity, FIRST_RESERVED)
                os.posix_fallocate(fd, 0, HEADER_BYTES + first)
                os.ftruncate(fd, HEADER_BYTES + capacity)
            except OSError:
                os.close(fd)
                raise
            ring = cls(path, fd)
        except OSError:
            path.unlink()
            raise
        ring.words[Word.RESERVED] = first
        ring.words[Word.CAPACITY] = capacity
        ring.words[Word.NUMBER] = secrets.randbits(63) | 1
        ring.words[Word.MAGIC] = _MAGIC
        return ring

    @classmethod
    def open(cls, path: Path) -> Ring:
        """Open a ring that an earlier manager left.

        Raises:
            RingCorrupt: not a ring, or its offsets contradict each other.
        """
        ring = cls(path, os.open(path, os.O_RDWR | os.O_CLOEXEC))
        if ring.words[Word.MAGIC] != _MAGIC or not ring.tail <= ring.head <= ring.tail + ring.capacity:
            ring.close()
            raise RingCorrupt(f"{path}: its offsets contradict each other")
        return ring

    def share(self) -> int:
        """A descriptor of the file, to read only, for a process that is to follow it.

        Raises:
            OSError: no descriptor to be had, or the file is gone.
        """
        return os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)

    @property
    def head(self) -> int:
        """Offset of the next byte."""
        return self.words[Word.HEAD]

    @property
    def number(self) -> int:
        """Its own; never 0, but for a ring of an older version."""
        return self.words[Word.NUMBER]

    @property
    def tail(self) -> int:
        """Offset of the oldest byte held."""
        return self.words[Word.TAIL]

    def reserved(self, count: int) -> bool:
        """Whether the disk is known to have room for ``count`` further bytes."""
        reserved = self.words[Word.RESERVED]
        return self.words[Word.HEAD] + count <= reserved or reserved >= self.capacity

    def reserve(self, count: int) -> int:
        """How many of ``count`` further bytes may be written: the disk has room for them, now and later.

        Raises:
            OSError: it has for none.
        """
        count = min(count, self.capacity)
        if not self.reserved(count):
            end = self.words[Word.HEAD] + count
            wanted = min(self.capacity, max(2 * self.words[Word.RESERVED], end))
            try:
                fd = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
            except FileNotFoundError:  # somebody has removed it: there is nothing to reserve it by
                wanted = self.capacity
            else:
                try:
                    os.posix_fallocate(fd, HEADER_BYTES, wanted)
                finally:
                    os.close(fd)
            self.words[Word.RESERVED] = wanted
        return count

    def take(self, fd: int, count: int) -> int:
        """Read up to ``count`` bytes, reserved before, from ``fd`` to the end; returns how many.

        They count only when :meth:`advance` has been told.

        Raises:
            OSError: as ``readv(2)`` does.
        """
        head = self.words[Word.HEAD]
        self._make_room(head + count)
        return os.readv(fd, self._span(head, count))

    def advance(self, head: int) -> None:
        """Output before ``head`` is in the ring."""
        self.words[Word.HEAD] = head

    def append(self, data: bytes) -> None:
        """Write bytes of our own, a notice for the reader of the terminal.

        Raises:
            OSError: the disk has no room for it.
        """
        self.reserve(len(data))
        head = self.head
        self._make_room(head + len(data))
        for part in self._span(head, len(data)):
            part[:] = data[: len(part)]
            data = data[len(part) :]
            head += len(part)
        self.words[Word.HEAD] = head

    def _make_room(self, head: int) -> None:
        oldest = head - self.capacity
        if oldest > self.words[Word.TAIL]:
            self.words[Word.TAIL] = oldest

    def end(self, status: int) -> None:
        """Mark the shell as ended with ``status`` (negative: killed by that signal)."""
        self.words[Word.STATUS] = status + 1000
        self.words[Word.ENDED] = 1

    def remove(self) -> None:
        """Unmap, and remove the file."""
        self.close()
        Path(self._path).unlink(missing_ok=True)

    def close(self) -> None:
        """Unmap. The file stays."""
        self.words.release()
        self._data.release()
        self._map.close()

    def _span(self, start: int, length: int) -> list[memoryview]:
        at = start % self.capacity
        first = min(length, self.capacity - at)
        parts = [self._data[at : at + first]]
        if first < length:
            parts.append(self._data[: length - first])
        return parts


class RingReader:
    """A worker's read-only view of a ring. Takes over ``fd`` and closes it at once."""

    __slots__ = ("_data", "_map", "capacity", "words")

    def __init__(self, fd: int) -> None:
        try:
            self._map = _mapped(fd, os.fstat(fd).st_size, mmap.PROT_READ)
        finally:
            os.close(fd)
        view = memoryview(self._map)  # of memory that is mapped to be read
        self.words = view[:HEADER_BYTES].cast("Q")
        self._data = view[HEADER_BYTES:]
        self.capacity = self.words[Word.CAPACITY]

    def copy(self, start: int, limit: int) -> bytes | None:
        """Up to ``limit`` bytes from offset ``start``; ``None`` when they have been overwritten."""
        length = min(self.words[Word.HEAD] - start, limit)
        at = start % self.capacity
        data = bytes(self._data[at : at + min(length, self.capacity - at)])
        return data if self.words[Word.TAIL] <= start else None

    def close(self) -> None:
        """Unmap."""
        self.words.release()
        self._data.release()
        self._map.close()
