"""The state of affairs and the hourly reports, from the history alone."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from terminals.monitor.clock import Reading
from terminals.monitor.history import Blind, Check, Figures, History, within

VERSION: Final = 1
WINDOWS: Final = {"5m": 300.0, "1h": 3600.0, "24h": 86400.0}
LATENCIES: Final = ("connect", "attach", "command", "reconnect")
MOST_ERRORS: Final = 20
MOST_GAPS: Final = 20
_MORE: Final = ("breaker_opened", "loops", "short_lived", "attaches")


def metrics(
    history: History,
    profiles: Sequence[str],
    now: Reading,
    *,
    host: str,
    run: str,
    every: float,
    damaged: int,
) -> dict[str, Any]:
    """What ``deployment-metrics.json`` says."""
    line = now.boottime
    day = line - WINDOWS["24h"]
    return {
        "version": VERSION,
        "updated": round(now.wall, 3),
        "boottime": round(line, 3),
        "boot": now.boot,
        "host": host,
        "run": run,
        "every": every,
        "profiles": {
            profile: {
                "last": _last(history.of(profile)),
                "windows": {
                    name: results(within(history.of(profile), line - seconds, line))
                    for name, seconds in WINDOWS.items()
                },
            }
            for profile in profiles
        },
        "services": _services(history.figures[-1]) if history.figures else None,
        "counters": {name: _counters(history, line - seconds, line) for name, seconds in WINDOWS.items()},
        "errors": errors(within(history.checks, day, line)),
        "observed_seconds": {
            name: round(history.observed(line - seconds, line), 3) for name, seconds in WINDOWS.items()
        },
        "gaps": [_gap(gap) for gap in history.gaps[-MOST_GAPS:]],
        "damaged": damaged,
    }


def hour_of(wall: float) -> str:
    """The UTC hour of a moment, as reports are named by."""
    return time.strftime("%Y-%m-%dT%H", time.gmtime(wall))


def hourly(
    history: History, profiles: Sequence[str], moment: float, now: Reading, *, host: str
) -> dict[str, Any]:
    """What ``hourly-report-*.json`` says of the hour that the wall clock's ``moment`` is in, so far."""
    start = moment - moment % 3600.0
    begin = now.boottime - (now.wall - start)
    end = min(begin + 3600.0, now.boottime)
    checks = within(history.checks, begin, end)
    figures = [entry for entry in history.figures if begin < entry.when <= end]
    memory = [entry.memory_bytes for entry in figures if entry.memory_bytes is not None]
    sessions = [entry.sessions for entry in figures if entry.sessions is not None]
    return {
        "version": VERSION,
        "hour": hour_of(moment),
        "host": host,
        "started": start,
        "updated": round(now.wall, 3),
        "profiles": {
            profile: results([check for check in checks if check.profile == profile]) for profile in profiles
        },
        "memory_bytes": max(memory, default=None),
        "sessions": max(sessions, default=None),
        "counters": _counters(history, begin, end),
        "errors": errors(checks),
        "observed_seconds": round(history.observed(begin, end), 3),
        "gaps": [_gap(gap) for gap in history.gaps if begin < gap.when <= end],
    }


def results(checks: Sequence[Check]) -> dict[str, Any]:
    """Counts, success ratio (``None`` of no checks) and latencies of checks."""
    succeeded = sum(check.ok for check in checks)
    return {
        "checks": len(checks),
        "succeeded": succeeded,
        "resumed": sum(check.resumed for check in checks),
        "success_ratio": round(succeeded / len(checks), 6) if checks else None,
        "latency_ms": {
            name: percentiles(
                [value for check in checks if (value := getattr(check, f"{name}_ms")) is not None]
            )
            for name in LATENCIES
        },
    }


def percentiles(values: Sequence[float]) -> dict[str, float] | None:
    """Nearest-rank percentiles; ``None`` of nothing."""
    if not values:
        return None
    ordered = sorted(values)

    def rank(share: float) -> float:
        return round(ordered[max(0, math.ceil(share * len(ordered)) - 1)], 3)

    return {
        "count": len(ordered),
        "p50": rank(0.5),
        "p95": rank(0.95),
        "p99": rank(0.99),
        "max": round(ordered[-1], 3),
    }


def errors(checks: Sequence[Check]) -> list[dict[str, Any]]:
    """What went wrong, the most frequent first."""
    counts = Counter((check.profile, check.error) for check in checks if check.error)
    last = {(check.profile, check.error): check.at for check in checks}
    return [
        {"profile": profile, "text": text, "count": count, "last": last[profile, text]}
        for (profile, text), count in counts.most_common(MOST_ERRORS)
    ]


def _counters(history: History, begin: float, end: float) -> dict[str, int]:
    return {name: sum(history.grown(name, begin, end).values()) for name in _MORE}


def _last(checks: Sequence[Check]) -> dict[str, Any] | None:
    if not checks:
        return None
    names = ("at", "ok", "generation", "build", *(f"{name}_ms" for name in LATENCIES))
    return {name: getattr(checks[-1], name) for name in (*names, "acknowledged", "resumed", "error")}


def _services(figures: Figures) -> dict[str, Any]:
    return {
        "at": figures.at,
        "sessions": figures.sessions,
        "connections": figures.connections,
        "memory_bytes": figures.memory_bytes,
        "generations": None if figures.generations is None else list(figures.generations.values()),
        "error": figures.error,
    }


def _gap(gap: Blind) -> dict[str, Any]:
    return {"at": gap.at, "seconds": gap.seconds, "reason": gap.reason, "wall_jump": gap.wall_jump}
