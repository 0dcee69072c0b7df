"""Evidence from what the monitors recorded while a build soaks.

Time is counted by the hosts' monotonic clocks, from one record to the next: a clock that was set, a
machine that slept and a monitor that was killed add nothing to what was seen. What lies between two
records that are too far apart is a gap: it is told, and counts for nothing.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from statistics import median
from typing import Any

from terminals.monitor.records import NOT_MADE, count_until

from rollout.model import Evidence, EvidenceKind, JsonObject, MonitorLog

LATE = 1.5
"""Records of one monitor further apart than so many intervals, and the slack, have a gap between them."""
SLACK_SECONDS = 5.0
"""A check that waits for a host that does not answer takes its time, and is no gap."""
LATENCY_FLOOR = 20.0
"""Milliseconds: a machine that is busy with something else takes 5 ms in place of 4, and that is no drift."""
MEMORY_FLOOR = 50e6
"""Bytes: an interpreter's first hour is none either."""
BINS = 144
"""Points of a series, at most: one each ten minutes of a day. Each is the median of its time."""


@dataclass(slots=True)
class Observed:
    """What one host's monitor saw of a generation. ``gaps``: seconds of each; times in unix seconds.

    ``last``: seconds that the last record stands for.
    """

    host: str
    started: float = 0.0
    ended: float = 0.0
    seconds: float = 0.0
    interval: float = 0.0
    last: float = 0.0
    gaps: list[float] = field(default_factory=list)
    checks: list[JsonObject] = field(default_factory=list)
    services: list[JsonObject] = field(default_factory=list)
    ages: list[float] = field(default_factory=list)
    """For each check, the observed seconds before it."""
    service_ages: list[float] = field(default_factory=list)

    def blind(self, seconds: float | None) -> None:
        """Take note of a time without checks that is over; ``None``: there was none."""
        if seconds:
            self.gaps.append(seconds)


def from_monitor(
    logs: Mapping[str, MonitorLog | None],
    since: float,
    generation: str,
    *,
    window: float | None = None,
    timeout: float = 20.0,
) -> list[Evidence]:
    """Evidence of a generation since it was promoted (unix seconds), or of the last ``window`` of that.

    ``timeout`` is how long a step of a check may take. A host without records gives evidence of nothing
    seen: no gate passes on what the other hosts have seen.
    """
    hosts = [
        observe(host, log.records if log else (), since, generation, window=window, timeout=timeout)
        for host, log in sorted(logs.items())
    ]
    found = [*_time(hosts), *_checks(hosts), *_services(hosts, generation), _alerts(hosts, logs)]
    if window is None:
        return found
    return [replace(piece, labels={**piece.labels, "window": f"{window:g}"}) for piece in found]


def observe(
    host: str,
    records: Sequence[JsonObject],
    since: float,
    generation: str,
    *,
    window: float | None = None,
    timeout: float = 20.0,
) -> Observed:
    """Go through a host's records in the order they were written in.

    Rounds in which the generation did not have all traffic are left out, as if nobody had looked: another
    one was on trial then, or everybody had been led elsewhere. One in which nobody was checked, because the
    monitor could not, is blind: a gap until the next that was.
    """
    mine = list(_of(records, since, generation))
    elsewhere = {_round(record) for record in mine if _anothers(record, generation)}
    checked = {_round(record) for record in mine if _checks_ours(record, generation)} - elsewhere
    if window is not None:
        mine = _last(mine, window, timeout)
    seen = Observed(host)
    before: JsonObject | None = None
    blind: float | None = None
    """Seconds since the last check, where there was none in the round before."""
    for record in mine:
        if _round(record) in elsewhere:
            seen.blind(blind)
            before = blind = None
            seen.ended = float(record["at"])
            continue
        if blind is not None and record["kind"] == "gap":
            continue  # it lies within this one
        if before is not None:
            covered, gap = between(before, record, timeout)
            if record["kind"] == "gap" and not gap:
                # Too short to be told from the times: a kill with a quick restart, a round that came late.
                gap = min(covered, float(record["seconds"]))
                covered -= gap
            if blind is not None:
                blind += covered + gap
            else:
                seen.seconds += covered
                if gap:
                    seen.gaps.append(gap)
        before = record
        if record["kind"] == "gap":
            continue
        if _round(record) not in checked:
            blind = blind or 0.0
            continue
        seen.blind(blind)
        blind = None
        seen.ended = float(record["at"])
        if record["kind"] == "check":
            seen.checks.append(record)
            seen.ages.append(seen.seconds)
        else:
            seen.services.append(record)
            seen.service_ages.append(seen.seconds)
    if mine:
        seen.started = float(mine[0]["at"])
        seen.interval = float(mine[-1]["interval"])
        # Each record stands for the time until the next one, the last one too.
        seen.last = seen.interval if blind is None else 0.0
    seen.blind(blind)
    return seen


def _round(record: JsonObject) -> tuple[Any, Any]:
    return record["run"], record["at"]


def _elsewhere(record: JsonObject, generation: str) -> bool:
    """Whether others were served, too, in the round that this is of: what it saw may not be ours."""
    weights = {entry["name"]: entry.get("weight", 100) for entry in record.get("generations") or ()}
    return bool(weights) and weights.get(generation) != 100


def between(before: Mapping[str, Any], after: Mapping[str, Any], timeout: float) -> tuple[float, float]:
    """The seconds between two records that were seen, and those that were not (0: no gap)."""
    if before["boot"] != after["boot"]:
        # Another boot's clocks begin anew; the wall clock is all that there is, and is believed in so far as
        # it tells of something that was not seen.
        return 0.0, max(float(after["at"]) - float(before["at"]), float(after["interval"]))
    awake = float(after["monotonic"]) - float(before["monotonic"])
    passed = max(awake, float(after["boottime"]) - float(before["boottime"]))
    if passed < 0:
        return 0.0, 0.0
    interval = max(float(before["interval"]), float(after["interval"]))
    if before["run"] == after["run"] and passed <= LATE * interval + timeout + SLACK_SECONDS:
        return awake, 0.0
    if passed <= LATE * interval:
        return awake, 0.0  # started again in time for its next check
    return 0.0, passed


def _checks_ours(record: JsonObject, generation: str) -> bool:
    """Whether it is a check of the generation, be it one in which nobody was served."""
    return record["kind"] == "check" and record.get("generation") in (None, generation)


def _of(records: Sequence[JsonObject], since: float, generation: str) -> Iterator[JsonObject]:
    """Those after the promotion, from the first round on that is not evidently somebody else's.

    It need not have served anybody in it: a build that was dead from its first moment on never has, and is
    judged by just that. By the order they were written in, not by their times: a clock that was set back
    hides nothing.
    """
    others = {_round(record) for record in records if _anothers(record, generation) or _not_made(record)}
    begun = False
    for record in records:
        if not begun:
            seen = record["kind"] in ("check", "services") and float(record["at"]) >= since
            begun = seen and _round(record) not in others
        if begun:
            yield record


def _anothers(record: JsonObject, generation: str) -> bool:
    """Whether another generation was served in the round that this is of."""
    served = record.get("generation") if record["kind"] == "check" else None
    return served not in (None, NOT_MADE, generation) or _elsewhere(record, generation)


def _not_made(record: JsonObject) -> bool:
    return record["kind"] == "check" and record.get("generation") == NOT_MADE


def _last(records: list[JsonObject], window: float, timeout: float) -> list[JsonObject]:
    left = window
    for index in range(len(records) - 1, 0, -1):
        left -= sum(between(records[index - 1], records[index], timeout))
        if left <= 0:
            return records[index - 1 :]
    return records


def _time(hosts: Sequence[Observed]) -> Iterator[Evidence]:
    """The host that was seen least counts, and the longest gap of any."""
    records = sum(len(host.checks) for host in hosts)
    seen = min((host.seconds + host.last for host in hosts), default=0.0)
    yield _piece("monitor.observed_seconds", "gauge", hosts, 1 if records else 0, value=seen)
    longest = max((gap for host in hosts for gap in host.gaps), default=0.0)
    everywhere = all(host.checks for host in hosts)
    yield _piece("monitor.longest_gap", "gauge", hosts, records if everywhere else 0, value=longest)


def _checks(hosts: Sequence[Observed]) -> Iterator[Evidence]:
    for host in hosts:
        good = [check for check in host.checks if check["ok"]]
        back = [check for check in host.checks if check["reconnect_ms"] is not None or not check["ok"]]
        yield _piece("monitor.success_rate", "rate", [host], len(host.checks), successes=len(good))
        kept = sum(bool(check["resumed"]) for check in back)
        yield _piece("monitor.reuse_rate", "rate", [host], len(back), successes=kept)
        for name in ("connect_ms", "reconnect_ms", "command_ms"):
            samples = tuple(float(check[name]) for check in host.checks if check[name] is not None)
            yield _piece(f"monitor.{name}", "samples", [host], len(samples), samples=samples)
        points = [
            (age, float(check["reconnect_ms"]))
            for age, check in zip(host.ages, host.checks, strict=True)
            if check["reconnect_ms"] is not None
        ]
        yield _series("monitor.latency_drift", host, points, LATENCY_FLOOR)


def _services(hosts: Sequence[Observed], generation: str) -> Iterator[Evidence]:
    for host in hosts:
        states = [
            (age, entry)
            for age, record in zip(host.service_ages, host.services, strict=True)
            for entry in record.get("generations") or []
            if entry["name"] == generation
        ]
        memory = [(age, float(entry["memory_bytes"])) for age, entry in states if entry["memory_bytes"]]
        most = max((value for _, value in memory), default=0.0)
        yield _piece("monitor.memory_bytes", "gauge", [host], len(memory), value=most)
        yield _series("monitor.memory_drift", host, memory, MEMORY_FLOOR)
        loops = _growth([int(entry["loops"]) for _, entry in states])
        yield _piece("monitor.loops", "count", [host], len(states), value=float(loops))


def _alerts(hosts: Sequence[Observed], logs: Mapping[str, MonitorLog | None]) -> Evidence:
    """Of the rounds that alerts were judged in: records alone, on a disk that took no more, tell of none."""
    raised = rounds = 0
    ends = []
    for host in hosts:
        log = logs[host.host] or MonitorLog((), ())
        judged = host.services[: count_until(host.services, log.judged)] if host.checks else []
        times = [float(record["at"]) for record in judged]
        for alert in log.alerts:
            raised += alert.get("severity") == "critical" and _of_its_time(alert, times, host.interval)
        rounds += len(judged)
        ends.append(0.0 if not judged else host.ended if len(judged) == len(host.services) else times[-1])
    piece = _piece("monitor.critical_alerts", "count", hosts, rounds if all(ends) else 0, value=float(raised))
    return replace(piece, ended=min(ends)) if piece.n else piece


def _of_its_time(alert: JsonObject, rounds: Sequence[float], interval: float) -> bool:
    """Whether an alert tells of what was watched: it began in a round of that, or lasted through one.

    What ended with the first round was of the build before, and this one may be its cure; what came and went
    while another one was on trial is of that one; and what tells of checks that could not be made, of none.
    """
    if alert.get("generation") == NOT_MADE:
        return False
    began, until = float(alert["since"]), alert.get("until")
    return any(
        at <= began < at + interval / 2 or (began <= at and (until is None or float(until) >= at + interval))
        for at in rounds
    )


def _growth(counter: Sequence[int]) -> int:
    """What a counter has grown by. One that falls has begun anew with its process."""
    return sum(after - before if after >= before else after for before, after in pairwise(counter))


def _series(metric: str, host: Observed, points: Sequence[tuple[float, float]], floor: float) -> Evidence:
    """``floor``: growth is a share of the median, or of this where that is less."""
    width = max(host.seconds / BINS, 1e-9)
    bins: dict[int, list[tuple[float, float]]] = {}
    for point in points:
        bins.setdefault(int(point[0] / width), []).append(point)
    times = tuple(median(at for at, _ in part) for part in bins.values())
    values = tuple(median(value for _, value in part) for part in bins.values())
    piece = _piece(metric, "series", [host], len(values), samples=values, times=times)
    return replace(piece, labels={**piece.labels, "floor": f"{floor:g}"})


def _piece(metric: str, kind: EvidenceKind, hosts: Sequence[Observed], n: int, **fields: Any) -> Evidence:
    there = [host for host in hosts if host.checks]
    return Evidence(
        f"{metric}-{secrets.token_hex(4)}",
        metric,
        kind,
        "monitor",
        min((host.started for host in there), default=0.0),
        # The host that fell silent first: what is judged must be new on all of them.
        min((host.ended for host in there), default=0.0),
        n,
        labels={"host": hosts[0].host} if len(hosts) == 1 else {},
        **fields,
    )
