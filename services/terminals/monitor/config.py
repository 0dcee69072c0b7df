"""Configuration of a monitor, validated once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from terminals.configfile import read_config, refuse_unknown
from terminals.parts import settings_digest, without_secrets
from terminals.protocol import STABLE_AFTER

Severity = Literal["critical", "warning", "info"]
SEVERITIES: Final = ("info", "warning", "critical")
"""The least first."""
CHECKED: Final = ("up", "success_ratio", "reconnect_ms")
"""Metrics of rules that are measured by the checks, each profile for itself."""
COUNTED: Final = ("memory_bytes", "breaker_opened", "loops")
"""Metrics of rules that the services count, each generation for itself."""
OPS: Final = ("<", "<=", ">", ">=", "==")
DAY: Final = 86400.0


@dataclass(frozen=True, slots=True)
class Door:
    """A profile's WebSocket URL. ``shell``: what answers there computes what a POSIX shell does."""

    profile: str
    url: str
    shell: bool


@dataclass(frozen=True, slots=True)
class Rule:
    """``metric`` compared with ``threshold`` for at least ``hold`` seconds raises an alert.

    ``window``: seconds that are averaged or counted. ``profile`` narrows a rule of the checks to one.
    """

    name: str
    severity: str
    metric: str
    op: str
    threshold: float
    profile: str | None = None
    window: float = 300.0
    hold: float = 0.0


@dataclass(frozen=True, slots=True)
class Receiver:
    """Somebody to be told of alerts of at least ``severity``: an Apprise URL, or a file that holds one."""

    name: str
    severity: str
    url: str | None = None
    url_file: Path | None = None


@dataclass(frozen=True)
class MonitorConfig:
    """What a monitor needs to know. Times in seconds."""

    directory: Path
    doors: tuple[Door, ...]
    host: str = "local"
    environment: str = ""
    socket: str | None = None
    """Control socket of the session manager; without it ``web`` is asked for the services' figures."""
    web: str | None = None
    token_file: Path | None = None
    ca: str | None = None
    every: float = 60.0
    timeout: float = 20.0
    settle: float = STABLE_AFTER + 0.1
    """How long a connection is left alone before it is cut: sooner, it would count as a short-lived one."""
    keep: float = 14 * DAY
    alerts: tuple[Rule, ...] = ()
    notify: tuple[Receiver, ...] = ()
    mark: Path | None = None
    """Allowed to take a bad build back, and where it leaves word of that; ``None``: it is not."""
    digest: str = ""
    """Of what its file said."""
    shown: str = "{}"
    """What its file said, without what is secret."""

    @property
    def longest(self) -> float:
        """Seconds that a check may take: its four steps, and the time before the cut."""
        return 4 * self.timeout + self.settle

    @classmethod
    def load(cls, path: Path) -> MonitorConfig:
        """Read a JSON file.

        Raises:
            ConfigError: unreadable, not JSON, a key missing, unknown or of the wrong type.
        """
        return read_config(path, cls._from)

    @classmethod
    def _from(cls, raw: dict[str, Any]) -> MonitorConfig:
        known = cls.__dataclass_fields__.keys() - {"doors", "digest", "shown"} | {"profiles"}
        refuse_unknown("", raw, known)
        config = cls(
            directory=Path(raw["directory"]),
            doors=tuple(_door(name, entry) for name, entry in raw["profiles"].items()),
            host=str(raw.get("host", cls.host)),
            environment=str(raw.get("environment", cls.environment)),
            socket=_text(raw.get("socket")),
            web=_text(raw.get("web")),
            token_file=None if raw.get("token_file") is None else Path(raw["token_file"]),
            ca=_text(raw.get("ca")),
            every=_seconds(raw, "every", cls.every, least=0.2),
            timeout=_seconds(raw, "timeout", cls.timeout, least=0.1),
            settle=_seconds(raw, "settle", cls.settle),
            keep=_seconds(raw, "keep", cls.keep),
            alerts=tuple(_rule(entry) for entry in raw.get("alerts", ())),
            notify=tuple(_receiver(entry) for entry in raw.get("notify", ())),
            mark=None if raw.get("mark") is None else Path(raw["mark"]),
            digest=settings_digest(raw),
            shown=json.dumps(without_secrets(raw)),
        )
        if config.mark is not None and config.socket is None:
            raise ValueError("mark: taking a build back needs the manager's socket")
        if not config.doors:
            raise ValueError("profiles: at least one is needed")
        names = [rule.name for rule in config.alerts]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"alerts: the name {min(twice)!r} is used twice")
        return config


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _seconds(raw: Mapping[str, Any], name: str, default: float, *, least: float = 0.0) -> float:
    value = float(raw.get(name, default))
    if not least <= value < float("inf"):
        raise ValueError(f"{name} must be {least:g} seconds or more, not {value:g}")
    return value


def _one_of(place: str, value: Any, known: tuple[str, ...]) -> str:
    if value not in known:
        raise ValueError(f"{place}: one of {', '.join(known)} is needed, not {value!r}")
    return str(value)


def _door(profile: str, raw: dict[str, Any]) -> Door:
    refuse_unknown(f"profiles.{profile}: ", raw, {"url", "shell"})
    url = str(raw["url"])
    if not url.startswith(("ws://", "wss://")):
        raise ValueError(
            f"profiles.{profile}.url: ws://HOST:PORT/ or wss://HOST:PORT/ is needed, not {url!r}"
        )
    return Door(profile, url, bool(raw.get("shell", profile == "system")))


def _rule(raw: dict[str, Any]) -> Rule:
    place = f"alerts.{raw['name']}"
    refuse_unknown(f"{place}: ", raw, {*Rule.__dataclass_fields__, "for"} - {"hold"})
    metric = _one_of(f"{place}.metric", raw["metric"], CHECKED + COUNTED)
    if raw.get("profile") is not None and metric not in CHECKED:
        raise ValueError(f"{place}.profile: {metric} is counted by generation, not by profile")
    return Rule(
        str(raw["name"]),
        _one_of(f"{place}.severity", raw["severity"], SEVERITIES),
        metric,
        _one_of(f"{place}.op", raw["op"], OPS),
        float(raw["threshold"]),
        _text(raw.get("profile")),
        _seconds(raw, "window", 300.0),
        _seconds(raw, "for", 0.0),
    )


def _receiver(raw: dict[str, Any]) -> Receiver:
    place = f"notify.{raw['name']}"
    refuse_unknown(f"{place}: ", raw, set(Receiver.__dataclass_fields__))
    url, file = _text(raw.get("url")), _text(raw.get("url_file"))
    if (url is None) == (file is None):
        raise ValueError(f"{place}: either url or url_file is needed")
    severity = _one_of(f"{place}.severity", raw.get("severity", "info"), SEVERITIES)
    return Receiver(str(raw["name"]), severity, url, None if file is None else Path(file))
