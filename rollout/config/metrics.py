"""The catalogue of metrics that a gate may judge: what kind each is, its unit, and where it comes from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rollout.model import EvidenceKind

Unit = Literal["share", "ms", "bytes", ""]
Source = Literal["checks", "load", "generation"]
"""``checks``: the suites of the environment. ``load``: the Locust run through the cutover. ``generation``:
the session manager's own count of what the new generation's connections went through."""


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric: ``better`` is the direction a threshold makes sense in."""

    name: str
    kind: EvidenceKind
    unit: Unit
    source: Source
    better: Literal["higher", "lower"]
    help: str


_ALL = (
    Metric("validate.pass_ratio", "ratio", "share", "checks", "higher", "validation tests that passed"),
    Metric("smoke.pass_ratio", "ratio", "share", "checks", "higher", "smoke checks that passed"),
    Metric("load.success_rate", "rate", "share", "load", "higher", "connects and commands that succeeded"),
    Metric("load.reconnect_rate", "rate", "share", "load", "higher", "reconnections that came back"),
    Metric("load.connect_ms", "samples", "ms", "load", "lower", "time of a connection attempt to its attach"),
    Metric(
        "load.reconnect_ms", "samples", "ms", "load", "lower", "time from a lost connection to its attach"
    ),
    Metric("load.command_ms", "samples", "ms", "load", "lower", "time from a command to its answer"),
    Metric("load.loops", "count", "", "load", "lower", "reconnection loops the users saw"),
    Metric("load.bytes_lost", "count", "", "load", "lower", "bytes of output that never arrived"),
    Metric("load.bytes_doubled", "count", "", "load", "lower", "bytes of output that arrived twice"),
    Metric("load.commands_twice", "count", "", "load", "lower", "commands that ran more than once"),
    Metric(
        "generation.loops",
        "count",
        "",
        "generation",
        "lower",
        "reconnection loops the session manager counted",
    ),
    Metric(
        "generation.short_lived", "count", "", "generation", "lower", "attaches lost, unplanned, within 2 s"
    ),
    Metric(
        "generation.memory_bytes", "gauge", "bytes", "generation", "lower", "memory of the largest worker"
    ),
)

METRICS: dict[str, Metric] = {metric.name: metric for metric in _ALL}
"""Every metric by its name."""
