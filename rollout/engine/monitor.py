"""What all engines tell the monitors of their hosts, and what they read of what monitors have left."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from rollout.config import Config, Environment, Listen
from rollout.model import MonitorLog


def monitor_config(
    config: Config,
    environment: Environment,
    listen: Listen,
    host: str,
    *,
    urls: Mapping[str, str],
    directory: str,
    socket: str,
    token: str,
    mark: str,
    secrets: str | None = None,
) -> dict[str, Any]:
    """The monitor's configuration on a host; empty where the environment is to have none.

    ``urls``: where it reaches the profiles. ``secrets``: the folder on the host that URLs which are secrets
    have been brought to; ``None``: their files are on this very machine. ``mark``: where it leaves word when
    it takes a build back, which it does where the environment has ``takeback``.
    """
    monitor = environment.monitor
    if monitor is None:
        return {}
    found: dict[str, Any] = {
        "directory": directory,
        "environment": environment.name,
        "host": host,
        "socket": socket,
        "token_file": token,
        "every": monitor.every,
        "timeout": monitor.timeout,
        "keep": monitor.keep,
        "profiles": {
            name: {"url": urls[name], "shell": name == "system"}
            for name in monitor.profiles or environment.profiles
        },
        "alerts": [alert.model_dump(mode="json", by_alias=True) for alert in monitor.alerts],
        "notify": [],
    }
    if environment.takeback:
        found["mark"] = mark
    if listen.tls and listen.tls.ca:
        found["ca"] = str(listen.tls.ca)
    for name in environment.notify:
        receiver = config.notify[name]
        where: dict[str, Any] = {"url": receiver.url}
        if receiver.url_file is not None:
            where = {"url_file": str(receiver.url_file) if secrets is None else f"{secrets}/{name}"}
        found["notify"].append({"name": name, "severity": receiver.severity, **where})
    return found


def age_since(since: float) -> float:
    """How long ago a moment was, in seconds: what hosts are asked by, whose wall clocks need not agree."""
    return max(0.0, time.time() - since)


def as_log(found: Mapping[str, Any]) -> MonitorLog:
    """What ``terminals monitor-records`` printed.

    Raises:
        KeyError: it is something else.
    """
    # A build of before this was told has no moment of it.
    judged = found.get("judged")
    return MonitorLog(
        tuple(found["records"]),
        tuple(found["alerts"]),
        int(found["damaged"]),
        None if judged is None else float(judged),
    )
