"""Records: one JSON object a line, in the order that things were seen. Reads and makes them, no I/O.

Fields that all have: ``version``, ``kind``, ``host``-wide ``run`` (one start of the monitor) with its
``seq``, ``boot``, the clocks ``at`` (wall), ``boottime`` and ``monotonic``, and the ``interval`` between
rounds. The schemas beside this package say what each ``kind`` adds.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from typing import Any, Final

from terminals.monitor.clock import Gap, Reading

VERSION: Final = 1
KINDS: Final = frozenset({"check", "services", "gap"})
NUMBERS: Final = ("at", "boottime", "monotonic", "interval", "seq")
NOT_MADE: Final = ""
"""The generation of a check that the monitor itself could not make: no build is to blame for that."""
Record = dict[str, Any]


class Writer:
    """Numbers the records of one run."""

    def __init__(self, run: str, interval: float) -> None:
        self.run = run
        self._interval = interval
        self._seq = 0

    def make(self, kind: str, reading: Reading, /, **fields: Any) -> Record:
        """A record of something seen at ``reading``."""
        self._seq += 1
        return {
            "version": VERSION,
            "kind": kind,
            "run": self.run,
            "seq": self._seq,
            "boot": reading.boot,
            "at": round(reading.wall, 3),
            "boottime": round(reading.boottime, 3),
            "monotonic": round(reading.monotonic, 3),
            "interval": self._interval,
            **fields,
        }

    def gap(self, gap: Gap, reading: Reading) -> Record:
        """A record of a gap that ended at ``reading``."""
        return self.make(
            "gap",
            reading,
            seconds=round(gap.seconds, 3),
            reason=gap.reason,
            wall_jump=round(gap.wall_jump, 3),
        )


def to_line(record: Record) -> bytes:
    """A record as a line."""
    return json.dumps(record, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"


def from_line(line: bytes) -> Record | None:
    """A line as a record; ``None`` when it is damaged."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict) or record.get("version") != VERSION:
        return None
    numbers = all(type(record.get(name)) in (int, float) for name in NUMBERS)
    names = all(isinstance(record.get(name), str) for name in ("run", "boot"))
    return record if numbers and names and record.get("kind") in KINDS else None


def day_of(wall: float) -> str:
    """The UTC day of a moment."""
    return time.strftime("%Y-%m-%d", time.gmtime(wall))


def in_order(records: Iterable[Record]) -> list[Record]:
    """Records as they were made, whatever the wall clock said and whichever day's file they are in.

    Runs of one boot follow one another on its own clock; boots follow one another by the wall clock's last
    word in each, when it had had the time to be set right.
    """
    runs: dict[str, list[Record]] = {}
    for record in records:
        runs.setdefault(record["run"], []).append(record)
    last: dict[str, tuple[float, float]] = {}
    for run in runs.values():
        run.sort(key=lambda record: record["seq"])
        boot, end = run[-1]["boot"], (run[-1]["boottime"], run[-1]["at"])
        last[boot] = max(last.get(boot, end), end)
    ordered = sorted(runs.values(), key=lambda run: (last[run[0]["boot"]][1], run[0]["boottime"]))
    return [record for run in ordered for record in run]


def age_of(record: Record, now: Reading) -> float:
    """Seconds since a record was made; of an earlier boot at least as many as this one has lasted."""
    if record["boot"] == now.boot:
        return float(now.boottime - record["boottime"])
    return max(now.wall - float(record["at"]), now.boottime)


def younger(records: Sequence[Record], now: Reading, age: float) -> list[Record]:
    """Of ordered records, the first that is not older than ``age`` seconds, and all that were made after it.

    A wall clock that was set back hides none: what follows a young record is younger.
    """
    for index, record in enumerate(records):
        if age_of(record, now) <= age:
            return list(records[index:])
    return []


def count_until(records: Sequence[Record], moment: float | None) -> int:
    """Of records in their order, how many were made up to a moment of the wall clock (``None``: none were):
    the last that says so, and all before it. One that was set back hides none."""
    if moment is None:
        return 0
    return max((place for place, record in enumerate(records, 1) if record["at"] <= moment), default=0)
