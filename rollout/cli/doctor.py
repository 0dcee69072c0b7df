"""``rollout doctor``."""

from __future__ import annotations

import click

from rollout.cli.common import environment_argument, output_option, read_config, show
from rollout.errors import ChecksFailed


@click.command("doctor")
@environment_argument(required=False)
@output_option
@click.pass_context
def command(context: click.Context, environment: str | None, output: str) -> None:
    """Find what is wrong with this machine and with the hosts, each with the remedy. Changes nothing.

    Exit code 9 when something is wrong; warnings alone are 0.

    \b
    Example:
      rollout doctor
      rollout doctor staging --output json
    """
    from rollout.doctor import examine_control, examine_hosts

    config = read_config(context)
    chosen = [config.environment(environment)] if environment else list(config.environments.values())
    findings = examine_control(config, chosen)
    for each in chosen:
        findings += [
            finding._replace(
                where=f"{each.name}/{finding.where}", remedy=finding.remedy.replace(" ENV", f" {each.name}")
            )
            for finding in examine_hosts(config, each)
        ]
    if output == "json":
        show(output, [finding._asdict() for finding in findings], list)
    else:
        for finding in findings:
            where = f"{finding.where}: " if finding.where else ""
            mark = {"ok": "ok     ", "warning": "warning", "wrong": "WRONG  "}[finding.verdict]
            click.echo(f"{mark}  {where}{finding.subject}: {finding.text}")
            if finding.remedy:
                click.echo(f"         -> {finding.remedy}")
    wrong = [finding for finding in findings if finding.verdict == "wrong"]
    if wrong:
        first = f"{wrong[0].where}: " if wrong[0].where else ""
        raise ChecksFailed(
            f"{len(wrong)} things are wrong, the first: {first}{wrong[0].subject}: {wrong[0].text}"
        )
