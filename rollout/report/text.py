"""Figures and times as people read them, and text from elsewhere made harmless. No I/O."""

from __future__ import annotations

import math
import re
import time
from typing import Any

from rollout.config.metrics import METRICS

_HIDDEN = re.compile(
    # C0 and C1 controls (terminal escapes begin with one), marks that reorder text, and what has no width.
    "[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff\ufff9-\ufffb]"
)


def clean(text: object) -> str:
    """One line of visible characters: line breaks become spaces, other hidden characters their escapes."""
    folded = re.sub(r"[\r\n\t\v\f\x85\u2028\u2029]+", " ", str(text))
    return _HIDDEN.sub(lambda found: f"\\x{ord(found[0]):02x}", folded)


def moment(at: float | None) -> str:
    """A time in UTC, to the second; "not yet" without one."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(at)) if at is not None else "not yet"


def span(seconds: float) -> str:
    """A duration: ``0 s``, ``12.5 s``, ``3.2 min``, ``23.9 h``, from three days on in days.

    Rounded down, so that 23.99 h never read as the 24 h that are asked for.
    """
    units = ((86400.0, 3, "d"), (3600.0, 1, "h"), (60.0, 1, "min"))
    size, unit = next(((size, unit) for size, least, unit in units if seconds >= least * size), (1.0, "s"))
    return f"{_floor(seconds / size, 1):g} {unit}"


def share(value: float, digits: int = 1) -> str:
    """A share in percent. Never rounded up to 100 % or down to 0 %: 0.99996 reads ``99.996 %``."""
    percent = value * 100
    while digits < 6 and 0 < percent < 100 and not 0 < round(percent, digits) < 100:
        digits += 1
    return f"{round(percent, digits):g} %"


def quantity(value: float | None, unit: str) -> str:
    """A figure in a metric's unit (:data:`rollout.config.metrics.Unit`)."""
    if value is None:
        return "nothing"
    if not math.isfinite(value):
        return "not a number"
    match unit:
        case "share":
            return share(value)
        case "bytes":
            return size(value)
        case "ms":
            return f"{value:.3g} ms" if abs(value) < 100 else f"{value:.0f} ms"
        case "s":
            return span(value)
        case _:
            return f"{value:.10g}"


def size(value: float) -> str:
    """Bytes in units of 1000, as thresholds are written."""
    for limit, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if abs(value) >= limit:
            return f"{value / limit:.3g} {unit}"
    return f"{value:g} B"


def unit_of(metric: str) -> str:
    """The unit of a metric; "" for one that the catalogue does not know."""
    return METRICS[metric].unit if metric in METRICS else ""


def figure(name: str, value: Any) -> str:
    """A figure of a rollout's record, by the unit that its name ends with."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return clean(value)
    if name.endswith("_s"):
        return f"{value:.3g} s" if value < 100 else span(float(value))
    if name.endswith("_ms"):
        return quantity(float(value), "ms")
    return f"{value:,}".replace(",", " ") if isinstance(value, int) else f"{value:g}"


def many(number: int, noun: str) -> str:
    """``1 gate``, ``2 gates``."""
    return f"{number} {noun}" + ("" if number == 1 else "s")


def slug(text: str) -> str:
    """Text as the name of an anchor."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-") or "none"


def _floor(value: float, digits: int) -> float:
    scale = 10.0**digits
    return math.floor(value * scale + 1e-9) / scale
