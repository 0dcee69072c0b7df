"""``rollout status``."""

from __future__ import annotations

from dataclasses import asdict

import click

from rollout.cli.common import environment_argument, output_option, read_config, show


@click.command("status")
@environment_argument(required=False)
@output_option
@click.pass_context
def command(context: click.Context, environment: str | None, output: str) -> None:
    """What runs where, by the ledger and by what the hosts say right now.

    \b
    Example:
      rollout status
      rollout status staging --output json
    """
    from rollout import pipeline
    from rollout.cli import tables

    entries = pipeline.status(read_config(context), environment)
    show(output, [asdict(entry) for entry in entries], lambda: tables.status(entries))
