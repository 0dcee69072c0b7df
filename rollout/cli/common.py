"""What several commands share: options, and printing a result for a person or as JSON."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from rollout.config import Config, load

PIPED_WIDTH = 240

output_option = click.option(
    "--output",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="Form of the result.",
)


def read_config(context: click.Context) -> Config:
    """The configuration that ``--config`` names.

    Raises:
        ConfigError: it is missing or wrong; one line with file and place.
    """
    return load(Path(str(context.find_root().obj)))


def command_line(context: click.Context, *words: str) -> str:
    """A command to go on with, as it can be pasted: about the same configuration."""
    root = context.find_root()
    given = root.get_parameter_source("config") is ParameterSource.COMMANDLINE
    return shlex.join(["rollout", *(("--config", str(root.obj)) if given else ()), *words])


def show(output: str, data: Any, text: Callable[[], Any]) -> None:
    """Print ``data`` as JSON, or what ``text`` renders, on standard output."""
    if output == "json":
        click.echo(json.dumps(data, indent=2, default=_plain))
        return
    from rich.console import Console

    console = Console(soft_wrap=True)
    if not console.is_terminal:
        console = Console(soft_wrap=True, width=PIPED_WIDTH)  # nobody's window: cut nothing off
    rendered = text()
    for part in rendered if isinstance(rendered, list) else [rendered]:
        console.print(part)


def _plain(value: object) -> object:
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")
