"""``rollout provision``."""

from __future__ import annotations

from dataclasses import asdict

import click

from rollout.cli.common import environment_argument, output_option, read_config, show


@click.command("provision")
@environment_argument()
@click.option("--check", is_flag=True, help="Say what would change, and change nothing.")
@output_option
@click.pass_context
def command(context: click.Context, environment: str, check: bool, output: str) -> None:
    """Bring hosts to where builds can be deployed to them: engine, Compose, directory, clock, firewall.

    \b
    Example:
      rollout provision staging --check
      rollout provision staging
    """
    from rollout import pipeline
    from rollout.cli import tables
    from rollout.cli.progress import Progress

    config = read_config(context)
    with Progress() as progress:
        hosts = pipeline.provision(config, environment, check=check, observer=progress)
    show(output, [asdict(host) for host in hosts], lambda: tables.provisioned(hosts, check=check))
