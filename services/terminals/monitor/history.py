"""What a monitor remembers of the last day, on one time line.

The time line is that of this boot's ``CLOCK_BOOTTIME``: a wall clock that is set moves nothing on
it. What was seen before this boot lies before 0, as far back as the wall clock says.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final

from terminals.monitor.clock import STALL, Reading
from terminals.monitor.config import DAY
from terminals.monitor.records import Record

MOST: Final = 20_000
"""Checks, and rounds, that are remembered at the most; with very short intervals that is less than a day."""


@dataclass(frozen=True, slots=True)
class Check:
    """A check. ``when`` is on the time line, ``at`` by the wall clock, the times are milliseconds."""

    when: float
    at: float
    profile: str
    ok: bool
    interval: float
    generation: str | None
    build: str | None
    connect_ms: float | None
    attach_ms: float | None
    command_ms: float | None
    reconnect_ms: float | None
    acknowledged: bool
    resumed: bool
    error: str


@dataclass(frozen=True, slots=True)
class Figures:
    """What the services said of themselves. ``generations`` by name; ``None``: they said nothing."""

    when: float
    at: float
    interval: float
    sessions: int | None
    connections: int | None
    memory_bytes: int | None
    generations: dict[str, dict[str, Any]] | None
    error: str


@dataclass(frozen=True, slots=True)
class Blind:
    """A gap that ended at ``when``."""

    when: float
    at: float
    seconds: float
    reason: str
    wall_jump: float


@dataclass(slots=True)
class History:
    """Observations in the order in which they were made."""

    checks: list[Check] = field(default_factory=list)
    figures: list[Figures] = field(default_factory=list)
    gaps: list[Blind] = field(default_factory=list)

    def add(self, records: Iterable[Record], now: Reading) -> None:
        """Remember records, and forget what is older than a day. Records that lack a field are skipped."""
        for record in records:
            try:
                self._add(record, _when(record, now))
            except (KeyError, TypeError, AttributeError):
                continue  # whole lines of somebody else's making
        every: tuple[list[Any], ...] = (self.checks, self.figures, self.gaps)
        for entries in every:
            first = max(0, len(entries) - MOST, _after(entries, now.boottime - DAY))
            del entries[:first]

    def _add(self, record: Record, when: float) -> None:
        lists: dict[str, list[Any]] = {"check": self.checks, "services": self.figures, "gap": self.gaps}
        same = lists[record["kind"]]
        if same:
            when = max(when, same[-1].when)  # an earlier boot's wall clock may have been set back
        at, interval = float(record["at"]), float(record["interval"])
        match record["kind"]:
            case "check":
                names = Check.__dataclass_fields__.keys() - {"when", "at", "interval"}
                self.checks.append(
                    Check(when=when, at=at, interval=interval, **{name: record[name] for name in names})
                )
            case "services":
                known = record["generations"]
                self.figures.append(
                    Figures(
                        when=when,
                        at=at,
                        interval=interval,
                        sessions=record["sessions"],
                        connections=record["connections"],
                        memory_bytes=record["memory_bytes"],
                        generations=None if known is None else {entry["name"]: entry for entry in known},
                        error=record["error"],
                    )
                )
            case _:
                self.gaps.append(
                    Blind(
                        when,
                        at,
                        float(record["seconds"]),
                        str(record["reason"]),
                        float(record.get("wall_jump", 0.0)),
                    )
                )

    def of(self, profile: str) -> list[Check]:
        """The checks of a profile."""
        return [check for check in self.checks if check.profile == profile]

    def observed(self, begin: float, now: float) -> float:
        """Seconds of ``begin`` to ``now``, on the time line, that were seen: those between two rounds that
        followed one another in time, with no gap among them, and those since the last round."""
        rounds = sorted({(check.when, check.interval) for check in self.checks if check.when > begin - DAY})
        if rounds and 0 < now - rounds[-1][0] <= patience(rounds[-1][1]):
            rounds.append((now, rounds[-1][1]))
        seen = [
            (max(start, begin), end)
            for (start, interval), (end, _) in pairwise(rounds)
            if end > begin and end - start <= patience(interval)
        ]
        blind = _merged((gap.when - gap.seconds, gap.when) for gap in self.gaps if gap.seconds)
        total, index = 0.0, 0
        for start, end in seen:
            total += end - start
            while index < len(blind) and blind[index][1] <= start:
                index += 1
            for first, last in blind[index:]:
                if first >= end:
                    break
                total -= max(0.0, min(end, last) - max(start, first))
        return total

    def grown(self, counter: str, begin: float, end: float) -> dict[str, int]:
        """By how much a counter of each generation grew in that time; one that began anew began at 0."""
        grown: dict[str, int] = {}
        before: dict[str, int] = {}
        answered = [entry for entry in self.figures if entry.generations is not None]
        first = max(0, _after(answered, begin) - 1)
        for figures in answered[first : _after(answered, end)]:
            for name, entry in (figures.generations or {}).items():
                value = int(entry.get(counter) or 0)
                if figures.when > begin:
                    # One that is new began at 0; of what came before the first answer, nobody knows.
                    last = before.get(name, 0 if before else value)
                    grown[name] = grown.get(name, 0) + (value - last if value >= last else value)
                before[name] = value
        return grown


def patience(interval: float) -> float:
    """Rounds further apart than this did not see what was between them."""
    return 1.5 * interval + STALL


def within(checks: Sequence[Check], begin: float, end: float) -> list[Check]:
    """Those after ``begin`` and not after ``end``; ``checks`` are in their order."""
    return list(checks[_after(checks, begin) : _after(checks, end)])


def _after(entries: Sequence[Any], when: float) -> int:
    return bisect.bisect_right(entries, when, key=lambda entry: entry.when)


def _when(record: Record, now: Reading) -> float:
    if record["boot"] == now.boot:
        return float(record["boottime"])
    return min(0.0, now.boottime - (now.wall - float(record["at"])))


def _merged(spans: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    merged: list[tuple[float, float]] = []
    for first, last in sorted(spans):
        if merged and first <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return merged
