"""``rollout approve``."""

from __future__ import annotations

from dataclasses import asdict

import click

from rollout.cli.common import environment_argument, output_option, read_config, show


@click.command("approve")
@environment_argument()
@click.option("--note", default="", help="What is to be known of it.")
@output_option
@click.pass_context
def command(context: click.Context, environment: str, note: str, output: str) -> None:
    """Say yes to the predecessor's present build, that very one, coming to ENVIRONMENT.

    Where `approvals: 2` is set, two different people have to. You are who the kernel says you are.

    \b
    Example:
      rollout approve production --note "release meeting of 3 May"
    """
    from rollout import pipeline

    config = read_config(context)
    event, given = pipeline.approve(config, environment, note=note)
    wanted = config.environment(environment).approvals
    show(
        output,
        {"approval": asdict(event), "given": [entry.by for entry in given], "wanted": wanted},
        lambda: f"{event.by} approves {event.data['build']} for {environment}: {len(given)} of {wanted}",
    )
