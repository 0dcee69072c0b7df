"""Series for the plots: the load users' samples and the monitors' records, in bins. Bounded, gaps kept."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rollout.model import MonitorLog

SHIFT_BINS = 90
SOAK_BINS = 144
"""Ten minutes each of a day."""
MAX_SERIES = 6

Points = list[tuple[float, float]]
Statistic = Callable[[Sequence[float]], float]


def read_samples(runs: Path) -> list[dict[str, Any]]:
    """The samples of every load run under a rollout's directory, in order; lines cut short are left out."""
    found = []
    for path in sorted(runs.glob("load-*/samples.jsonl")):
        with path.open(errors="replace") as file:
            for line in file:
                try:
                    sample = json.loads(line)
                except ValueError:
                    continue
                if isinstance(sample, dict) and number(sample.get("t")) is not None:
                    found.append(sample)
    return sorted(found, key=_time)


def _time(sample: Mapping[str, Any]) -> float:
    return float(sample["t"])


def number(value: Any) -> float | None:
    """A finite number as it is, and nothing of anything else."""
    good = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if good else None


def percentile(p: float) -> Statistic:
    """Nearest rank, as the gates use it: a value that was really measured."""

    def of(values: Sequence[float]) -> float:
        return sorted(values)[max(0, math.ceil(p / 100 * len(values)) - 1)]

    return of


def mean(values: Sequence[float]) -> float:
    """The share of successes, given ones and zeros."""
    return sum(values) / len(values)


def binned(
    name: str, points: Iterable[tuple[float, float]], window: tuple[float, float], bins: int, value: Statistic
) -> dict[str, Any]:
    """One series of at most ``bins`` points; a bin that nothing fell into is ``null``, never a guess."""
    start, end = window
    width = max((end - start) / bins, 1e-9)
    held: defaultdict[int, list[float]] = defaultdict(list)
    for at, reading in points:
        if start <= at <= end:
            held[min(bins - 1, int((at - start) / width))].append(reading)
    return {
        "name": name,
        "t": [round(start + (index + 0.5) * width, 3) for index in range(bins)],
        "v": [round(value(held[index]), 4) if index in held else None for index in range(bins)],
        "n": sum(len(each) for each in held.values()),
    }


def _latency(
    connect: Points, reconnect: Points, window: tuple[float, float], bins: int
) -> list[dict[str, Any]]:
    return [
        binned(f"{name} p{rank}", points, window, bins, percentile(rank))
        for name, points in (("connect", connect), ("reconnect", reconnect))
        for rank in (50, 95)
    ]


def load_series(samples: Sequence[dict[str, Any]], window: tuple[float, float]) -> dict[str, list[Any]]:
    """Latency, success and sessions of the load users."""
    connect: Points = []
    away: Points = []
    good: Points = []
    for sample in samples:
        at, kind = _time(sample), sample.get("kind")
        took = number(sample.get("ms"))
        if kind in ("connect", "reconnect") and took is not None:
            connect.append((at, took))
        if kind == "reconnect" and (gone := number(sample.get("away"))) is not None:
            away.append((at, gone * 1000))
        if kind in ("connect", "reconnect", "command", "attempt", "error"):
            good.append((at, 100.0 * bool(sample.get("ok"))))

    return {
        "latency": _latency(connect, away, window, SHIFT_BINS),
        "success": [binned("connects and commands", good, window, SHIFT_BINS, mean)],
        "sessions": _by_generation(samples, window),
    }


def _by_generation(samples: Sequence[dict[str, Any]], window: tuple[float, float]) -> list[dict[str, Any]]:
    """How many load users' sessions each generation served, from the last sample of each."""
    start, end = window
    width = max((end - start) / SHIFT_BINS, 1e-9)
    where: dict[Any, str] = {}
    ended: set[Any] = set()
    counts: list[dict[str, int]] = []
    index = 0
    names: dict[str, None] = {}
    for place in range(SHIFT_BINS):
        until = start + (place + 1) * width
        while index < len(samples) and _time(samples[index]) <= until:
            sample = samples[index]
            index += 1
            user = str(sample.get("user"))
            if sample.get("kind") == "final":
                ended.add(user)
                where.pop(user, None)
            elif sample.get("generation") and user not in ended:
                where[user] = str(sample["generation"])
                names.setdefault(where[user])
        tally: defaultdict[str, int] = defaultdict(int)
        for generation in where.values():
            tally[generation] += 1
        counts.append(dict(tally))
    times = [round(start + (place + 0.5) * width, 3) for place in range(SHIFT_BINS)]
    return [
        {
            "name": f"load users on {name}",
            "t": times,
            "v": [tally.get(name, 0) if tally else None for tally in counts],
            "n": sum(tally.get(name, 0) for tally in counts),
        }
        for name in list(names)[:MAX_SERIES]
    ]


def monitor_series(
    logs: Mapping[str, MonitorLog | None] | None, window: tuple[float, float], bins: int = SOAK_BINS
) -> dict[str, list[Any]]:
    """The same of the monitors' checks, all hosts together; memory is of the largest worker anywhere."""
    connect: Points = []
    resume: Points = []
    good: Points = []
    memory: defaultdict[str, Points] = defaultdict(list)
    sessions: defaultdict[str, Points] = defaultdict(list)
    for host, log in (logs or {}).items():
        for record in log.records if log else ():
            at = number(record.get("at"))
            if at is None:
                continue
            if record.get("kind") == "check":
                good.append((at, 100.0 * bool(record.get("ok"))))
                for points, key in ((connect, "connect_ms"), (resume, "reconnect_ms")):
                    if (took := number(record.get(key))) is not None:
                        points.append((at, took))
            elif record.get("kind") == "services":
                if (live := number(record.get("sessions"))) is not None:
                    sessions[host].append((at, live))
                for entry in record.get("generations") or ():
                    if isinstance(entry, dict) and (held := number(entry.get("memory_bytes"))):
                        memory[str(entry.get("name"))].append((at, held / 1e6))

    def each(name: str, points: Points, value: Statistic) -> dict[str, Any]:
        return binned(name, points, window, bins, value)

    return {
        "latency": _latency(connect, resume, window, bins),
        "success": [each("checks", good, mean)],
        "memory": [
            each(f"worker of {name}", points, max) for name, points in list(memory.items())[-MAX_SERIES:]
        ],
        "sessions": [
            each(f"live on {host}", points, max) for host, points in list(sessions.items())[:MAX_SERIES]
        ],
    }
