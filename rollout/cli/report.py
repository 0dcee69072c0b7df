"""``rollout report``."""

from __future__ import annotations

from pathlib import Path

import click

from rollout.cli.common import environment_argument, output_option, read_config
from rollout.errors import ConfigError


@click.command("report")
@environment_argument()
@click.option("--rollout", "number", type=int, help="Its number (see history); the newest by default.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["markdown", "html", "json"]),
    default="markdown",
    show_default=True,
    help="Form of the report.",
)
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="A file to write it to; - is the screen."
)
@output_option
@click.pass_context
def command(
    context: click.Context, environment: str, number: int | None, form: str, out: Path | None, output: str
) -> None:
    """One rollout with its evidence: decision, tests, gates, monitoring, risks, timeline, rollback plan.

    HTML is one file with plots that needs nothing else. --output json is --format json.

    \b
    Example:
      rollout report staging > report.md
      rollout report staging --format html --out report.html
    """
    import json

    from rollout import pipeline
    from rollout.report import collect, html, markdown

    config = read_config(context)
    data = collect(config, environment, number, **pipeline.live(config, environment, number))
    if output == "json" or form == "json":
        text = json.dumps(data, indent=2) + "\n"
    else:
        text = html(data) if form == "html" else markdown(data)
    if out is None or out == Path("-"):
        click.echo(text, nl=False)
        return
    try:
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"--out {out}: {error.strerror}; name a file that can be written") from None
    click.echo(f"{out}: {data['title']}: {data['decision']}", err=True)
