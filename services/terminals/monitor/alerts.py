"""Alerts: which rules hold, for how long they have, and what changed by that. Decided from the history alone.

A rule of the checks holds for each profile by itself, one of the services' figures for each generation.
What is not known, because nothing was seen, neither raises an alert nor resolves one; a condition has held
only as long as it was seen to hold, without a gap.
"""

from __future__ import annotations

import operator
import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from terminals.monitor.config import CHECKED, Rule
from terminals.monitor.history import Check, Figures, History, patience, within

Alert = dict[str, Any]
MOST_HISTORY: Final = 200
"""Alerts that are over: so many of the critical ones are kept, and of the others."""
_COMPARE: Final[dict[str, Callable[[float, float], bool]]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
}


@dataclass(frozen=True, slots=True)
class Alerts:
    """``active`` and ``history``, the oldest first; ``raised`` and ``resolved`` are what has just changed."""

    active: tuple[Alert, ...] = ()
    history: tuple[Alert, ...] = ()
    raised: tuple[Alert, ...] = ()
    resolved: tuple[Alert, ...] = ()


@dataclass(frozen=True, slots=True)
class _Case:
    """A rule applied to a profile or a generation. ``seen``: the observations, the latest last."""

    rule: Rule
    profile: str | None
    generation: str | None
    seen: Sequence[Check] | Sequence[Figures]

    @property
    def key(self) -> tuple[str, str | None, str | None]:
        # The generation that failed a check is told, but it is the profile that is down.
        return self.rule.name, self.profile, None if self.profile else self.generation


def judge(
    rules: Iterable[Rule], profiles: Iterable[str], history: History, before: Alerts, *, at: float, host: str
) -> Alerts:
    """Bring alerts up to date. ``at``: now, by the wall clock."""
    known = {key_of(alert): alert for alert in before.active}
    active: list[Alert] = []
    raised: list[Alert] = []
    told: set[tuple[str, str | None, str | None]] = set()
    unknown: set[str] = set()
    names = set()
    for rule in rules:
        names.add(rule.name)
        if rule.metric not in CHECKED and not (
            history.figures and history.figures[-1].generations is not None
        ):
            unknown.add(rule.name)
        for case in _cases(rule, tuple(profiles), history):
            told.add(case.key)
            value = _value(case, history, len(case.seen) - 1)
            alert = known.get(case.key)
            if value is None:
                active += [alert] if alert else []
            elif not _holds(rule, value):
                continue
            elif alert is not None:
                active.append({**alert, "value": round(value, 4)})
            elif (since := _held_since(case, history)) is not None:
                alert = _alert(case, value, since, host)
                active.append(alert)
                raised.append(alert)
    kept = {key_of(alert) for alert in active}
    resolved = []
    for key, alert in known.items():
        if key in kept:
            continue
        if key not in told and key[0] in unknown:
            active.append(alert)  # the services do not answer: nobody knows
            continue
        resolved.append({**alert, "until": round(at, 3)})
    ended = _newest((*before.history, *resolved))
    return Alerts(tuple(sorted(active, key=lambda one: one["since"])), ended, tuple(raised), tuple(resolved))


def _newest(history: Sequence[Alert]) -> tuple[Alert, ...]:
    """So many of the critical ones, by which builds are judged, and so many of the others."""
    critical = [alert for alert in history if alert["severity"] == "critical"][-MOST_HISTORY:]
    others = [alert for alert in history if alert["severity"] != "critical"][-MOST_HISTORY:]
    return tuple(sorted([*critical, *others], key=lambda alert: alert["until"]))


def key_of(alert: Alert) -> tuple[str, str | None, str | None]:
    """What an alert is about: while it is active there is no second one of it."""
    profile = alert["profile"]
    return alert["rule"], profile, None if profile else alert["generation"]


def _cases(rule: Rule, profiles: Sequence[str], history: History) -> Iterator[_Case]:
    if rule.metric in CHECKED:
        for profile in profiles:
            if rule.profile in (None, profile):
                seen = history.of(profile)
                failed = next((check for check in reversed(seen) if not check.ok), None)
                yield _Case(rule, profile, failed.generation if failed else None, seen)
        return
    latest = history.figures[-1] if history.figures else None
    for name in (latest.generations or ()) if latest else ():
        answered = [entry for entry in history.figures if entry.generations is not None]
        yield _Case(rule, None, name, answered)


def _value(case: _Case, history: History, index: int) -> float | None:
    """What the metric was at one of the observations, by what had been seen until then."""
    if index < 0:
        return None
    rule, now = case.rule, case.seen[index]
    begin = now.when - rule.window
    if isinstance(now, Figures):
        entry = (now.generations or {}).get(case.generation or "")
        if entry is None:
            return None
        if rule.metric == "memory_bytes":
            return float(entry["memory_bytes"])
        return float(history.grown(rule.metric, begin, now.when).get(case.generation or "", 0))
    if rule.metric == "up":
        return float(now.ok)
    checks = within(cast(Sequence[Check], case.seen), begin, now.when)
    if rule.metric == "success_ratio":
        return sum(check.ok for check in checks) / len(checks)
    times = [check.reconnect_ms for check in checks if check.reconnect_ms is not None]
    return statistics.fmean(times) if times else None


def _holds(rule: Rule, value: float) -> bool:
    return _COMPARE[rule.op](value, rule.threshold)


def _held_since(case: _Case, history: History) -> float | None:
    """The moment, by the wall clock, since when a rule that holds now has held, if that is long enough."""
    seen, rule = case.seen, case.rule
    first = last = seen[-1]
    # Rounds are a little early or late: that must not cost a whole round more.
    enough = rule.hold - last.interval / 10
    for index in range(len(seen) - 1, -1, -1):
        entry = seen[index]
        value = _value(case, history, index)
        if value is None or not _holds(rule, value) or first.when - entry.when > patience(entry.interval):
            break
        first = entry
        if last.when - first.when >= enough:
            return first.at
    return None


def _alert(case: _Case, value: float, since: float, host: str) -> Alert:
    rule = case.rule
    return {
        "rule": rule.name,
        "severity": rule.severity,
        "host": host,
        "profile": case.profile,
        "generation": case.generation,
        "since": round(since, 3),
        "until": None,
        "value": round(value, 4),
        "threshold": rule.threshold,
        "text": _text(case, value),
        "notified": [],
    }


def _text(case: _Case, value: float) -> str:
    rule, last = case.rule, case.seen[-1]
    match rule.metric:
        case "up":
            reason = f": {last.error}" if last.error else ""
            return f"{case.profile}: the check {'succeeded' if value else 'failed'}{reason}"
        case "success_ratio":
            return f"{case.profile}: {value:.1%} of the checks of {rule.window:g} s succeeded"
        case "reconnect_ms":
            return f"{case.profile}: coming back took {value:.0f} ms on average of {rule.window:g} s"
        case "memory_bytes":
            return f"a worker of {case.generation} has {value / 1e6:.1f} MB"
        case _:
            what = "reconnection loops" if rule.metric == "loops" else "times a breaker opened"
            return f"{case.generation}: {value:.0f} {what} in {rule.window:g} s"
