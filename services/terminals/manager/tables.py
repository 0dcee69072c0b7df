"""Small tables on disk, which outlive processes and starts of the machine."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from terminals.configfile import ConfigError
from terminals.control.framing import BadPacket, pack

T = TypeVar("T")


class Table(Generic[T]):
    """Values by name, the latest last, as they are in a file. ``remedy``: what to do about one that makes no
    sense."""

    def __init__(self, path: Path, reader: Callable[[bytes], dict[str, T]], remedy: str) -> None:
        """Read what was written before, as :meth:`read` does."""
        self._path = path
        self._reader = reader
        self._remedy = remedy
        self.table: dict[str, T] = {}
        self.read()

    def read(self) -> None:
        """Read what was written before.

        Raises:
            ConfigError: the file makes no sense.
        """
        try:
            self.table = self._reader(self._path.read_bytes())
        except FileNotFoundError:
            self.table = {}
        except (OSError, BadPacket) as error:
            raise ConfigError(f"{self._path}: {error}; {self._remedy}") from None

    def replace(self, table: dict[str, T]) -> None:
        """Have another table in its place.

        Raises:
            OSError: it cannot be written; the one before stays.
        """
        write(self._path, table)
        self.table = table


def write(path: Path, table: object) -> None:
    """Write a table, as :func:`write_bytes` does."""
    write_bytes(path, pack(table))


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file atomically: a crash leaves the old one or the new one.

    Raises:
        OSError: it cannot be written; the old one is as it was.
    """
    temporary = path.with_suffix(".tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()  # half a file would keep what little room there is
        raise
