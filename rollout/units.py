"""Numbers and their units as people read them, everywhere alike. No I/O, only the standard library."""

from __future__ import annotations

import math


def duration(seconds: float) -> str:
    """Seconds: ``85 ms``, ``2.4 s``, ``30 min``, ``1 min 30 s``, ``23.9 h``, from three days on in days.

    Rounded down, so that 23.99 h never read as the 24 h that are asked for.
    """
    if seconds < 0:
        return f"-{duration(-seconds)}"
    if 0 < seconds < 1:
        return f"{math.floor(seconds * 1000 + 1e-6)} ms"
    if seconds < 60:
        return f"{_floor(seconds):g} s"
    if seconds < 3600:
        minutes, rest = divmod(int(seconds), 60)
        return f"{minutes} min" + (f" {rest} s" if rest else "")
    hours = seconds / 3600
    return f"{_floor(hours):g} h" if hours < 72 else f"{_plain(_floor(hours / 24), 1)} d"


def size(value: float) -> str:
    """Bytes in powers of ten, as thresholds are written: ``512 B``, ``7.47 MB``."""
    for limit, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if abs(value) >= limit:
            scaled = value / limit
            return f"{scaled:.0f} {unit}" if abs(scaled) >= 100 else f"{scaled:.3g} {unit}"
    return f"{round(value, 3):.3g} B" if abs(value) < 100 else f"{value:.0f} B"


def share(value: float, digits: int = 1) -> str:
    """A share in percent. Never rounded up to 100 % or down to 0 %: 0.99996 reads ``99.996 %``."""
    percent = value * 100
    while digits < 6 and 0 < percent < 100 and not 0 < round(percent, digits) < 100:
        digits += 1
    return f"{_plain(round(percent, digits), 6)} %"


def growth(value: float) -> str:
    """A share by which something has grown: ``+2.34 %``."""
    return f"{'+' if value >= 0 else ''}{share(value, 2)}"


def times(ratio: float) -> str:
    """A ratio of two figures of one kind: ``1.25x``."""
    return f"{ratio:.2f}x"


def number(value: float) -> str:
    """A plain number, never with an exponent: ``1 234 567``, ``0.25``."""
    if not math.isfinite(value):
        return "not a number"
    if value == int(value):
        return f"{int(value):,}".replace(",", " ")
    return f"{value:.4g}" if 1e-4 <= abs(value) < 1e4 else _plain(value, 10 if abs(value) < 1 else 4)


def count(number: int, noun: str, plural: str = "") -> str:
    """``1 reading``, ``2 readings``; ``plural`` where it is not the noun with an s."""
    return f"{number} {noun if number == 1 else plural or noun + 's'}"


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
            return f"{round(value, 3):.3g} ms" if abs(value) < 100 else f"{value:.0f} ms"
        case "s":
            return duration(value)
    return number(value)


def figure(name: str, value: object) -> tuple[str, str]:
    """A figure of a rollout's record, whose name ends with its unit: as a label, and in that unit."""
    label = name.removesuffix("_s").removesuffix("_ms").replace("_", " ")
    if isinstance(value, bool) or not isinstance(value, int | float):
        return label, str(value)
    unit = "s" if name.endswith("_s") else "ms" if name.endswith("_ms") else ""
    return label, quantity(value, unit)


def _plain(value: float, digits: int) -> str:
    return f"{value:,.{digits}f}".rstrip("0").rstrip(".").replace(",", " ")


def _floor(value: float) -> float:
    return math.floor(value * 10 + 1e-9) / 10


def sessions(number: int) -> str:
    """Live sessions, so many: ``no live session``, ``1 live session``, ``2 live sessions``."""
    return "no live session" if not number else f"{number} live session{'s'[: number > 1]}"
