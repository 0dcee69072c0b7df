"""Reading a configuration file: what is wrong with it is one line that names the place."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from ipaddress import ip_network
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

LEAST_RECORDING = 1 << 16
"""Bytes that a recording may have at the least: one batch of output would not fit into fewer."""


class ConfigError(Exception):
    """The configuration file is wrong. The text names the file, the place and the remedy."""


T = TypeVar("T")


def read_config(path: Path, make: Callable[[dict[str, Any]], T]) -> T:
    """Read a JSON file and make a configuration of it.

    Raises:
        ConfigError: unreadable, not JSON, or ``make`` finds a key missing, unknown or of the wrong type.
    """
    try:
        raw = json.loads(path.read_text())
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise ConfigError(f"{path}: not JSON: {error}") from None
    try:
        return make(raw)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        reason = f"missing key {error}" if isinstance(error, KeyError) else str(error)
        raise ConfigError(f"{path}: {reason}") from None


def refuse_unknown(place: str, raw: Iterable[str], known: Iterable[str]) -> None:
    """Refuse keys that nobody knows; ``place`` is where they stand.

    Raises:
        ValueError: there is one; the text lists those there are.
    """
    if unknown := set(raw) - set(known):
        raise ValueError(f"{place}unknown key {min(unknown)!r}; known: {', '.join(sorted(known))}")


def check_recording_bytes(value: int) -> int:
    """How large a recording may become; 0: there is no limit.

    Raises:
        ValueError: too little for any.
    """
    if 0 < value < LEAST_RECORDING:
        raise ValueError(f"max_recording_bytes must be 0 (off) or at least {LEAST_RECORDING}, not {value}")
    return value


def check_origins(raw: Iterable[str]) -> tuple[str, ...]:
    """Origins as browsers write them.

    Raises:
        ValueError: one is none.
    """
    raw = tuple(raw)
    for entry in raw:
        parts = urlsplit(entry)
        if parts.scheme not in ("http", "https") or not parts.netloc or parts.path:
            raise ValueError(
                f"allowed_origins: {entry!r} is no origin; write https://host or https://host:port"
            )
    return raw


def check_networks(raw: Iterable[str]) -> tuple[str, ...]:
    """Networks in CIDR notation; a single address is one, too.

    Raises:
        ValueError: one is none.
    """
    try:
        return tuple(str(ip_network(entry)) for entry in raw)
    except ValueError as error:
        raise ValueError(f"trusted_proxies: {error}") from None
