"""Figures of rollouts and times as people read them, and text from elsewhere made harmless. No I/O."""

from __future__ import annotations

import re
import time
from typing import Any

from rollout import units
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


def unit_of(metric: str) -> str:
    """The unit of a metric; "" for one that the catalogue does not know."""
    return METRICS[metric].unit if metric in METRICS else ""


def figure(name: str, value: Any) -> str:
    """A figure of a rollout's record, by the unit that its name ends with."""
    return clean(units.figure(name, value)[1])


def slug(text: str) -> str:
    """Text as the name of an anchor."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-") or "none"
