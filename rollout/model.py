"""The words of the toolkit as data: builds, evidence, verdicts. No I/O, only the standard library.

Times are unix seconds, durations are seconds, unless a name says otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

JsonObject = dict[str, Any]
"""What is stored or printed as JSON."""


class Verdict(StrEnum):
    """What a gate says of its evidence. Anything but :attr:`PASS` stops a promotion."""

    PASS = "pass"  # noqa: S105 - a verdict, not a password
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    ERROR = "error"

    @property
    def severity(self) -> int:
        """Rank for :func:`worst`: error 3, fail 2, inconclusive 1, pass 0."""
        return _SEVERITY[self]


_SEVERITY = {Verdict.PASS: 0, Verdict.INCONCLUSIVE: 1, Verdict.FAIL: 2, Verdict.ERROR: 3}


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """Combine verdicts by precedence: error over fail over inconclusive over pass.

    No verdict at all is :attr:`Verdict.INCONCLUSIVE`: a decision without evidence never promotes.
    """
    return max(verdicts, key=lambda verdict: verdict.severity, default=Verdict.INCONCLUSIVE)


@dataclass(frozen=True, slots=True)
class BuildRef:
    """A build, made once and carried unchanged through the environments.

    ``id`` is ``<version>-<first 12 of digest>``; ``digest`` is the hexadecimal SHA-256 over the content;
    ``revision`` the source revision it was made from ("" when unknown); ``created`` unix seconds; ``path``
    the build's directory on the control machine.
    """

    id: str
    version: str
    digest: str
    revision: str
    created: float
    path: str

    @staticmethod
    def id_of(version: str, digest: str) -> str:
        """Give the id of a build from its version and digest."""
        return f"{version}-{digest[:12]}"

    @staticmethod
    def is_id(text: str) -> bool:
        """Whether a text has the form of a build's id."""
        return re.fullmatch(r".+-[0-9a-f]{12}", text) is not None


@dataclass(frozen=True, slots=True)
class ImageRef:
    """The image of a build.

    ``id`` is the digest of its configuration (``sha256:...``), which covers every layer; ``tag`` its name in
    an engine; ``layers`` the diff ids of its layers, the lowest first; ``base`` the id of the image it stands
    on; ``recipe`` a digest of what it was made by, besides the build's files; ``size`` bytes unpacked.
    """

    id: str
    tag: str
    layers: tuple[str, ...]
    base: str
    recipe: str
    size: int


HostState = Literal["ready", "draining", "maintenance"]
"""What a host says of itself: only at one that is ready sessions begin."""
EvidenceKind = Literal["count", "ratio", "rate", "samples", "gauge", "series"]
"""``count``: a tally, compared as it is, over ``n`` observations. ``ratio``: a census (all of the checks
that exist). ``rate``: a binomial sample, judged by its confidence bound. ``samples``: measurements,
judged by a percentile. ``gauge``: one reading. ``series``: readings with their times, judged by their
trend."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """One measurement, with everything needed to judge it again later.

    ``n`` is the number of observations behind it (0: nothing was seen, so nothing can pass); ``successes``
    belongs to ratios and rates; ``samples`` to samples; ``value`` to counts and gauges. A series has
    ``samples`` and, for each, its time in ``times``. The label ``role`` is ``baseline`` on what was measured
    at the same time on the generation before. The label ``part`` is on what is of one host or region
    alone, and is counted in a whole that is there, too (see :attr:`part`).
    """

    id: str
    metric: str
    kind: EvidenceKind
    source: str
    started: float
    ended: float
    n: int
    successes: int | None = None
    samples: tuple[float, ...] = ()
    value: float | None = None
    times: tuple[float, ...] = ()
    labels: dict[str, str] = field(default_factory=dict)

    @property
    def part(self) -> str:
        """What it is a part by: ``host``, ``region``, or ``all`` where it is the whole. Of which one
        says the label of this name."""
        return self.labels.get("part", "all")


@dataclass(frozen=True, slots=True)
class GateResult:
    """What one gate said: its verdict, the figure it measured, the bound it was judged by, and the evidence.

    ``measured`` is the plain figure (a rate, a percentile, a count), None when there was nothing to measure;
    ``bound`` is the confidence bound that was compared, None for kinds that have none; ``n`` the number of
    observations; ``reason`` one line with the figures; ``evidence`` the ids of what was judged.

    ``low`` and ``high`` are the ends of the interval (None: it is open there), ``needed`` the observations
    that a pass takes if all goes on as it did (None: not known, or no number does), ``severity`` that of the
    gate.
    """

    gate: str
    verdict: Verdict
    measured: float | None
    bound: float | None
    n: int
    reason: str
    evidence: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None
    needed: int | None = None
    severity: str = "critical"


@dataclass(frozen=True, slots=True)
class MonitorLog:
    """What a host's monitor has left there: its records in order, and the history of its alerts.

    The shapes are those of the JSON Schemas in ``terminals/monitor/schema``; ``damaged`` counts lines that
    could not be read. Alerts are known until ``judged`` (unix seconds by the host's clock; ``None``: not at
    all).
    """

    records: tuple[JsonObject, ...]
    alerts: tuple[JsonObject, ...]
    damaged: int = 0
    judged: float | None = None


@dataclass(frozen=True, slots=True)
class EngineEvent:
    """One thing that happened to one host: an Ansible task's end, as progress and as a record.

    ``noted``: nothing was done, and ``task`` is what whoever runs it ought to know.
    """

    host: str
    task: str
    status: Literal["ok", "changed", "failed", "skipped", "unreachable", "noted"]
    detail: str
    at: float
