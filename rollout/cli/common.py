"""What several commands share: options, and printing a result for a person or as JSON."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click
from click.core import ParameterSource

if TYPE_CHECKING:
    from rollout.config import Config

PIPED_WIDTH = 240
EMPTIED: Final = "this host is being emptied; please end this session when you can"
"""Shown in the terminals there."""

output_option = click.option(
    "--output",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="Form of the result.",
)


plan_option = click.option(
    "--plan", "plan_only", is_flag=True, help="Show what would happen and what is in its way; do nothing."
)
F = TypeVar("F", bound=Callable[..., Any])


def environment_argument(**options: Any) -> Callable[[F], F]:
    """The argument ENVIRONMENT, which a shell can complete. ``options``: of :func:`click.argument`."""
    return click.argument("environment", shell_complete=environments, **options)


def environments(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """The environments of the configuration that begin so; none where it cannot be read."""
    from ruamel.yaml import YAML

    path = Path(str(context.find_root().params.get("config") or "rollout.yaml"))
    try:
        names = YAML(typ="safe").load(path)["environments"]
        return [str(name) for name in names if str(name).startswith(incomplete)]
    except Exception:  # nobody who presses a key wants to be told what is wrong with a file
        return []


def interval_of(text: str) -> float:
    """The seconds of ``--interval``.

    Raises:
        ConfigError: it is no duration.
    """
    from rollout.config import parse_duration
    from rollout.errors import ConfigError

    try:
        return parse_duration(text)
    except ValueError as error:
        raise ConfigError(f"--interval: {error}") from None


def read_config(context: click.Context) -> Config:
    """The configuration that ``--config`` names.

    Raises:
        ConfigError: it is missing or wrong; one line with file and place.
    """
    from rollout.config import load  # late: help and completion need none

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


def time_of(text: str) -> float:
    """Unix seconds of a time of day, the next that comes, or of a duration from now.

    Raises:
        ConfigError: it is neither.
    """
    from datetime import datetime, timedelta

    from rollout.config import parse_duration
    from rollout.errors import ConfigError

    now = datetime.now().astimezone()
    try:
        clock = datetime.strptime(text, "%H:%M").time()
    except ValueError:
        try:
            return time.time() + parse_duration(text)
        except ValueError as error:
            raise ConfigError(f"--deadline: a time of day such as 18:00, or a duration: {error}") from None
    at = now.replace(hour=clock.hour, minute=clock.minute, second=0, microsecond=0)
    return (at if at > now else at + timedelta(days=1)).timestamp()
