"""``rollout certify``."""

from __future__ import annotations

from dataclasses import asdict

import click

from rollout.cli.common import environment_argument, output_option, read_config, show


@click.command("certify")
@environment_argument()
@output_option
@click.pass_context
def command(context: click.Context, environment: str, output: str) -> None:
    """Have the hosts of an environment know each other: make certificates, and bring them there.

    The authority that makes them is made where there is none. Its files stay on this machine, and belong to
    whoever runs rollouts: keep them as you keep the password of the vault. Every deployment renews
    certificates that are older than 90 days; so does this, and they end after a year. They are used within
    seconds; nothing is restarted.

    \b
    Example:
      rollout certify production
    """
    from rollout import pipeline
    from rollout.cli import tables
    from rollout.cli.progress import Progress

    config = read_config(context)
    with Progress() as progress:
        found = pipeline.certify(config, environment, observer=progress)
    show(output, asdict(found), lambda: tables.certified(found))
