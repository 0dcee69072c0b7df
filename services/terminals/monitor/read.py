"""What a monitor has left, for whoever judges by it: the records of a time, and the alerts."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from terminals.monitor.clock import STALL, Clock, Reading
from terminals.monitor.files import ALERTS, METRICS, read_json
from terminals.monitor.journal import read_records

MISSED: Final = 3
"""A monitor that has not been heard of for so many intervals is not well."""


class Silent(Exception):
    """The monitor has not written lately. The text says since when."""


def read_log(directory: Path, age: float, *, now: Reading | None = None) -> dict[str, Any]:
    """``records`` of the last ``age`` seconds in their order, ``alerts`` (active and over, by their start),
    when they were last ``judged`` (unix seconds by this machine's clock; ``None``: never), and how many lines
    were ``damaged``.

    Times are told by their age, not by a moment: the asker's wall clock need not agree with this machine's.
    """
    records, damaged = read_records(directory, now or Clock().read(), age)
    found = read_json(directory / ALERTS)
    if not isinstance(found, dict):
        found = {}
    alerts = sorted([*found.get("history", ()), *found.get("active", ())], key=lambda one: one["since"])
    # A disk may take records and not these: no alert is none raised only as far as somebody has judged.
    return {"records": records, "alerts": alerts, "judged": found.get("updated"), "damaged": damaged}


def alive(directory: Path, longest: float, *, now: Reading | None = None) -> str:
    """Say when the monitor last wrote.

    ``longest``: seconds that a round may take.

    Raises:
        Silent: that was too long ago, or never in this boot.
    """
    reading = now or Clock().read()
    found = read_json(directory / METRICS)
    if not isinstance(found, dict) or found.get("boot") != reading.boot:
        raise Silent(f"{directory}: the monitor has not written since this machine started")
    ago = reading.boottime - found["boottime"]
    if ago > MISSED * found["every"] + longest + STALL:
        raise Silent(f"{directory}: the monitor has not written for {ago:.0f} s")
    return f"written {ago:.0f} s ago"
