"""``rollout report``."""

from __future__ import annotations

import click

from rollout.cli.common import output_option, read_config


@click.command("report")
@click.argument("environment")
@click.option("--rollout", "number", type=int, help="Its number (see history); the newest by default.")
@output_option
@click.pass_context
def command(context: click.Context, environment: str, number: int | None, output: str) -> None:
    """One rollout with its gates, checks, figures and timeline, from the ledger. Markdown, or JSON.

    \b
    Example:
      rollout report staging > report.md
    """
    import json

    from rollout.report import collect, markdown

    data = collect(read_config(context), environment, number)
    click.echo(json.dumps(data, indent=2) if output == "json" else markdown(data), nl=output == "json")
