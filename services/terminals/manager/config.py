"""Configuration of the session manager, validated once."""

from __future__ import annotations

import json
import mmap
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from terminals.configfile import (
    check_networks,
    check_origins,
    check_recording_bytes,
    read_config,
    refuse_unknown,
)
from terminals.control.answers import Front, Oidc
from terminals.manager.casts import RecordingRules
from terminals.manager.certificate import TlsFiles
from terminals.manager.filerules import read_rules
from terminals.manager.homes import Homes
from terminals.manager.ring import MIN_CAPACITY
from terminals.manager.shell import Profile
from terminals.oidc import read_oidc
from terminals.parts import settings_digest, without_secrets
from terminals.protocol import HEARTBEAT, LOOP_THRESHOLD, STABLE_AFTER
from terminals.protocol.breaker import CircuitBreaker


@dataclass(frozen=True, slots=True)
class Listener:
    """An address to listen on."""

    host: str
    port: int


@dataclass(frozen=True)
class ManagerConfig:
    """What a session manager needs to know. Sizes in bytes, times in seconds."""

    socket: Path
    state_dir: Path
    listeners: dict[str, Listener]
    profiles: dict[str, Profile]
    holder: Path | None = None
    """Socket of the holder; beside the session manager's when it is not given."""
    ring_bytes: int = 1 << 20
    max_rings_bytes: int = 0
    """Most that all rings may take; 0 means that only ``max_sessions`` counts."""
    hold_seconds: float = 60.0
    max_sessions: int = 1000
    max_ended_sessions: int = 256
    """Sessions whose shell has ended that are kept so that their clients see the last of it; 0: no limit."""
    max_ended_bytes: int = 1 << 28
    """Most that the rings of those may take; 0: no limit."""
    max_ended_sessions_per_user: int = 32
    """How many of those may be of one ticket's user; 0: no limit."""
    idle_seconds: float = 0.0
    """A session that nobody has been attached to for so long is ended; 0 means never."""
    max_age_seconds: float = 0.0
    """A session is ended at this age, after a warning in the terminal; 0 means never."""
    max_sessions_per_user: int = 0
    """Live sessions of one ticket's user; 0 means that only ``max_sessions`` counts."""
    allowed_origins: tuple[str, ...] = ()
    """Origins (``https://host[:port]``) whose pages may open terminals; none: pages of the same host."""
    trusted_proxies: tuple[str, ...] = ()
    """Networks whose X-Forwarded-For is believed."""
    heartbeat_seconds: float = HEARTBEAT
    """Between pings to clients; a connection is given up after three without a word."""
    stable_seconds: float = STABLE_AFTER
    """An attach lost sooner, unplanned, counts towards a reconnection loop."""
    breaker_threshold: int = LOOP_THRESHOLD
    breaker_cooldown: float = 5.0
    recordings: RecordingRules = field(default_factory=RecordingRules)
    tls: TlsFiles | None = None
    """With it every listener speaks TLS, and nothing else."""
    homes: Homes = field(default_factory=Homes)
    """This host's ``tag``, the other ``hosts``, to which clients of sessions there are sent on, and
    ``peers``."""
    oidc: Oidc | None = None
    """A provider that people may sign in by."""
    digest: str = ""
    """Of the settings as they were read: see :func:`terminals.parts.settings_digest`."""
    shown: str = "{}"
    """The settings as they were read, as JSON, for everybody's eyes."""

    @classmethod
    def load(cls, path: Path) -> ManagerConfig:
        """Read a JSON file.

        Raises:
            ConfigError: unreadable, not JSON, a key missing, unknown or of the wrong type.
        """
        return read_config(path, cls._from)

    @classmethod
    def _from(cls, raw: dict[str, Any]) -> ManagerConfig:
        refuse_unknown("", raw, KEYS)
        config = cls(
            socket=Path(raw["socket"]),
            state_dir=Path(raw["state_dir"]),
            listeners={
                name: Listener(str(entry["host"]), int(entry["port"]))
                for name, entry in raw["listeners"].items()
            },
            profiles={name: _profile(name, entry) for name, entry in raw["profiles"].items()},
            holder=None if raw.get("holder") is None else Path(raw["holder"]),
            ring_bytes=_ring_bytes("ring_bytes", raw.get("ring_bytes", cls.ring_bytes)),
            max_rings_bytes=int(_not_negative(raw, "max_rings_bytes", cls.max_rings_bytes)),
            hold_seconds=float(raw.get("hold_seconds", cls.hold_seconds)),
            max_sessions=int(raw.get("max_sessions", cls.max_sessions)),
            max_ended_sessions=int(_not_negative(raw, "max_ended_sessions", cls.max_ended_sessions)),
            max_ended_bytes=int(_not_negative(raw, "max_ended_bytes", cls.max_ended_bytes)),
            max_ended_sessions_per_user=int(
                _not_negative(raw, "max_ended_sessions_per_user", cls.max_ended_sessions_per_user)
            ),
            idle_seconds=_not_negative(raw, "idle_seconds", cls.idle_seconds),
            max_age_seconds=_not_negative(raw, "max_age_seconds", cls.max_age_seconds),
            max_sessions_per_user=int(_not_negative(raw, "max_sessions_per_user", 0)),
            allowed_origins=check_origins(raw.get("allowed_origins", ())),
            trusted_proxies=check_networks(raw.get("trusted_proxies", ())),
            heartbeat_seconds=_heartbeat(raw.get("heartbeat_seconds", cls.heartbeat_seconds)),
            stable_seconds=float(raw.get("stable_seconds", cls.stable_seconds)),
            breaker_threshold=int(raw.get("breaker_threshold", cls.breaker_threshold)),
            breaker_cooldown=float(raw.get("breaker_cooldown", cls.breaker_cooldown)),
            recordings=_recordings(raw.get("recordings", {})),
            tls=_tls(raw.get("tls")),
            homes=Homes.of(raw),
            oidc=read_oidc(raw.get("oidc")),
            digest=settings_digest(raw),
            shown=json.dumps(without_secrets(raw)),
        )
        config.breaker()  # says what is wrong with its numbers
        if not config.listeners:
            raise ValueError("listeners: at least one is needed")
        return config

    @property
    def holder_socket(self) -> Path:
        """Where the holder listens."""
        return self.holder or self.socket.with_name("holder.sock")

    @property
    def front(self) -> Front:
        """What workers have to know of the outside."""
        return Front(
            allowed_origins=self.allowed_origins,
            trusted_proxies=self.trusted_proxies,
            heartbeat=self.heartbeat_seconds,
            tls=self.tls is not None,
            oidc=self.oidc,
            neighbours=self.homes.places,
        )

    def breaker(self) -> CircuitBreaker:
        """A fresh breaker for one session.

        Raises:
            ValueError: the configured numbers make no breaker.
        """
        return CircuitBreaker(self.breaker_threshold, self.breaker_cooldown, max(60.0, self.breaker_cooldown))


KEYS = (ManagerConfig.__dataclass_fields__.keys() - {"digest", "shown", "homes"}) | {
    "door",
    "hosts",
    "peers",
    "tag",
}
"""Of the file."""


def _ring_bytes(name: str, value: Any) -> int:
    if int(value) < MIN_CAPACITY:
        raise ValueError(f"{name} must be at least {MIN_CAPACITY}, not {value}")
    return -(-int(value) // mmap.PAGESIZE) * mmap.PAGESIZE


def _heartbeat(value: Any) -> float:
    if not 0.1 <= float(value) <= 3600:
        raise ValueError(f"heartbeat_seconds must be from 0.1 to 3600, not {value}")
    return float(value)


def _not_negative(raw: dict[str, Any], name: str, default: float, place: str = "") -> float:
    value = float(raw.get(name, default))
    if not 0 <= value < float("inf"):
        name = f"{place}.{name}" if place else name
        raise ValueError(f"{name} must be 0 (off) or more, not {value:g}")
    return value


def _profile(name: str, raw: dict[str, Any]) -> Profile:
    refuse_unknown(f"profiles.{name}: ", raw, Profile.__dataclass_fields__)
    command = tuple(str(word) for word in raw["command"])
    if not command or isinstance(raw["command"], str):
        raise ValueError(f"profiles.{name}.command: a list of at least one word")
    if raw.get("user") is not None and os.getuid() != 0:
        raise ValueError(f"profiles.{name}.user: only a session manager run by root may change the user")
    return Profile(
        command,
        {str(key): str(value) for key, value in (raw.get("env") or {}).items()},
        None if raw.get("cwd") is None else str(raw["cwd"]),
        None if raw.get("user") is None else str(raw["user"]),
        int(_not_negative(raw, "ready", 0)),
        None
        if raw.get("ring_bytes") is None
        else _ring_bytes(f"profiles.{name}.ring_bytes", raw["ring_bytes"]),
        _flag(f"profiles.{name}.record", raw.get("record", False)),
        read_rules(f"profiles.{name}.files", raw.get("files")),
    )


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{name} must be true or false, not {value!r}")
    return value


def _recordings(raw: Any) -> RecordingRules:
    place, usual = "recordings", RecordingRules()
    if not isinstance(raw, dict):
        raise ValueError(f"{place}: an object of settings, not {raw!r}")
    refuse_unknown(f"{place}: ", raw, RecordingRules.__dataclass_fields__)
    when_lost = raw.get("when_lost", usual.when_lost)
    if when_lost not in ("refuse", "end", "notify"):
        raise ValueError(f"{place}.when_lost must be refuse, end or notify, not {when_lost!r}")
    most = int(_not_negative(raw, "max_recording_bytes", usual.max_recording_bytes, place))
    lost_seconds = float(raw.get("lost_seconds", usual.lost_seconds))
    if not 2 <= lost_seconds <= 3600:
        raise ValueError(f"{place}.lost_seconds must be from 2 to 3600, not {lost_seconds:g}")
    return RecordingRules(
        when_lost,
        lost_seconds,
        check_recording_bytes(most),
        int(_not_negative(raw, "max_bytes", usual.max_bytes, place)),
        _not_negative(raw, "max_age_seconds", usual.max_age_seconds, place),
    )


def _tls(raw: dict[str, Any] | None) -> TlsFiles | None:
    if raw is None:
        return None
    if not isinstance(raw, dict) or set(raw) != {"certificate", "key"}:
        raise ValueError('tls: {"certificate": FILE, "key": FILE}, or null for none')
    return TlsFiles(Path(raw["certificate"]), Path(raw["key"]))
