"""The records on disk: ``checks-YYYY-MM-DD.jsonl``, whole lines appended and synchronised."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path

from terminals.configfile import ConfigError
from terminals.monitor.clock import Reading
from terminals.monitor.config import DAY
from terminals.monitor.files import keep_newest
from terminals.monitor.records import Record, age_of, day_of, from_line, in_order, to_line, younger

PATTERN = "checks-*.jsonl"
SLACK = 2 * DAY
"""The records of another boot are dated by a wall clock that may have been this wrong."""
TAIL = 1 << 14
"""More than a line has."""


class Journal:
    """Appends records. One process at a time: it holds a lock of the directory for life."""

    def __init__(self, directory: Path, keep: float) -> None:
        """Take the directory.

        Raises:
            ConfigError: it cannot be made, or another monitor has it.
        """
        self._directory = directory
        self._days = max(1, -(-int(keep) // int(DAY))) + 1
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            # The directory itself: on a full disk no file could be made to be locked.
            self._lock = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(f"{directory}: another monitor writes here") from None
        except OSError as error:
            raise ConfigError(
                f"{directory}: {error.strerror}; name a directory that can be written"
            ) from None
        for path in sorted(directory.glob(PATTERN))[-1:]:
            with contextlib.suppress(OSError), path.open("r+b") as file:
                _end_line(file.fileno())

    def append(self, records: list[Record]) -> None:
        """Write records, all of them or none.

        Raises:
            OSError: they could not be written; nothing half-written is left where that can be helped.
        """
        path = self._directory / f"checks-{day_of(records[-1]['at'])}.jsonl"
        new = not path.exists()
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            size = os.fstat(fd).st_size
            try:
                _end_line(fd)
                _write_all(fd, b"".join(to_line(record) for record in records))
                os.fsync(fd)
            except OSError:
                with contextlib.suppress(OSError):
                    os.ftruncate(fd, size)
                raise
        finally:
            os.close(fd)
        if new:
            os.fsync(self._lock)
            keep_newest(self._directory, PATTERN, self._days)

    def close(self) -> None:
        """Let another monitor have the directory."""
        os.close(self._lock)


def read_records(directory: Path, now: Reading, age: float) -> tuple[list[Record], int]:
    """The records of the last ``age`` seconds in their order, and how many lines were damaged.

    Files that are certainly older are not read. A last line without an end is being written, or will be
    ended by the next monitor: it is not counted.
    """
    found: list[Record] = []
    damaged = 0
    for path in sorted(directory.glob(PATTERN)):
        if _too_old(path, now, age):
            continue
        try:
            data = path.read_bytes()
        except OSError:
            continue  # rotated away meanwhile
        for line in data.split(b"\n"):
            record = from_line(line) if line else None
            if record is not None:
                found.append(record)
            elif line:
                damaged += 1
        damaged -= bool(line) and from_line(line) is None
    return younger(in_order(found), now, age), damaged


def _too_old(path: Path, now: Reading, age: float) -> bool:
    """Whether the last line of a file says that all of it is too old."""
    with contextlib.suppress(OSError), path.open("rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL))
        lines = file.read().splitlines()
        record = from_line(lines[-1]) if lines else None
        if record is not None:
            return age_of(record, now) > age + (0.0 if record["boot"] == now.boot else SLACK)
    return False


def _end_line(fd: int) -> None:
    """Whoever was killed in the middle of a line: it is ended, so that it harms no other."""
    size = os.fstat(fd).st_size
    if size and os.pread(fd, 1, size - 1) != b"\n":
        os.lseek(fd, 0, os.SEEK_END)
        os.write(fd, b"\n")


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
