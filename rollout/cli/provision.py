"""``rollout provision``."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from rollout.cli.common import (
    EMPTIED,
    environment_argument,
    output_option,
    read_config,
    show,
    time_of,
)
from rollout.units import sessions

if TYPE_CHECKING:
    from rollout.pipeline import Drained


@click.command("provision")
@environment_argument()
@click.option("--check", is_flag=True, help="Say what would change, and change nothing.")
@click.option("--upgrade", is_flag=True, help="Bring container engines up to date, one host after the other.")
@click.option("--no-drain", is_flag=True, help="Empty no host, where shells outlive their engine.")
@click.option("--deadline", metavar="TIME", help="Until when to wait for the hosts: 18:00, or 2h from now.")
@click.option("--message", help=f"Shown in terminals of hosts that are emptied; by default: {EMPTIED}.")
@output_option
@click.pass_context
def command(
    context: click.Context,
    environment: str,
    check: bool,
    upgrade: bool,
    no_drain: bool,
    deadline: str | None,
    message: str | None,
    output: str,
) -> None:
    """Bring hosts to where builds can be deployed to them: engine, Compose, directory, clock, firewall.

    With --upgrade the packages of their engines are brought up to date as well, one host after the other.
    No session begins at that host meanwhile, and the last one is waited for; at the deadline the command ends
    with 7, nothing is ended, and the host goes on as it was.

    \b
    Example:
      rollout provision staging --check
      rollout provision staging
      rollout provision staging --upgrade --deadline 18:00
    """
    from rollout import pipeline
    from rollout.cli import tables
    from rollout.cli.progress import Progress
    from rollout.errors import ConfigError

    if not upgrade and (no_drain or deadline is not None or message is not None):
        raise ConfigError("--no-drain, --deadline and --message are about --upgrade, which was not said")
    if no_drain and deadline is not None:
        raise ConfigError("--deadline: with --no-drain nobody is waited for")
    config = read_config(context)
    until = None if deadline is None else time_of(deadline)
    with Progress() as progress:
        said = ("", -1)

        def looked(left: Drained) -> None:
            nonlocal said
            if (left.host, left.sessions) != said:
                said = (left.host, left.sessions)
                progress.message(f"{left.host}: {sessions(left.sessions)}")

        said_there = EMPTIED if message is None else message
        emptying = pipeline.Emptying(not no_drain, until, said_there, looked, progress.message)
        hosts = pipeline.provision(
            config, environment, check=check, upgrade=emptying if upgrade else None, observer=progress
        )
    show(output, [asdict(host) for host in hosts], lambda: tables.provisioned(hosts, check=check))
