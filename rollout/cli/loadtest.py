"""``rollout loadtest``."""

from __future__ import annotations

import click

from rollout.cli.common import environment_argument, output_option, read_config, show


@click.command("loadtest")
@environment_argument()
@click.option(
    "--users", type=click.IntRange(1, 5000), help="People in live shells [default: as configured, or 20]."
)
@click.option(
    "--seconds", type=click.FloatRange(1, 86400), default=30.0, show_default=True, help="For so long."
)
@click.option("--cut-every", type=click.FloatRange(2.5), help="Mean seconds between cuts of one user.")
@output_option
@click.pass_context
def command(
    context: click.Context,
    environment: str,
    users: int | None,
    seconds: float,
    cut_every: float | None,
    output: str,
) -> None:
    """Put people in live shells, cut their connections at random, and verify every byte and command.

    \b
    Example:
      rollout loadtest staging --users 50 --seconds 60
    """
    from rollout.cli.loading import run

    config = read_config(context)
    data, verdicts, table = run(config, environment, users, seconds, cut_every)
    show(output, data, lambda: table)
    verdicts()
