"""``rollout rollback``."""

from __future__ import annotations

import click

from rollout.cli.common import environment_argument, output_option, plan_option, read_config


@click.command("rollback")
@environment_argument()
@plan_option
@click.option("--break-glass", is_flag=True, help="With SSH alone: no Ansible, no ledger, no lease.")
@click.option("--host", "hosts", multiple=True, help="With --break-glass: only this host; may be repeated.")
@click.option("--to", metavar="GENERATION", help="With --break-glass: go back to this one, or this build.")
@click.option("--reason", default="", help="Why, for the ledger, the incident and those who are told.")
@click.option("--yes", is_flag=True, help="With --break-glass: do not ask.")
@output_option
@click.pass_context
def command(
    context: click.Context,
    environment: str,
    plan_only: bool,
    break_glass: bool,
    hosts: tuple[str, ...],
    to: str | None,
    reason: str,
    yes: bool,
    output: str,
) -> None:
    """Return to the build before the present one, without having to name it.

    Within the rollback window its generation is still warm: traffic and live sessions move back in
    about a second. After it, it is started again from what is installed.

    With --break-glass the hosts alone are asked and told, for when Ansible or the ledger is what fails.
    Afterwards, `rollout adopt` takes what they serve into the ledger.

    \b
    Example:
      rollout rollback staging
      rollout rollback staging --plan
      rollout rollback staging --break-glass
    """
    config = read_config(context)
    if break_glass and plan_only:
        raise click.UsageError("--plan does not go with --break-glass, which asks before it acts")
    if break_glass:
        from rollout.cli.glass import break_it

        break_it(config, environment, hosts, to, yes=yes, output=output)
        return
    if hosts or to or yes:
        raise click.UsageError("--host, --to and --yes go with --break-glass")
    from rollout import pipeline
    from rollout.cli.rolling import carry_out

    if plan_only:
        carry_out(
            config, output, lambda observer: pipeline.plan_rollback(config, environment, observer=observer)
        )
        return
    carry_out(
        config,
        output,
        lambda observer: pipeline.rollback(config, environment, observer=observer, reason=reason),
    )
