"""Small curves for a page that is drawn anew each second: lines in a box of 1 by 1, and words for them."""

from __future__ import annotations

import collections
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from rollout.pipeline import EnvironmentStatus
from rollout.units import number

BREAK: Final = 1 / 8
"""Of the time: what is sampled now and then has bins between that nothing fell into."""
KEPT: Final = 300
"""Looks of which the curves are drawn."""


def figure(
    title: str,
    unit: str,
    series: Sequence[dict[str, Any]],
    window: tuple[float, float],
    marks: Sequence[dict[str, Any]] = (),
) -> dict[str, Any]:
    """A drawing of series as reports have them: ``name``, times ``t``, values ``v`` (``None``: nothing seen).

    A line is broken where nothing was seen for an eighth of the time. All share one scale, from 0 to the
    largest value, ``most``.
    """
    begin, end = window
    width = max(end - begin, 1e-9)
    most = max((value for one in series for value in one["v"] if value is not None), default=0.0)
    return {
        "title": title,
        "unit": unit,
        "most": number(most),
        "lines": [
            {
                "name": one["name"],
                "now": next((number(value) for value in reversed(one["v"]) if value is not None), "none"),
                "parts": _parts(one, begin, width, most or 1.0),
            }
            for one in series
        ],
        "marks": [{"x": (mark["at"] - begin) / width, "label": mark["label"]} for mark in marks],
    }


def _parts(one: dict[str, Any], begin: float, width: float, most: float) -> list[list[tuple[float, float]]]:
    parts: list[list[tuple[float, float]]] = []
    missed = True
    for at, value in zip(one["t"], one["v"], strict=True):
        if value is None:
            missed = True
            continue
        x = (at - begin) / width
        if not parts or (missed and x - parts[-1][-1][0] > BREAK):
            parts.append([])
        parts[-1].append((x, value / most))
        missed = False
    return [part * 2 if len(part) == 1 else part for part in parts]  # a line of one point is not drawn


@dataclass
class Curves:
    """Sessions and memory by generation over the last looks, for each environment."""

    looks: collections.deque[tuple[float, dict[str, dict[str, tuple[int, float]]]]] = field(
        default_factory=lambda: collections.deque(maxlen=KEPT)
    )
    _heard: set[tuple[str, str]] = field(default_factory=set)
    """Environments and hosts that have ever answered."""

    def add(self, entries: Sequence[EnvironmentStatus], now: float) -> None:
        """Take note of a look: by generation, the sessions of all hosts and the MB of the largest worker.

        Where a host is silent that has answered before, the look tells nothing: a sum of the others would
        read as sessions that are gone.
        """
        seen: dict[str, dict[str, tuple[int, float]]] = {}
        for entry in entries:
            mine = seen.setdefault(entry.environment, {})
            known = {(entry.environment, host): manager for host, manager in entry.hosts.items()}
            self._heard.update(place for place, manager in known.items() if manager is not None)
            if any(manager is None and place in self._heard for place, manager in known.items()):
                continue
            for manager in filter(None, entry.hosts.values()):
                for generation in manager["generations"]:
                    count, most = mine.get(generation["name"], (0, 0.0))
                    memory = generation["memory_bytes"] / 1e6
                    mine[generation["name"]] = (count + generation["attached"], max(most, memory))
        self.looks.append((now, seen))

    def of(self, environment: str) -> list[dict[str, Any]]:
        """The figures of an environment; none before there were two looks."""
        mine = [(at, seen[environment]) for at, seen in self.looks if environment in seen]
        names = sorted({name for _, seen in mine for name in seen})
        if len(mine) < 2 or not names:
            return []
        times = [at for at, _ in mine]

        def series(index: int) -> list[dict[str, Any]]:
            return [
                {
                    "name": name,
                    "t": times,
                    "v": [seen[name][index] if name in seen else None for _, seen in mine],
                }
                for name in names
            ]

        window = (times[0], times[-1])
        return [
            figure("Sessions by generation", "", series(0), window),
            figure("Memory of the largest worker", "MB", series(1), window),
        ]
