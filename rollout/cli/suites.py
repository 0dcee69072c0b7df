"""``rollout validate``, ``smoke`` and ``infra``: a suite against an environment, recorded as evidence."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from rollout.cli.common import read_config, show
from rollout.errors import ChecksFailed

junit_option = click.option(
    "--junit",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Also write the results there, as JUnit XML.",
)


def run(context: click.Context, suite: str, environment: str, output: str, junit: Path | None) -> None:
    """Run a suite on every host of an environment and record the results in the ledger.

    Raises:
        ChecksFailed: not all passed.
    """
    from rich.console import Console

    from rollout import pipeline
    from rollout.cli import tables

    config = read_config(context)
    with Console(stderr=True).status(f"{suite} on {environment}") as status:
        results = pipeline.check(config, environment, suite, junit=junit, on_progress=status.update)
    show(output, [asdict(result) for result in results], lambda: tables.checks(results))
    bad = [result for result in results if not result.ok]
    if bad:
        raise ChecksFailed(
            f"{suite} on {environment}: {len(bad)} of {len(results)} failed,"
            f" the first: {bad[0].name}: {bad[0].detail}"
        )
