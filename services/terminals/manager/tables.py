"""Small tables on disk, which outlive processes and starts of the machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from terminals.configfile import ConfigError
from terminals.control.framing import BadPacket, pack
from terminals.wholefile import write_whole

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
    """Write a table.

    Raises:
        OSError: as :func:`write_whole` says.
    """
    write_whole(path, pack(table))
