"""Evidence from load runs, check suites and session managers. The names are those of the gates' metrics."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from rollout.checks.load import LoadSummary
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
    everybody: LoadSummary, on_new: LoadSummary, window: tuple[float, float], generation: str
) -> list[Evidence]:
    """Evidence of a load run.

    ``on_new`` are the samples taken on the generation on trial: rates, latencies and loops speak of
    it alone, so that the good old one cannot water them down. What was lost or doubled counts for
    ``everybody``: a shift must not harm those who stay either.
    """
    labels = {"generation": generation}
    verified = everybody.verified
    return [
        _piece(
            "load.success_rate", "rate", window, on_new.requests, successes=on_new.successes, labels=labels
        ),
        _piece(
            "load.reconnect_rate", "rate", window, on_new.reconnections, successes=on_new.kept, labels=labels
        ),
        *(
            _piece(f"load.{name}", "samples", window, len(samples), samples=tuple(samples), labels=labels)
            for name, samples in (
                ("connect_ms", on_new.connect_ms + on_new.reconnect_ms),
                ("reconnect_ms", on_new.away_ms),
                ("command_ms", on_new.command_ms),
            )
        ),
        _piece(
            "load.loops",
            "count",
            window,
            on_new.reconnections + len(on_new.connect_ms),
            value=float(on_new.loops),
            labels=labels,
        ),
        _piece("load.bytes_lost", "count", window, verified, value=float(everybody.lost)),
        _piece("load.bytes_doubled", "count", window, verified, value=float(everybody.doubled)),
        _piece("load.commands_twice", "count", window, everybody.commands, value=float(everybody.twice)),
    ]


def from_checks(suite: str, results: Sequence[CheckResult]) -> Evidence:
    """Evidence of one run of a suite: every check there is has been made, so it is a census."""
    started = min((result.started for result in results), default=0.0)
    ended = max((result.started + result.seconds for result in results), default=0.0)
    passed = sum(result.ok for result in results)
    return _piece(f"{suite}.pass_ratio", "ratio", (started, ended), len(results), successes=passed)


def from_generation(
    statuses: Mapping[str, Mapping[str, Any] | None], generation: str, window: tuple[float, float]
) -> list[Evidence]:
    """Evidence that the session managers give of a generation, from its first attach on.

    A host whose manager does not answer gives none; the gate then has too little to pass on.
    """
    found: list[Evidence] = []
    for host, status in statuses.items():
        if status is None:
            continue
        for entry in status["generations"]:
            if entry["name"] != generation:
                continue
            labels = {"host": host, "generation": generation}
            attaches = int(entry["attaches"])
            memory = int(entry["memory_bytes"])
            found += [
                _piece(
                    "generation.loops", "count", window, attaches, value=float(entry["loops"]), labels=labels
                ),
                _piece(
                    "generation.short_lived",
                    "count",
                    window,
                    attaches,
                    value=float(entry["short_lived"]),
                    labels=labels,
                ),
                _piece(
                    "generation.memory_bytes",
                    "gauge",
                    window,
                    1 if memory else 0,
                    value=float(memory),
                    labels=labels,
                ),
            ]
    return found
