"""``rollout adopt``."""

from __future__ import annotations

import click

from rollout.cli.common import environment_argument, output_option, read_config


@click.command("adopt")
@environment_argument()
@output_option
@click.pass_context
def command(context: click.Context, environment: str, output: str) -> None:
    """Take what the hosts serve into the ledger, after `rollout rollback --break-glass`.

    It is recorded as a rollback, and a rollout that was going on then as rolled back. Changes nothing
    on the hosts but the marks that keep everything else from going on.

    \b
    Example:
      rollout adopt staging
    """
    from rollout import pipeline
    from rollout.cli.rolling import carry_out

    config = read_config(context)
    carry_out(config, output, lambda observer: pipeline.adopt(config, environment, observer=observer))
