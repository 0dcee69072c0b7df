"""What a monitor leaves for others, as JSON."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any, Final

from terminals.wholefile import write_whole

METRICS: Final = "deployment-metrics.json"
ALERTS: Final = "deployment-alerts.json"


def write_json(path: Path, value: Any) -> None:
    """Replace a file by ``value`` as JSON.

    Raises:
        OSError: as :func:`write_whole` says.
    """
    write_whole(path, json.dumps(value, indent=1, ensure_ascii=False).encode() + b"\n")


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
