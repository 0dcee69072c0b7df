"""``rollout resume``."""

from __future__ import annotations

import click

from rollout.cli.common import environment_argument, output_option, read_config


@click.command("resume")
@environment_argument()
@output_option
@click.pass_context
def command(context: click.Context, environment: str, output: str) -> None:
    """Go on with a rollout that was interrupted, from where its journal ends.

    Forward if its verdicts allow; back if it was already going back.

    \b
    Example:
      rollout resume staging
    """
    from rollout import pipeline
    from rollout.cli.rolling import carry_out

    config = read_config(context)
    carry_out(config, output, lambda observer: pipeline.resume(config, environment, observer=observer))
