"""``rollout dashboard``."""

from __future__ import annotations

import contextlib
import os

import click

from rollout.cli.common import interval_of, read_config
from rollout.errors import ConfigError


@click.command("dashboard")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", default=4190, show_default=True, type=click.IntRange(0, 65535), help="0: a free one.")
@click.option("--name", "names", multiple=True, help="A name that it is reached by, besides its address.")
@click.option("--interval", default="2s", show_default=True, metavar="DURATION", help="Between two looks.")
@click.option("--no-browser", is_flag=True, help="Only print the link.")
@click.pass_context
def command(
    context: click.Context, host: str, port: int, names: tuple[str, ...], interval: str, no_browser: bool
) -> None:
    """A live page of all environments: what runs where, the rollout that goes on, and what went on before.

    The link that is printed lets its holder promote, approve, cancel and roll back, as you. Without it the
    page can be looked at from this machine, and not at all from others; between machines put a proxy with TLS
    in front, and --name it. What is done there are commands of `rollout`; they go on when this one ends.

    \b
    Example:
      rollout dashboard
      rollout dashboard --port 0 --no-browser
    """
    from rollout.cli.browser import hand_out
    from rollout.dashboard.server import serve

    config = read_config(context)
    every = max(0.2, interval_of(interval))

    def said(link: str) -> None:
        hand_out([link], config.state / "open" / "dashboard.html", browser=not no_browser)

    with contextlib.suppress(KeyboardInterrupt):
        try:
            serve(config, host, port, every=every, names=frozenset(map(str.lower, names)), said=said)
        except OSError as error:
            raise ConfigError(
                f"{host}:{port}: {os.strerror(error.errno or 0)}; choose another with --host or --port"
            ) from None
