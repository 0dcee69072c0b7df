"""``rollout soak``."""

from __future__ import annotations

from dataclasses import asdict

import click

from rollout.cli.common import environment_argument, output_option, read_config, show


@click.command("soak")
@environment_argument()
@click.option("--once", is_flag=True, help="One look: for cron, or to see how the soak stands.")
@output_option
@click.pass_context
def command(context: click.Context, environment: str, once: bool, output: str) -> None:
    """Judge the soak gates by what the monitors record, until the soak is done.

    A soak gate that fails takes the build back on every host (exit 3), hours after its promotion, too.
    Evidence that is still too little takes nothing back; it only keeps the build from going on.

    \b
    Example:
      rollout soak staging
      rollout soak staging --once --output json
    """
    from rollout import pipeline
    from rollout.cli import tables
    from rollout.cli.progress import Progress

    config = read_config(context)
    with Progress() as progress:
        soak = pipeline.follow_soak(config, environment, observer=progress, once=once)
    data = {**asdict(soak), "done": soak.done}
    show(output, data, lambda: tables.soak(soak))
