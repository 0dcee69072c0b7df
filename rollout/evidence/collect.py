"""Evidence from load runs, check suites and session managers. The names are those of the gates' metrics."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final

from rollout.checks.load import LoadRun, LoadSummary
from rollout.checks.runner import CheckResult
from rollout.model import Evidence, EvidenceKind


def _piece(metric: str, kind: EvidenceKind, window: tuple[float, float], n: int, **fields: Any) -> Evidence:
    source = metric.split(".")[0]
    return Evidence(
        f"{metric}-{secrets.token_hex(4)}",
        metric,
        kind,
        fields.pop("source", source),
        *window,
        n,
        labels=fields.pop("labels", {}),
        **fields,
    )


def from_load(
    everybody: LoadSummary,
    on_new: LoadSummary,
    window: tuple[float, float],
    generation: str,
    *,
    only: float | None = None,
    part: tuple[str, str] | None = None,
) -> list[Evidence]:
    """Evidence of a load run.

    ``on_new`` are the samples taken on the generation on trial, and on the way to it: rates,
    latencies and loops speak of it alone, so that the good old one cannot water them down. What was
    lost or doubled counts for ``everybody``: a shift must not harm those who stay either. ``only``: they
    are those of the last so many seconds, for the gates that have this window. ``part``: they are those
    at one host, or in one region (``("host", "eu-1")``).
    """
    extra = {} if only is None else {"window": f"{only:g}"}
    if part is not None:
        extra |= {"part": part[0], part[0]: part[1]}
    verified = everybody.verified
    return [
        *_of_generation(on_new, window, {"generation": generation, **extra}),
        _piece("load.bytes_lost", "count", window, verified, value=float(everybody.lost), labels=extra),
        _piece("load.bytes_doubled", "count", window, verified, value=float(everybody.doubled), labels=extra),
        _piece(
            "load.commands_twice",
            "count",
            window,
            everybody.commands,
            value=float(everybody.twice),
            labels=extra,
        ),
    ]


def from_parts(
    load: LoadRun,
    by: str,
    of: Mapping[str, str],
    window: tuple[float, float],
    generation: str | None,
    *,
    only: float | None = None,
) -> list[Evidence]:
    """Evidence of a load run part by part, e.g. ``by`` host: ``of`` says which part each host belongs to.

    ``generation`` is that on trial; ``None``: there is none, all count.
    """
    everybody = load.parts(of, window[0])
    return [
        piece
        for name, on_new in load.parts(of, window[0], generation).items()
        for piece in from_load(
            everybody[name], on_new, window, generation or "all", only=only, part=(by, name)
        )
    ]


def from_comparison(
    on_new: LoadSummary,
    on_old: LoadSummary,
    window: tuple[float, float],
    generation: str,
    previous: str,
) -> list[Evidence]:
    """Evidence of two generations while both served: ``role`` says which one is the baseline.

    Only gates that compare count it.
    """
    return [
        *_of_generation(on_new, window, {"generation": generation, "role": "canary"}),
        *_of_generation(on_old, window, {"generation": previous, "role": "baseline"}),
    ]


def _of_generation(
    load: LoadSummary, window: tuple[float, float], labels: dict[str, str]
) -> Iterator[Evidence]:
    """What the load says of one generation alone."""
    yield _piece("load.success_rate", "rate", window, load.requests, successes=load.successes, labels=labels)
    yield _piece(
        "load.reconnect_rate", "rate", window, load.reconnections, successes=load.kept, labels=labels
    )
    for name, samples in (
        ("connect_ms", load.connect_ms + load.reconnect_ms),
        ("reconnect_ms", load.away_ms),
        ("command_ms", load.command_ms),
    ):
        yield _piece(f"load.{name}", "samples", window, len(samples), samples=tuple(samples), labels=labels)
    attempts = load.reconnections + len(load.connect_ms)
    yield _piece("load.loops", "count", window, attempts, value=float(load.loops), labels=labels)


GROUPS = {
    "validate.reuse_ratio": ("validate", "Session Reuse"),
    "validate.breaker_ratio": ("validate", "Circuit Breaker"),
}
"""Metrics of one group of a suite; ``SUITE.pass_ratio`` is of all its groups."""


def from_checks(suite: str, results: Sequence[CheckResult]) -> list[Evidence]:
    """Evidence of one run of a suite: every check there is has been made, so it is a census."""
    parts = {f"{suite}.pass_ratio": list(results)}
    for metric, (of, group) in GROUPS.items():
        if of == suite:
            parts[metric] = [result for result in results if result.group == group]
    found = []
    for metric, part in parts.items():
        started = min((result.started for result in part), default=0.0)
        ended = max((result.started + result.seconds for result in part), default=0.0)
        bad = [f"{result.name}: {result.detail}" for result in part if not result.ok]
        labels = {"note": bad[0] + (f" (and {len(bad) - 1} more)" if bad[1:] else "")} if bad else {}
        passed = len(part) - len(bad)
        found.append(_piece(metric, "ratio", (started, ended), len(part), successes=passed, labels=labels))
    return found


_UNKNOWN: Final = {"attaches": 0, "memory_bytes": 0, "loops": 0, "short_lived": 0}
"""A generation of which nothing was seen."""


def from_generation(
    statuses: Mapping[str, Mapping[str, Any] | None],
    generation: str,
    window: tuple[float, float],
    reached: Collection[str],
) -> list[Evidence]:
    """Evidence that the session managers give of a generation, from its first attach on.

    ``reached``: the hosts that it was started on. Of one of these whose manager does not answer there are no
    observations, which is said: what is not known of it is not made up for by the others.
    """
    found: list[Evidence] = []
    for host, status in statuses.items():
        if status is None:
            entries = [_UNKNOWN] if host in reached else []
        else:
            entries = [entry for entry in status["generations"] if entry["name"] == generation]
        for entry in entries:
            labels = {"host": host, "generation": generation}
            attaches, memory = int(entry["attaches"]), int(entry["memory_bytes"])
            for name in ("loops", "short_lived"):
                value = float(entry[name])
                found.append(
                    _piece(f"generation.{name}", "count", window, attaches, value=value, labels=labels)
                )
            value = float(memory)
            found.append(
                _piece(
                    "generation.memory_bytes", "gauge", window, int(memory > 0), value=value, labels=labels
                )
            )
    return found
