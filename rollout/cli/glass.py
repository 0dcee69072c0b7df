"""``rollout rollback --break-glass``: show what is meant, ask, do it, one line a host."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import click

from rollout.cli.common import show
from rollout.config import Config
from rollout.direct.glass import Glass, Outcome, raise_unless_back
from rollout.units import duration


def break_it(
    config: Config, environment: str, hosts: Sequence[str], to: str | None, *, yes: bool, output: str
) -> None:
    """Lead hosts back.

    Raises:
        RollbackFailed: not all of them are back.
    """
    glass = Glass(config, config.environment(environment), hosts)
    try:
        intent = glass.look(to)
        if intent.choice.again:
            click.echo(f"{intent.choice.again}; going on with it (--to names another generation)", err=True)
        click.echo(str(intent), err=True)
        for text in intent.failed.values():
            click.echo(f"left out: {text}", err=True)
        if not yes:
            click.confirm("Move everybody there, past the ledger?", abort=True, err=True)
        outcomes = glass.lead(intent, lambda outcome: _say(outcome, aside=output == "json"))
    finally:
        glass.close()
    if output == "json":
        show(output, [asdict(outcome) for outcome in outcomes], list)
    raise_unless_back(environment, outcomes)
    click.echo(f"the ledger does not know it yet: rollout adopt {environment}", err=True)


def _say(outcome: Outcome, *, aside: bool) -> None:
    text = outcome.text.removeprefix(f"{outcome.host}: ")
    click.echo(
        f"{outcome.host}: {'' if outcome.ok else 'FAILED: '}{text} ({duration(outcome.seconds)})", err=aside
    )
