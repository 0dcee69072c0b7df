"""``rollout teardown``."""

from __future__ import annotations

import sys

import click

from rollout.cli.common import environment_argument, read_config


@click.command("teardown")
@environment_argument()
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_context
def command(context: click.Context, environment: str, yes: bool) -> None:
    """Stop and remove everything of an environment, its live sessions included. The ledger stays.

    \b
    Example:
      rollout teardown dev
    """
    from rollout import pipeline
    from rollout.cli.progress import Progress
    from rollout.pipeline.silence import live_in

    config = read_config(context)
    (entry,) = pipeline.status(config, environment)
    live, silent = live_in(entry.hosts)
    also = f" (and any of {', '.join(silent)}: no session manager answers there)" if silent else ""
    if not yes:
        if not sys.stdin.isatty():
            raise click.UsageError(f"nobody can be asked about {live} live sessions{also} here; say --yes")
        click.confirm(f"End {live} live sessions of {environment}{also} and remove it?", abort=True, err=True)
    with Progress() as progress:
        pipeline.teardown(config, environment, observer=progress)
    click.echo(f"{environment} is gone")
