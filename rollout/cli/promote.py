"""``rollout promote``."""

from __future__ import annotations

import click

from rollout.cli.common import environment_argument, output_option, plan_option, read_config


@click.command("promote")
@environment_argument()
@plan_option
@click.option("--wait", is_flag=True, help="Wait for a soak, more evidence or an approval; Ctrl-C ends it.")
@click.option(
    "--override", metavar="REASON", help="Go on in spite of the refusal; needs --name. Kept for ever."
)
@click.option("--name", metavar="NAME", help="With --override: who takes the decision.")
@output_option
@click.pass_context
def command(
    context: click.Context,
    environment: str,
    plan_only: bool,
    wait: bool,
    override: str | None,
    name: str | None,
    output: str,
) -> None:
    """Move the predecessor's build on, the very same by digest, in canary steps.

    Refused (exit 7) before anything is touched when the predecessor's evidence is missing or not
    enough, or an approval or a rehearsal is. Taken back by itself (exit 3 or 4) when a gate gives
    anything but a pass.

    \b
    Example:
      rollout promote staging --plan
      rollout promote staging --wait
      rollout promote staging --override "fixes the outage" --name "Ada Lovelace"
    """
    if (override is None) != (name is None):
        raise click.UsageError("--override REASON and --name NAME go together")
    if override is not None and not (override.strip() and (name or "").strip()):
        raise click.UsageError("--override needs a reason, and --name a name")
    from rollout import pipeline
    from rollout.cli.rolling import carry_out

    config = read_config(context)
    chosen = pipeline.Override(name or "", override) if override is not None else None
    carry_out(
        config,
        output,
        lambda observer: pipeline.promote(
            config, environment, observer=observer, plan_only=plan_only, wait=wait, override=chosen
        ),
    )
