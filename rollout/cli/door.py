"""``rollout door``."""

from __future__ import annotations

from dataclasses import asdict

import click

from rollout.cli.common import environment_argument, output_option, read_config, show


@click.command("door")
@environment_argument()
@click.option("--check", is_flag=True, help="Say what would change, and change nothing.")
@click.option("--remove", is_flag=True, help="Take the door away from its hosts.")
@output_option
@click.pass_context
def command(context: click.Context, environment: str, check: bool, remove: bool, output: str) -> None:
    """Have one address for all hosts of an environment: HAProxy, on the hosts that door.hosts names.

    Whoever comes by its name is led to any host; from there, as without a door, to the one that a session is
    at. Again after a host was added or taken away, and when the certificate was renewed: nobody who is
    connected notices.

    \b
    Example:
      rollout door production --check
      rollout door production
    """
    from rollout import pipeline
    from rollout.cli import tables
    from rollout.cli.progress import Progress

    config = read_config(context)
    with Progress() as progress:
        hosts = pipeline.door(config, environment, check=check, remove=remove, observer=progress)
    show(output, [asdict(host) for host in hosts], lambda: tables.provisioned(hosts, check=check))
