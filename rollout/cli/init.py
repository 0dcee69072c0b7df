"""``rollout init``."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import click

from rollout.errors import ConfigError


@click.command("init")
@click.pass_context
def command(context: click.Context) -> None:
    """Write a rollout.yaml to start from: dev, staging and production on this machine.

    \b
    Example:
      rollout init
    """
    path = Path(str(context.find_root().obj))
    text = files("rollout.config").joinpath("default.yaml").read_text()
    try:
        with path.open("x") as file:
            file.write(text)
    except FileExistsError:
        raise ConfigError(f"{path}: exists already; remove it first, or name another with --config") from None
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    click.echo(f"wrote {path}; next: rollout build")
