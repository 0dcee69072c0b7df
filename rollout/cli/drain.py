"""``rollout drain``."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from rollout.cli.common import EMPTIED, command_line, output_option, read_config, show, time_of
from rollout.units import sessions

if TYPE_CHECKING:
    from rollout.pipeline import Drained


@click.command("drain")
@click.argument("host")
@click.option("--env", metavar="ENVIRONMENT", help="Where several have a host of that name.")
@click.option("--deadline", metavar="TIME", help="Until when to wait: 18:00, or 2h from now.")
@click.option(
    "--message", default=EMPTIED, show_default=True, help="Shown in all terminals there; empty: none."
)
@click.option("--no-wait", is_flag=True, help="Only have no session begin there any more.")
@output_option
@click.pass_context
def command(
    context: click.Context,
    host: str,
    env: str | None,
    deadline: str | None,
    message: str,
    no_wait: bool,
    output: str,
) -> None:
    """Empty HOST: have no session begin there any more, tell whoever works there, and wait until the last
    session has ended. Live shells cannot be moved to another host; nothing is ended.

    New sessions begin at the other hosts that it knows of; where it knows of none, clients are told to come
    again. It stays so, over restarts too, until `rollout undrain`. At the deadline it ends with 7 where
    sessions are left, and says how many.

    \b
    Example:
      rollout drain staging-1 --deadline 18:00 --message 'a new kernel at six'
    """
    from rollout import pipeline
    from rollout.errors import Refused

    config = read_config(context)
    until = None if deadline is None else time_of(deadline)
    said = -1

    def looked(left: Drained) -> None:
        nonlocal said
        if left.sessions != said:
            said = left.sessions
            click.echo(f"{host}: {sessions(said)}", err=True)

    try:
        left = pipeline.drain(
            config, host, env, message=message, until=until, wait=not no_wait, on_look=looked
        )
    except KeyboardInterrupt:
        back = command_line(context, "undrain", host, *(("--env", env) if env else ()))
        click.echo(f"{host} goes on being emptied; take that back with: {back}", err=True)
        raise
    show(
        output, asdict(left), lambda: f"{host} of {left.env} is {left.state}, with {sessions(left.sessions)}"
    )
    if left.state == "ready":
        raise Refused(f"{host}: somebody has sessions begin there again")
    if left.sessions and not no_wait:
        raise Refused(f"{host}: {sessions(left.sessions)} left at the deadline; nothing was ended")
