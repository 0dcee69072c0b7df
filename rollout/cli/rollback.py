"""``rollout rollback``."""

from __future__ import annotations

import click

from rollout.cli.common import output_option, read_config


@click.command("rollback")
@click.argument("environment")
@output_option
@click.pass_context
def command(context: click.Context, environment: str, output: str) -> None:
    """Return to the build before the present one, without having to name it.

    Within the rollback window its generation is still warm: traffic and live sessions move back in
    about a second. After it, it is started again from what is installed.

    \b
    Example:
      rollout rollback staging
    """
    from rollout import pipeline
    from rollout.cli.rolling import carry_out

    config = read_config(context)
    carry_out(output, lambda observer: pipeline.rollback(config, environment, observer=observer))
