"""``rollout validate`` and ``rollout smoke``: a suite against an environment, recorded as evidence."""

from __future__ import annotations

from dataclasses import asdict

import click

from rollout.cli.common import read_config, show
from rollout.errors import ChecksFailed


def run(context: click.Context, suite: str, environment: str, output: str) -> None:
    """Run a suite on every host of an environment and record the results in the ledger.

    Raises:
        ChecksFailed: not all passed.
    """
    from rich.console import Console

    from rollout.checks import CheckResult
    from rollout.cli import tables
    from rollout.ledger import Ledger
    from rollout.pipeline.commands import engine_of
    from rollout.pipeline.runner import SUITES

    config = read_config(context)
    chosen = config.environment(environment)
    results: list[CheckResult] = []
    with Console(stderr=True).status(f"{suite} on {environment}") as status:
        for target in engine_of(config, chosen).targets():
            results += SUITES[suite](target, lambda result: status.update(f"{result.group}: {result.name}"))
    with Ledger(config.ledger_url) as ledger:
        ledger.record_checks(environment, None, results)
    show(output, [asdict(result) for result in results], lambda: tables.checks(results))
    bad = [result for result in results if not result.ok]
    if bad:
        raise ChecksFailed(
            f"{suite} on {environment}: {len(bad)} of {len(results)} failed,"
            f" the first: {bad[0].name}: {bad[0].detail}"
        )
