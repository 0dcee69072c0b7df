"""``rollout exec``."""

from __future__ import annotations

import sys

import click

from rollout.cli.common import environment_argument, read_config


@click.command("exec")
@environment_argument()
@click.option("--host", "hosts", multiple=True, help="Only this host; may be repeated.")
@click.argument("words", metavar="-- COMMAND...", nargs=-1, required=True, type=click.UNPROCESSED)
@click.pass_context
def command(context: click.Context, environment: str, hosts: tuple[str, ...], words: tuple[str, ...]) -> None:
    """Run a command on all hosts of an environment at the same time, each line with its host before it.

    The words reach the program as they are: for a pipe or a variable of the host, use sh -c. Exits with
    the highest exit status. A command line can be seen by everybody on the host: no secrets in it.

    \b
    Example:
      rollout exec staging -- docker ps
      rollout exec staging --host staging-2 -- sh -c 'df -h | sort'
    """
    from rollout.cli.everywhere import at_sites
    from rollout.direct.logs import run_everywhere

    with at_sites(read_config(context), environment, hosts) as (sites, say):
        status = run_everywhere(sites, words, say)
    sys.exit(status)
