"""``rollout history``."""

from __future__ import annotations

from dataclasses import asdict

import click

from rollout.cli.common import environment_argument, output_option, read_config, show


@click.command("history")
@environment_argument(required=False)
@output_option
@click.pass_context
def command(context: click.Context, environment: str | None, output: str) -> None:
    """All rollouts, the newest first, with their outcome and the reason.

    \b
    Example:
      rollout history staging
    """
    from rollout.cli import tables
    from rollout.ledger import Ledger

    config = read_config(context)
    if environment is not None:
        config.environment(environment)
    with Ledger(config.ledger_url) as ledger:
        records = ledger.rollouts(environment)
    show(output, [asdict(record) for record in records], lambda: tables.history(records))
