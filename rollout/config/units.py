"""Durations, sizes and shares as people write them: ``200ms``, ``1h30m``, ``50MiB``, ``95%``. How they are
shown is the affair of :mod:`rollout.units`."""

from __future__ import annotations

import math
import re

_DURATION_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|min|m|h|d)")
_DURATION = re.compile(rf"(?:{_DURATION_PART.pattern})+")

_SIZE_UNITS = {
    "B": 1,
    "kB": 10**3,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "KiB": 1 << 10,
    "MiB": 1 << 20,
    "GiB": 1 << 30,
}
_SIZE = re.compile(rf"(\d+(?:\.\d+)?)\s*({'|'.join(_SIZE_UNITS)})")


def parse_duration(value: object) -> float:
    """Seconds of a duration: a number of seconds, or text such as ``200ms``, ``5s``, ``1h30m``, ``7d``.

    Raises:
        ValueError: not a duration; the text says what one looks like.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"expected a duration such as 200ms, 5s, 10m, 24h or 7d, got {describe(value)}")
    if isinstance(value, str):
        text = value.strip()
        if _DURATION.fullmatch(text) is None:
            raise ValueError(f"expected a duration such as 200ms, 5s, 10m, 24h or 7d, got {describe(value)}")
        return sum(float(number) * _DURATION_UNITS[unit] for number, unit in _DURATION_PART.findall(text))
    if not math.isfinite(value) or value < 0:
        raise ValueError(f"expected a duration of 0 or more seconds, got {describe(value)}")
    return float(value)


def parse_size(value: object) -> int:
    """Bytes of a size: a whole number of bytes, or text such as ``50MB`` (10^6) or ``1MiB`` (2^20).

    Raises:
        ValueError: not a size; the text says what one looks like.
    """
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    match = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f"expected a size such as 50MB, 1MiB or a number of bytes, got {describe(value)}")
    return round(float(match[1]) * _SIZE_UNITS[match[2]])


def parse_share(value: object) -> float:
    """Share from 0 to 1: a number in that range, or text such as ``95%``.

    Raises:
        ValueError: not a share.
    """
    share: float | None = None
    if isinstance(value, int | float) and not isinstance(value, bool):
        share = float(value)
    elif isinstance(value, str) and (match := re.fullmatch(r"(\d+(?:\.\d+)?)\s*%", value.strip())):
        share = float(match[1]) / 100
    if share is None or not 0 <= share <= 1:
        raise ValueError(f"expected a share from 0 to 1, or a percentage such as 95%, got {describe(value)}")
    return share


def describe(value: object) -> str:
    """Name a value of a configuration file in an error, in the file's own words, shortened."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    text = str(value)
    text = text if len(text) <= 40 else text[:37] + "..."
    return f'"{text}"' if isinstance(value, str) else text
