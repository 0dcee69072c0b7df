"""``rollout undrain``."""

from __future__ import annotations

from dataclasses import asdict

import click

from rollout.cli.common import output_option, read_config, show


@click.command("undrain")
@click.argument("host")
@click.option("--env", metavar="ENVIRONMENT", help="Where several have a host of that name.")
@output_option
@click.pass_context
def command(context: click.Context, host: str, env: str | None, output: str) -> None:
    """Have sessions begin at HOST again.

    \b
    Example:
      rollout undrain staging-1
    """
    from rollout import pipeline

    done = pipeline.undrain(read_config(context), host, env)
    show(output, asdict(done), lambda: f"sessions begin at {host} of {done.env} again")
