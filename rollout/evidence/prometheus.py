"""Evidence that Prometheus gives of a generation, for the gates that ask it.

What each answer becomes:

========================================================  ==========================================
no answer: unreachable, 5xx, 429, too slow, or warnings   nothing seen (inconclusive), and why
refused: a query that is wrong, 4xx, a redirect, TLS      error
no series, NaN (0/0: nothing happened), a stale sample    nothing seen (inconclusive), and why
an infinite value, a histogram, more series than counted  error
clocks that differ by more than :data:`MAX_SKEW`          error
========================================================  ==========================================

Times of queries are Prometheus' own: a small difference of the clocks moves no window.
"""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rollout.config import Gate, Prometheus
from rollout.evidence.buckets import Unclear, observations
from rollout.evidence.promql import BadQuery, Client, Gone, NoAnswer, Point
from rollout.evidence.trial import Moment, Trial
from rollout.model import Evidence
from rollout.units import duration, number

MAX_SKEW = 60.0
"""Seconds that the clocks here and there may differ."""
MAX_SERIES = 1000
STEP = 15.0
"""Seconds between the points of a series: how often a Prometheus usually scrapes."""


def from_prometheus(
    gates: Iterable[Gate], server: Prometheus, trial: Trial, *, step: float = STEP
) -> list[Evidence]:
    """One piece of evidence for each gate that asks Prometheus, labelled with the gate's name.

    A gate that compares with the baseline has a second one, with the same query about the generation before.
    Whatever goes wrong is in the evidence: nothing is raised.
    """
    asking = [(gate, trial) for gate in gates if gate.about.source == "prometheus"]
    if not asking:
        return []
    asking += [(gate, trial.of_baseline()) for gate, _ in asking if gate.compare == "baseline"]
    started = time.time()
    try:
        client = Client(server)
        at = client.now()
    except (NoAnswer, BadQuery) as problem:
        return [_without(gate, about, started, problem) for gate, about in asking]
    # The answer is from between the two moments; half of that is the most we can be wrong by.
    offset = at - (started + time.time()) / 2
    if abs(offset) > MAX_SKEW:
        skew = BadQuery(f"its clock and the clock here differ by {duration(abs(offset))}")
        return [_without(gate, about, started, skew) for gate, about in asking]
    found: list[Evidence] = []
    gone: Gone | None = None
    for gate, about in asking:
        try:
            if gone is not None:
                raise gone  # one time-out is enough for all of them
            found.append(_ask(client, _moment(gate, about, at, offset), step))
        except (NoAnswer, BadQuery) as problem:
            gone = problem if isinstance(problem, Gone) else None
            found.append(_without(gate, about, started, problem))
    return found


def _moment(gate: Gate, trial: Trial, now: float, offset: float) -> Moment:
    if gate.compare == "baseline" and trial.until is not None:
        now = min(now, trial.until + offset)
    return Moment(gate, trial, now, offset)


def _ask(client: Client, moment: Moment, step: float) -> Evidence:
    gate = moment.gate
    query = moment.filled(gate.query or "")
    labels = {"query": query}
    match gate.metric:
        case "prometheus.value":
            points = _points(client.instant(query, moment.at))
            _fresh(client, query, points, moment)
            worst = _worst(gate, points)
            if len(points) > 1:
                labels["series"] = _named(worst)
            return _piece(moment, len(points), labels, value=worst.value)
        case "prometheus.rate":
            total_query = moment.filled(gate.total or "")
            successes = _count(client, query, "query", moment)
            total = _count(client, total_query, "total", moment)
            return _piece(moment, total, labels | {"total": total_query}, successes=successes)
        case "prometheus.samples":
            points = _points(client.instant(query, moment.at))
            try:
                samples, note = observations([(point.labels, point.value) for point in points])
            except Unclear as problem:
                raise BadQuery(str(problem)) from None
            if not samples:
                raise NoAnswer("nothing was observed")
            return _piece(moment, len(samples), labels | ({"note": note} if note else {}), samples=samples)
        case _:
            return _series(client, moment, query, step)


def _points(points: list[Point]) -> list[Point]:
    """The points, when they are all of them numbers.

    Raises:
        NoAnswer, BadQuery: they are not.
    """
    if not points:
        raise NoAnswer("the query gives no series")
    if len(points) > MAX_SERIES:
        raise BadQuery(f"the query gives {len(points)} series; aggregate it, e.g. with max by (instance)")
    for point in points:
        if math.isinf(point.value):
            raise BadQuery(f"the value is infinite{_of(point, points)}")
    for point in points:
        if math.isnan(point.value):
            raise NoAnswer(f"the value is NaN{_of(point, points)}: there was nothing to measure")
    return points


def _fresh(client: Client, query: str, points: Sequence[Point], moment: Moment) -> None:
    """One series that nobody has measured lately is a hole, however good the others are."""
    if points[0].labels == {} and len(points) == 1:
        return  # a scalar, or an aggregation: of the time of the evaluation
    oldest = min(client.sampled(query, moment.at).values(), default=moment.at)
    if (age := moment.at - oldest) > moment.gate.max_age:
        raise NoAnswer(
            f"the last sample is {duration(age)} old, at most {duration(moment.gate.max_age)} are allowed"
        )


def _worst(gate: Gate, points: Sequence[Point]) -> Point:
    if gate.op == "==":
        return max(points, key=lambda point: abs(point.value - gate.threshold))
    return (min if gate.op[0] == ">" else max)(points, key=lambda point: point.value)


def _count(client: Client, query: str, key: str, moment: Moment) -> int:
    """A number of observations; increase() extrapolates, so it is rounded to a whole one."""
    try:
        points = _points(client.instant(query, moment.at))
    except Gone:
        raise
    except (NoAnswer, BadQuery) as problem:
        raise type(problem)(f"{key}: {problem}") from None
    if len(points) > 1:
        raise BadQuery(f"{key} gives {len(points)} series where one is counted; aggregate it with sum()")
    if points[0].value < 0:
        raise BadQuery(f"{key} counts {number(points[0].value)}")
    # Not round(), which goes to even numbers: a failure more must be a failure more.
    return math.floor(points[0].value + 0.5)


def _series(client: Client, moment: Moment, query: str, step: float) -> Evidence:
    lines = client.over(query, moment.at - moment.seconds, moment.at, step)
    if not lines:
        raise NoAnswer("the query gives no series")
    if len(lines) > 1:
        raise BadQuery(f"the query gives {len(lines)} series; one can be followed: aggregate it")
    seen = [(at, value) for at, value in zip(lines[0].times, lines[0].values, strict=True)]
    if any(math.isinf(value) for _, value in seen):
        raise BadQuery("a value is infinite")
    known = [(at - moment.offset, value) for at, value in seen if not math.isnan(value)]
    if not known:
        raise NoAnswer("every value is NaN: there was nothing to measure")
    if (age := moment.at - moment.offset - known[-1][0]) > moment.gate.max_age:
        raise NoAnswer(f"the last value is {duration(age)} old")
    labels = {"query": query}
    if left_out := len(seen) - len(known):
        labels["note"] = f"{left_out} values are NaN and left out"
    return _piece(
        moment,
        len(known),
        labels,
        times=tuple(at for at, _ in known),
        samples=tuple(value for _, value in known),
    )


def _piece(moment: Moment, n: int, labels: Mapping[str, str], **fields: Any) -> Evidence:
    gate, ended = moment.gate, moment.at - moment.offset
    return Evidence(
        f"{gate.metric}-{secrets.token_hex(4)}",
        gate.metric,
        gate.about.kind,
        "prometheus",
        ended - moment.seconds,
        ended,
        n,
        labels={"gate": gate.name, **moment.trial.labels, **labels},
        **fields,
    )


def _without(gate: Gate, trial: Trial, at: float, problem: NoAnswer | BadQuery) -> Evidence:
    """Evidence that nothing was seen (``note``), or never will be (``error``)."""
    key = "error" if isinstance(problem, BadQuery) else "note"
    return Evidence(
        f"{gate.metric}-{secrets.token_hex(4)}",
        gate.metric,
        gate.about.kind,
        "prometheus",
        trial.since,
        at,
        0,
        labels={"gate": gate.name, **trial.labels, key: str(problem)},
        successes=0 if gate.about.kind == "rate" else None,
    )


def _of(point: Point, points: Sequence[Point]) -> str:
    return f" of {_named(point)}" if len(points) > 1 else ""


def _named(point: Point) -> str:
    labels = {name: value for name, value in sorted(point.labels.items()) if name != "__name__"}
    inside = ", ".join(f'{name}="{value}"' for name, value in labels.items())
    return f"{point.labels.get('__name__', '')}{{{inside}}}"[:200]
