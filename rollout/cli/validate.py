"""``rollout validate``."""

from __future__ import annotations

from pathlib import Path

import click

from rollout.cli.common import environment_argument, output_option
from rollout.cli.suites import junit_option, run


@click.command("validate")
@environment_argument(default="dev")
@output_option
@junit_option
@click.pass_context
def command(context: click.Context, environment: str, output: str, junit: Path | None) -> None:
    """Run the 15 validation tests through the front door of an environment (dev by default).

    \b
    Example:
      rollout validate
    """
    run(context, "validate", environment, output, junit)
