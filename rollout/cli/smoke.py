"""``rollout smoke``."""

from __future__ import annotations

import click

from rollout.cli.common import output_option


@click.command("smoke")
@click.argument("environment")
@output_option
@click.pass_context
def command(context: click.Context, environment: str, output: str) -> None:
    """Run the 8 smoke checks through the front door of an environment.

    \b
    Example:
      rollout smoke staging
    """
    from rollout.cli.suites import run

    run(context, "smoke", environment, output)
