"""Running a rollout for a command: progress, and the result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict

from rollout.cli.common import show
from rollout.cli.onward import onward
from rollout.cli.progress import Progress
from rollout.config import Config
from rollout.ledger import RolloutRecord
from rollout.pipeline import Planned


def carry_out(
    config: Config,
    output: str,
    act: Callable[[Progress], RolloutRecord | Planned | None],
    *,
    nothing: str = "",
) -> None:
    """Run ``act`` with progress on standard error; print the plan, or the outcome and what comes next, or
    that there is nothing to be done.

    Raises:
        Refused, Locked: it was planned only, and could not be carried out; what is in its way is printed.
    """
    from rollout.cli import tables
    from rollout.cli.planned import planned

    with Progress() as progress:
        result = act(progress)
    if result is None:
        show(output, None, lambda: nothing)
    elif isinstance(result, Planned):
        show(output, result.as_dict(), lambda: planned(result))
        if result.obstacles:
            raise result.obstacles[0].kind(f"{result.env}: as it is now, this would be refused")
    else:
        show(output, asdict(result), lambda: [*tables.summary(result), *onward(config, result)])
