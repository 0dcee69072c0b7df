"""``rollout status``."""

from __future__ import annotations

from dataclasses import asdict

import click

from rollout.cli.common import environment_argument, interval_of, output_option, read_config, show


@click.command("status")
@environment_argument(required=False)
@click.option("--watch", is_flag=True, help="Go on with what comes; Ctrl-C ends it.")
@click.option(
    "--interval",
    default="2s",
    show_default=True,
    metavar="DURATION",
    help="With --watch: so long between two looks.",
)
@output_option
@click.pass_context
def command(context: click.Context, environment: str | None, watch: bool, interval: str, output: str) -> None:
    """What runs where, by the ledger and by what the hosts say right now.

    With --watch a terminal is kept up to date in place. To a file or a pipe goes all of it once more whenever
    something has changed besides times and numbers of people.

    \b
    Example:
      rollout status
      rollout status staging --output json
      rollout status --watch --interval 10s
    """
    from rollout import pipeline
    from rollout.cli.overview import Overview, lines

    config = read_config(context)
    if watch:
        from rollout.cli.following import follow

        follow(lambda: pipeline.status(config, environment), interval_of(interval), output)
        return
    entries = pipeline.status(config, environment)
    show(output, [asdict(entry) for entry in entries], lambda: Overview(lines(entries)))
