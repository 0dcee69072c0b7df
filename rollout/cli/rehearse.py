"""``rollout rehearse``."""

from __future__ import annotations

import click

from rollout.cli.common import environment_argument, output_option, plan_option, read_config


@click.command("rehearse")
@environment_argument()
@plan_option
@output_option
@click.pass_context
def command(context: click.Context, environment: str, plan_only: bool, output: str) -> None:
    """Prove the way back: move everybody to a second generation of the present build, and back again.

    Every step of the rollback plan is carried out and recorded. A session cut, a byte lost or doubled
    is a failure (exit 3). `rehearsal: 30d` makes a promotion ask for one not older than that.

    \b
    Example:
      rollout rehearse production
    """
    from rollout import pipeline
    from rollout.cli.rolling import carry_out

    config = read_config(context)
    carry_out(
        config,
        output,
        lambda observer: pipeline.rehearse(config, environment, observer=observer, plan_only=plan_only),
    )
