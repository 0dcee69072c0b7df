"""``rollout infra``."""

from __future__ import annotations

from pathlib import Path

import click

from rollout.cli.common import environment_argument, output_option
from rollout.cli.suites import junit_option, run


@click.command("infra")
@environment_argument()
@output_option
@junit_option
@click.pass_context
def command(context: click.Context, environment: str, output: str, junit: Path | None) -> None:
    """Ask every host over SSH whether engine, containers and files are as they were declared.

    \b
    Example:
      rollout infra staging
    """
    run(context, "infra", environment, output, junit)
