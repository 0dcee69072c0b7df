"""``rollout init``."""

from __future__ import annotations

from pathlib import Path

import click

from rollout.cli.common import command_line
from rollout.errors import ConfigError


@click.command("init")
@click.option("--quick", is_flag=True, help="Minutes in place of days, to see it work; proves little.")
@click.pass_context
def command(context: click.Context, quick: bool) -> None:
    """Write a rollout.yaml to start from: dev, staging and production on this machine.

    Its ports are free ones of this machine. Without a folder services/ beside it, the services that came
    with this program are what is built.

    \b
    Example:
      rollout init
      rollout init --quick
    """
    from rollout.config.starting import starting

    path = Path(str(context.find_root().obj))
    text, said = starting(path.absolute().parent, quick=quick)
    try:
        with path.open("x") as file:
            file.write(text)
    except FileExistsError:
        raise ConfigError(f"{path}: exists already; remove it first, or name another with --config") from None
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    click.echo(f"wrote {path}" + (", for a quick look: minutes in place of days" if quick else ""))
    for line in said:
        click.echo(line)
    click.echo(f"next: {command_line(context, 'build')}")
