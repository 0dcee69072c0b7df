"""``rollout cancel``."""

from __future__ import annotations

import click

from rollout.cli.common import environment_argument, output_option, read_config


@click.command("cancel")
@environment_argument()
@output_option
@click.pass_context
def command(context: click.Context, environment: str, output: str) -> None:
    """Have a rollout taken back that somebody carries out, here or on another machine, as Ctrl-C there would.

    Where nobody carries it out any more, it is taken back by this command. It ends when that is done.

    \b
    Example:
      rollout cancel staging
    """
    from rollout import pipeline
    from rollout.cli.rolling import carry_out

    config = read_config(context)
    carry_out(config, output, lambda observer: pipeline.cancel(config, environment, observer=observer))
