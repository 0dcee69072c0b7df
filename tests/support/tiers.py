"""Which tests run beside each other, which after each other, and which are slow."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

SLOW_TIMEOUT = 2400
"""Seconds. Hosts, engines and images of one's own take minutes, and more where others work, too."""
LONG_FIRST = ("docker", "rollout")
"""Marks of what takes longest: begun last, it would be waited for by an idle second core."""


def examples(number: int) -> int:
    """How many examples of something Hypothesis makes: in the first tier, a fifth of those of all."""
    return number if os.environ.get("TESTS") == "all" else max(number // 5, 50)


def assign(items: list[pytest.Item]) -> None:
    """Give every test its tier and group."""
    for item in items:
        if slow := item.get_closest_marker("slow"):
            if not (slow.args and isinstance(slow.args[0], str) and slow.args[0].strip()):
                raise pytest.UsageError(f"{item.nodeid}: slow needs its reason: @pytest.mark.slow('why')")
            if not item.get_closest_marker("timeout"):
                item.add_marker(pytest.mark.timeout(SLOW_TIMEOUT))
        if not item.get_closest_marker("xdist_group") and (group := _group(item)):
            item.add_marker(pytest.mark.xdist_group(group))


def long_first(items: list[pytest.Item]) -> None:
    """Put the long groups first, and stages in the order of their file; beyond this, they stay shuffled."""
    items.sort(key=_rank)
    stages = {item.path for item in items if item.get_closest_marker("in_order")}
    for path in stages:
        places = [place for place, item in enumerate(items) if item.path == path]
        ordered = sorted((items[place] for place in places), key=lambda item: item.location[1] or 0)
        for place, item in zip(places, ordered, strict=True):
            items[place] = item


def _group(item: pytest.Item) -> str | None:
    """What it shares with others, which therefore come after each other in one process.

    The engine's images and names are one for the machine; hosts of a lab are containers with their own
    engines and names. A fixture of a module is made once where the tests that want it run in one process.
    """
    if docker := item.get_closest_marker("docker"):
        return docker.args[0] if docker.args else "engine"
    for definitions in item._fixtureinfo.name2fixturedefs.values():  # type: ignore[attr-defined]
        for definition in definitions:
            if definition.scope in ("module", "package") and definition.baseid:
                return Path(definition.baseid).stem
    return None


def _rank(item: pytest.Item) -> tuple[int, str]:
    marks = [place for place, mark in enumerate(LONG_FIRST) if item.get_closest_marker(mark)]
    where = Path(item.nodeid.partition("::")[0]).parts[1]
    return (min(marks, default=len(LONG_FIRST)), "z" if where == "unit" else "a")
