"""``rollout deploy``."""

from __future__ import annotations

import click

from rollout.cli.common import environment_argument, output_option, plan_option, read_config


@click.command("deploy")
@environment_argument()
@click.option("--build", "build_id", metavar="ID", help="Which build; the newest by default.")
@plan_option
@output_option
@click.pass_context
def command(
    context: click.Context, environment: str, build_id: str | None, plan_only: bool, output: str
) -> None:
    """Bring a build to an environment without predecessor; take it back if a gate does not pass.

    \b
    Example:
      rollout deploy dev
    """
    from rollout import pipeline
    from rollout.cli.rolling import carry_out

    config = read_config(context)
    carry_out(
        config,
        output,
        lambda observer: pipeline.deploy(
            config, environment, build_id, observer=observer, plan_only=plan_only
        ),
    )
