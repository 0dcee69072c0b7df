"""What a monitor that starts goes on from: the records of the last day, and the alerts that they come to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

from terminals.monitor.alerts import Alerts, judge, key_of
from terminals.monitor.clock import Reading
from terminals.monitor.config import MonitorConfig
from terminals.monitor.files import ALERTS, read_json
from terminals.monitor.history import History
from terminals.monitor.records import Record, count_until


def recall(config: MonitorConfig, records: Sequence[Record], now: Reading) -> tuple[History, Alerts]:
    """Take up what the monitor before this one has left. ``records``: of the last day, in their order.

    Rounds that are on disk and not in its alerts are judged now: it was killed in between, or the disk took
    its records and not the file that is made anew. Nothing counts as having been judged that was not.
    """
    found = read_json(config.directory / ALERTS)
    alerts, judged = _left(found), found.get("updated") if isinstance(found, dict) else None
    known = count_until(records, judged) if isinstance(judged, (int, float)) else 0
    history = History()
    history.add(records[:known], now)
    profiles = [door.profile for door in config.doors]
    for at, one in _rounds(records[known:]):
        history.add(one, now)
        alerts = judge(config.alerts, profiles, history, alerts, at=at, host=config.host)
    return history, replace(alerts, raised=(), resolved=())


def _rounds(records: Sequence[Record]) -> Iterator[tuple[float, list[Record]]]:
    for (_, at), one in groupby(records, lambda record: (record["run"], record["at"])):
        yield at, list(one)


def _left(found: Any) -> Alerts:
    """The alerts in a file; none if it makes no sense."""
    try:
        lists = [
            [alert for alert in found[name] if key_of(alert) and alert["since"]]
            for name in ("active", "history")
        ]
        return Alerts(tuple(lists[0]), tuple(lists[1]))
    except (TypeError, KeyError):
        return Alerts()
