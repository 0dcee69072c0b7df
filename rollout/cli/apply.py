"""``rollout apply``."""

from __future__ import annotations

import click

from rollout.cli.common import environment_argument, output_option, plan_option, read_config


@click.command("apply")
@environment_argument()
@plan_option
@output_option
@click.pass_context
def command(context: click.Context, environment: str, plan_only: bool, output: str) -> None:
    """Have the settings of rollout.yaml in force, with the build that serves; sessions go on.

    Limits, profiles, TLS and ports are the session manager's: another one with the new settings takes its
    place. The environment's checks judge it, and the old one comes back where they do not pass.

    \b
    Example:
      rollout apply staging --plan
    """
    from rollout import pipeline
    from rollout.cli.rolling import carry_out

    config = read_config(context)
    carry_out(
        config,
        output,
        lambda observer: pipeline.apply(config, environment, observer=observer, plan_only=plan_only),
        nothing=f"{environment}: what runs is what is declared",
    )
