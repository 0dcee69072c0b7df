"""Which generation to go back to, by nothing but what the hosts say. No I/O.

The managers do not record which generation came before which, but they record enough: a promotion sets a
time for the one before to end, which is later than that of any generation before it or of any that was
taken back; and a bad generation that never got through was stopped without one.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rollout.direct.mark import Mark
from rollout.errors import Refused


@dataclass(frozen=True, slots=True)
class View:
    """What one host says: its manager's status, and the mark of an earlier time."""

    status: Mapping[str, Any]
    mark: Mark | None = None

    def generation(self, name: str) -> Mapping[str, Any] | None:
        """One generation as this host knows it."""
        return next((entry for entry in self.status["generations"] if entry["name"] == name), None)

    def warm(self, name: str) -> bool:
        """Whether a generation could take connections at once."""
        entry = self.generation(name)
        return entry is not None and _warm(entry)

    def retired(self, name: str) -> bool:
        """Whether a generation was told to stop for good."""
        entry = self.generation(name)
        return entry is not None and entry["state"] == "retired"


@dataclass(frozen=True, slots=True)
class Choice:
    """Where the fleet goes from and to. ``again``: the glass was broken before, and this carries on."""

    from_generation: str
    from_build: str
    generation: str
    build: str
    again: Mark | None = None


def choose(views: Mapping[str, View], to: str | None) -> Choice:
    """Decide for all hosts at once, so that they end on the same generation.

    Without ``to`` (a generation or a build), it is the one before the newest that serves anywhere; or, where
    the glass was broken already, the same as then.

    Raises:
        Refused: no such generation is known on the hosts; lists those that are.
    """
    every = [entry for view in views.values() for entry in view.status["generations"]]
    serving = [entry for entry in every if entry["weight"]]
    newest = max(serving, key=_age, default=None)
    old, old_build = (newest["name"], newest["build"]) if newest else ("nothing", "-")
    marks = [view.mark for view in views.values() if view.mark is not None]
    last = max(marks, key=lambda mark: mark.when, default=None)
    if to is None and last is not None and last.to_generation != "?":
        if old == last.to_generation:
            old, old_build = last.from_generation, last.from_build
        return Choice(old, old_build, last.to_generation, last.to_build, again=last)
    if to is not None:
        named = [entry for entry in every if to in (entry["name"], entry["build"])]
    else:
        named = [
            entry
            for entry in every
            if newest is not None
            and _age(entry)[0] < _age(newest)[0]
            and entry["build"] != newest["build"]
            and (_warm(entry) or entry["retire_at"] is not None)
        ]
    best = max(named, key=lambda entry: _preference(entry, old), default=None)
    if best is None:
        what = f"{to} is not known there" if to else f"nothing is known there that came before {old}"
        raise Refused(f"{what}; the hosts know {_listing(every)}; name one with --to, or deploy a build")
    return Choice(old, old_build, best["name"], best["build"])


def _warm(entry: Mapping[str, Any]) -> bool:
    return bool(entry["workers"]) and entry["state"] != "retired"


def _preference(entry: Mapping[str, Any], serving: str) -> tuple[bool, bool, bool, float, int, str]:
    """First whoever still has traffic, then the one that is kept for this very case; an earlier manager does
    not say which that is, and it is the one that stays longest."""
    unlimited = math.inf if _warm(entry) else -math.inf
    end = unlimited if entry["retire_at"] is None else float(entry["retire_at"])
    kept = entry.get("way_back_from") == serving
    return (bool(entry["weight"]), kept, _warm(entry), end, *_age(entry))


def _age(entry: Mapping[str, Any]) -> tuple[int, str]:
    """``g7``, and what was started again from it (``g7r...``), in the order of their rollouts."""
    found = re.match(r"g(\d+)", entry["name"])
    return (int(found[1]) if found else 0, entry["name"])


def _listing(entries: Sequence[Mapping[str, Any]]) -> str:
    return ", ".join(sorted({f"{entry['name']} ({entry['build']})" for entry in entries})) or "none"
