"""``rollout smoke``."""

from __future__ import annotations

from pathlib import Path

import click

from rollout.cli.common import environment_argument, output_option
from rollout.cli.suites import junit_option, run


@click.command("smoke")
@environment_argument()
@output_option
@junit_option
@click.pass_context
def command(context: click.Context, environment: str, output: str, junit: Path | None) -> None:
    """Run the 8 smoke checks through the front door of an environment.

    \b
    Example:
      rollout smoke staging
    """
    run(context, "smoke", environment, output, junit)
