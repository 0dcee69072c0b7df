"""``rollout logs``."""

from __future__ import annotations

import click

from rollout.cli.common import environment_argument, read_config


@click.command("logs")
@environment_argument()
@click.option("--host", "hosts", multiple=True, help="Only this host; may be repeated.")
@click.option("--generation", default="", help="Only this generation's workers and web, e.g. g7.")
@click.option("--follow", "-f", is_flag=True, help="Go on with what comes; Ctrl-C ends it.")
@click.option("--since", metavar="DURATION", help="How long ago to begin, e.g. 10m.")
@click.pass_context
def command(
    context: click.Context,
    environment: str,
    hosts: tuple[str, ...],
    generation: str,
    follow: bool,
    since: str | None,
) -> None:
    """Print what the services say, each line with its host and process before it.

    \b
    Example:
      rollout logs staging --since 10m
      rollout logs production --host production-2 --generation g7 --follow
    """
    from rollout.cli.everywhere import at_sites
    from rollout.direct.logs import follow_logs

    with at_sites(read_config(context), environment, hosts) as (sites, say):
        silent = {site.name for site in sites}

        def heard(host: str, line: str) -> None:
            silent.discard(host)
            say(host, line)

        follow_logs(sites, heard, generation=generation, follow=follow, since=since)
    who = f"{generation or 'the services'} said nothing{f' in the last {since}' if since else ''}"
    for host in sorted(silent):
        click.echo(f"{host}: {who}; what runs there: rollout status {environment}", err=True)
