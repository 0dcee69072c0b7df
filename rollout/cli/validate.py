"""``rollout validate``."""

from __future__ import annotations

import click

from rollout.cli.common import output_option


@click.command("validate")
@click.argument("environment", default="dev")
@output_option
@click.pass_context
def command(context: click.Context, environment: str, output: str) -> None:
    """Run the 15 validation tests through the front door of an environment (dev by default).

    \b
    Example:
      rollout validate
    """
    from rollout.cli.suites import run

    run(context, "validate", environment, output)
