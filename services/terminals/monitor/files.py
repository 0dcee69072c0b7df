"""Files that are either the old ones or the new ones, never half of either."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any, Final

METRICS: Final = "deployment-metrics.json"
ALERTS: Final = "deployment-alerts.json"


def write_json(path: Path, value: Any) -> None:
    """Replace a file by ``value`` as JSON.

    Raises:
        OSError: it could not be written; the old one is still there.
    """
    temporary = path.with_name(f".{path.name}.new")
    data = json.dumps(value, indent=1, ensure_ascii=False).encode() + b"\n"
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with open(fd, "wb") as file:  # noqa: PTH123 - a descriptor
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def read_json(path: Path) -> Any:
    """What :func:`write_json` wrote; ``None`` when it is not there or makes no sense."""
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None


def keep_newest(directory: Path, pattern: str, count: int) -> None:
    """Remove all but the last ``count`` files, by their names, which are dates.

    Not by age: a wall clock that was set forward would take everything away.
    """
    for path in sorted(directory.glob(pattern))[:-count]:
        with contextlib.suppress(OSError):
            path.unlink()
