"""Gates and evidence for tests, without a configuration around them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rollout.model import Evidence


@dataclass(frozen=True)
class Gate:
    """A gate as :class:`rollout.gates.GateLike` wants it."""

    metric: str = "m"
    op: str = "<"
    threshold: float = 100.0
    name: str = "gate"
    percentile: float = 95.0
    min_samples: int = 1
    confidence: float = 0.95
    window: float | None = None
    max_age: float = 300.0
    severity: str = "critical"
    compare: str = "threshold"
    each: str = "all"
    unit: str = ""


def piece(
    kind: str, n: int, *, metric: str = "m", at: tuple[float, float] = (0.0, 60.0), **fields: Any
) -> Evidence:
    return Evidence(fields.pop("id", "id"), metric, kind, "test", *at, n, **fields)  # type: ignore[arg-type]


def samples(*values: float, **fields: Any) -> Evidence:
    return piece("samples", len(values), samples=tuple(values), **fields)


def rate(successes: int, n: int, **fields: Any) -> Evidence:
    return piece("rate", n, successes=successes, **fields)


def count(value: float, n: int, **fields: Any) -> Evidence:
    return piece("count", n, value=value, **fields)


def series(values: list[float], *, every: float = 60.0, **fields: Any) -> Evidence:
    times = tuple(index * every for index in range(len(values)))
    return piece("series", len(values), samples=tuple(values), times=times, **fields)


BASELINE = {"role": "baseline"}
CANARY = {"role": "canary"}
