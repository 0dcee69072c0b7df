"""``rollout status --watch``: in place in a terminal, a block a change elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING

import click
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from rollout.cli.common import show
from rollout.cli.overview import Overview, lines
from rollout.errors import RolloutError
from rollout.units import duration

if TYPE_CHECKING:
    from rollout.pipeline import EnvironmentStatus

Look = Callable[[], "Sequence[EnvironmentStatus]"]
LEAST = 0.1
"""Seconds between two looks, at least."""


def follow(look: Look, every: float, output: str) -> None:
    """Show what ``look`` gives, again after ``every`` seconds, until Ctrl-C."""
    every = max(every, LEAST)
    with suppress(KeyboardInterrupt):
        if output == "text" and sys.stdout.isatty():
            _in_place(look, every)
        else:
            _changes(look, every, output)


def _in_place(look: Look, every: float) -> None:
    with Live(console=Console(), auto_refresh=False) as live:
        while True:
            shown: RenderableType
            try:
                shown = Overview(lines(look()))
            except RolloutError as error:  # a host that is away for a moment
                shown = Text(error.message, "red")
            when = f"{time.strftime('%H:%M:%S')}, every {duration(every)}; Ctrl-C ends it"
            live.update(Group(shown, Text(when, "dim")), refresh=True)
            time.sleep(every)


def _changes(look: Look, every: float, output: str) -> None:
    before: object = None
    while True:
        try:
            entries = look()
        except RolloutError as error:
            if error.message != before:
                before = error.message
                click.echo(f"rollout: {before}", err=True)
            time.sleep(every)
            continue
        rows = lines(entries)
        lasting = [line.lasting for line in rows]
        if lasting != before:
            before = lasting
            when = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
            block = [when, Overview(rows)]
            show(output, [asdict(entry) for entry in entries], partial(list, block))
        time.sleep(every)
