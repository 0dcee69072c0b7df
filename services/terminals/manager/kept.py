"""Small tables on disk, which outlive processes and starts of the machine."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from terminals.configfile import ConfigError
from terminals.control.framing import BadPacket, pack

T = TypeVar("T")


def write(path: Path, table: object) -> None:
    """Write a table atomically: a crash leaves the old one or the new one.

    Raises:
        OSError: it cannot be written; the old one is as it was.
    """
    temporary = path.with_suffix(".tmp")
    try:
        with temporary.open("wb") as file:
            file.write(pack(table))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()  # half a file would keep what little room there is
        raise


def read(path: Path, reader: Callable[[bytes], dict[str, T]], remedy: str) -> dict[str, T]:
    """Read a table; none was written: an empty one.

    Raises:
        ConfigError: the file makes no sense; the text ends with ``remedy``.
    """
    try:
        return reader(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, BadPacket) as error:
        raise ConfigError(f"{path}: {error}; {remedy}") from None
