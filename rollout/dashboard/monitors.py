"""What the monitors of the hosts say: alerts that are on, and how quick terminals have been lately."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from rollout.config import Config, Environment
from rollout.dashboard.curves import figure
from rollout.errors import EngineError
from rollout.model import MonitorLog
from rollout.pipeline.begin import engine_of
from rollout.report.material import usable
from rollout.report.series import monitor_series
from rollout.units import count, share

EVERY: Final = 15.0
"""Seconds between two questions: they look once a minute, and asking over SSH is not free."""
BACK: Final = 3600.0
"""Seconds of the past that are shown."""
BINS: Final = 60


@dataclass
class Monitors:
    """The latest that was heard of them."""

    _heard: dict[str, dict[str, Any]] = field(default_factory=dict)
    _asked: dict[str, float] = field(default_factory=dict)

    def of(self, config: Config, environment: Environment, now: float) -> dict[str, Any]:
        """``alerts``, ``figures`` and what is to be ``said``, which is "" where there is to be no monitor."""
        name = environment.name
        if environment.monitor is None:
            return _nothing("")
        if name not in self._heard or now - self._asked[name] >= EVERY:
            self._asked[name] = now
            try:
                logs = engine_of(config, environment).monitor(now - BACK)
                self._heard[name] = _seen({host: usable(log) for host, log in logs.items()}, now)
            except EngineError as error:
                self._heard[name] = _nothing(str(error))
        return self._heard[name]


def _nothing(said: str) -> dict[str, Any]:
    return {"alerts": [], "figures": [], "said": said}


def _seen(logs: Mapping[str, MonitorLog | None], now: float) -> dict[str, Any]:
    window = (now - BACK, now)
    series = [one for one in monitor_series(logs, window, BINS)["latency"] if one["n"]]
    checks = [
        record
        for log in logs.values()
        for record in (log.records if log else ())
        if record.get("kind") == "check" and record["at"] >= window[0]
    ]
    good = sum(bool(record.get("ok")) for record in checks)
    said = (
        [f"{good} of {count(len(checks), 'check')} in an hour succeeded ({share(good / len(checks))})"]
        if checks
        else ["no check in an hour"]
    )
    said += [f"the monitor of {host} does not answer" for host, log in logs.items() if log is None]
    return {
        "alerts": [
            {
                "host": str(alert.get("host") or host),
                "rule": str(alert.get("rule", "")),
                "severity": str(alert.get("severity", "")),
                "since": alert["since"],
                "text": str(alert.get("text", "")),
            }
            for host, log in logs.items()
            for alert in (log.alerts if log else ())
            if alert.get("until") is None
        ],
        "figures": [figure("Latency, as the monitors see it", "ms", series, window)] if series else [],
        "said": "; ".join(said),
    }
