"""``rollout build``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from rollout.cli.common import output_option, read_config, show


@click.command("build")
@click.option("--source", metavar="DIR", help="Build this folder instead of the configured source.")
@output_option
@click.pass_context
def command(context: click.Context, source: str | None, output: str) -> None:
    """Build the services once: their wheel and the locked wheels they need.

    The same source gives the same build, by digest. Every environment gets these very files.

    \b
    Example:
      rollout build
    """
    from rich.console import Console

    from rollout.build import build

    config = read_config(context)
    with Console(stderr=True).status("building") as status:
        made = build(
            Path(source).absolute() if source else config.source,
            config.builds_dir,
            lock_root=config.path.parent,
            on_progress=status.update,
        )
    show(output, asdict(made), lambda: f"{made.id}\nnext: rollout deploy <environment>")
