"""The catalogue of metrics that a gate may judge: what kind each is, its unit, and where it comes from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rollout.model import EvidenceKind

Unit = Literal["share", "ms", "bytes", "s", ""]
Source = Literal["checks", "load", "generation", "monitor", "prometheus", "junit", "docker"]
"""``checks``: the suites of the environment. ``load``: the Locust run through the cutover. ``generation``:
the session manager's own count of what the new generation's connections went through. ``monitor``: the
records of the monitors on the hosts, since the build came. ``prometheus``: what the gate's query gives.
``junit``: files of test results. ``docker``: the engines' own figures of the new generation's containers."""


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric: ``better`` is the direction a threshold makes sense in; ``either``: that is for the query."""

    name: str
    kind: EvidenceKind
    unit: Unit
    source: Source
    better: Literal["higher", "lower", "either"]
    help: str
    readings: Unit = ""
    """The unit of what a series is made of; its own is that of its growth."""


_ALL = (
    Metric("validate.pass_ratio", "ratio", "share", "checks", "higher", "validation tests that passed"),
    Metric("smoke.pass_ratio", "ratio", "share", "checks", "higher", "smoke checks that passed"),
    Metric("infra.pass_ratio", "ratio", "share", "checks", "higher", "infra tests that passed"),
    Metric(
        "validate.reuse_ratio", "ratio", "share", "checks", "higher", "tests of session reuse that passed"
    ),
    Metric(
        "validate.breaker_ratio", "ratio", "share", "checks", "higher", "tests of the breaker that passed"
    ),
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
    Metric(
        "monitor.observed_seconds", "gauge", "s", "monitor", "higher", "time that the monitors really saw"
    ),
    Metric("monitor.longest_gap", "gauge", "s", "monitor", "lower", "longest time that a monitor was blind"),
    Metric("monitor.success_rate", "rate", "share", "monitor", "higher", "checks that succeeded"),
    Metric("monitor.reuse_rate", "rate", "share", "monitor", "higher", "reattaches acknowledged as resumed"),
    Metric("monitor.critical_alerts", "count", "", "monitor", "lower", "critical alerts raised"),
    Metric("monitor.connect_ms", "samples", "ms", "monitor", "lower", "time of a check's first attach"),
    Metric("monitor.reconnect_ms", "samples", "ms", "monitor", "lower", "time of a check's reattach"),
    Metric("monitor.command_ms", "samples", "ms", "monitor", "lower", "time from a command to its answer"),
    Metric("monitor.memory_bytes", "gauge", "bytes", "monitor", "lower", "most memory of a worker"),
    Metric("monitor.loops", "count", "", "monitor", "lower", "reconnection loops counted by the managers"),
    Metric(
        "monitor.latency_drift", "series", "share", "monitor", "lower", "growth of the reattach time", "ms"
    ),
    Metric(
        "monitor.memory_drift",
        "series",
        "share",
        "monitor",
        "lower",
        "growth of the workers' memory",
        "bytes",
    ),
    Metric(
        "prometheus.value", "gauge", "", "prometheus", "either", "what query gives; the worst series counts"
    ),
    Metric("prometheus.rate", "rate", "share", "prometheus", "either", "the query's count, of that of total"),
    Metric(
        "prometheus.samples", "samples", "", "prometheus", "lower", "observations in a histogram's buckets"
    ),
    Metric("prometheus.series", "series", "share", "prometheus", "lower", "growth of what query gives"),
    Metric("junit.pass_ratio", "ratio", "share", "junit", "higher", "tests of your own that passed"),
    Metric("docker.memory_bytes", "gauge", "bytes", "docker", "lower", "most memory of a container"),
    Metric("docker.cpu_share", "samples", "share", "docker", "lower", "use of the CPUs a container may use"),
    Metric("docker.restarts", "count", "", "docker", "lower", "times a container was started again"),
    Metric("docker.oom_kills", "count", "", "docker", "lower", "processes killed for want of memory"),
)

METRICS: dict[str, Metric] = {metric.name: metric for metric in _ALL}
"""Every metric by its name."""
