"""``rollout open``."""

from __future__ import annotations

import click

from rollout.cli.common import environment_argument, read_config


@click.command("open")
@environment_argument()
@click.option("--no-browser", is_flag=True, help="Only print the links.")
@click.pass_context
def command(context: click.Context, environment: str, no_browser: bool) -> None:
    """Print the links of the page with the way in, one a host, and open the first on a desktop. Where there
    is a door, its link is the first.

    A link is good for five minutes: whoever opens it by then may do everything there. The browser gets it by
    a file that only you may read, so that it stands in no list of processes.

    \b
    Example:
      rollout open dev
    """
    from rollout.cli.browser import hand_out, page
    from rollout.pipeline.begin import engine_of

    config = read_config(context)
    chosen = config.environment(environment)
    targets = engine_of(config, chosen).targets()
    links = [page(target) for target in targets]
    if chosen.door is not None:
        links.insert(0, page(targets[0], chosen.door.url("https")))
    hand_out(links, config.state / "open" / f"{environment}.html", browser=not no_browser)
