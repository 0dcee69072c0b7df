"""``rollout promote``."""

from __future__ import annotations

import click

from rollout.cli.common import output_option, read_config


@click.command("promote")
@click.argument("environment")
@click.option("--plan", "plan_only", is_flag=True, help="Show per host what would happen, and stop.")
@output_option
@click.pass_context
def command(context: click.Context, environment: str, plan_only: bool, output: str) -> None:
    """Move the predecessor's build on, the very same by digest, in canary steps.

    Refused (exit 7) before anything is touched when the predecessor's evidence is missing or not
    enough. Taken back by itself (exit 3 or 4) when a gate gives anything but a pass.

    \b
    Example:
      rollout promote staging --plan
      rollout promote staging
    """
    from rollout import pipeline
    from rollout.cli.rolling import carry_out

    config = read_config(context)
    carry_out(
        output,
        lambda observer: pipeline.promote(config, environment, observer=observer, plan_only=plan_only),
    )
