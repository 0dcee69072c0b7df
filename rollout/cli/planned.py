"""A plan for people, with what is in its way."""

from __future__ import annotations

from rich.console import RenderableType
from rich.text import Text

from rollout.cli import tables
from rollout.pipeline import Planned


def planned(found: Planned) -> list[RenderableType]:
    """The plan, if there is one, then each obstacle on a line of its own, and the ways out of all of them."""
    shown: list[RenderableType] = []
    if found.plan is not None:
        shown += tables.plan(found.plan)
        if found.kind in ("deploy", "promote") and found.plan.build == found.plan.previous_build:
            text = f"{found.env} serves this build already, as {found.plan.previous_generation}"
            shown += ["", Text(f"{text}: it would be brought once more.", "yellow")]
    if found.obstacles:
        shown += ["", Text("In its way:", "bold yellow")] if shown else [Text("In the way:", "bold yellow")]
        shown += [Text(f"- {obstacle.text}") for obstacle in found.obstacles]
    if found.ways:
        shown += [Text("Ways out:", "bold"), *(Text(f"- {way}") for way in found.ways)]
    return shown
