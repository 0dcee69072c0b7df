"""Recordings, read as a player reads them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple


class Cast(NamedTuple):
    """An asciicast version 3: its header, and events with the seconds since its beginning."""

    header: dict[str, Any]
    events: list[tuple[float, str, str]]

    def of(self, code: str) -> list[str]:
        """What the events of one kind say."""
        return [data for _, each, data in self.events if each == code]

    @property
    def text(self) -> str:
        """What was printed."""
        return "".join(self.of("o"))


def read_cast(content: bytes) -> Cast:
    """A recording, strictly by its format."""
    assert content.endswith(b"\n")
    lines = content.decode().split("\n")[:-1]
    header = json.loads(lines[0])
    assert header["version"] == 3
    assert {"cols", "rows"} <= header["term"].keys()
    now, events = 0.0, []
    for line in lines[1:]:
        if not line.startswith("#"):
            interval, code, data = json.loads(line)
            assert isinstance(interval, int | float)
            assert interval >= 0
            assert isinstance(data, str)
            events.append((now := now + interval, code, data))
    return Cast(header, events)


def cast_at(path: Path) -> Cast:
    """The recording in a file."""
    return read_cast(path.read_bytes())
