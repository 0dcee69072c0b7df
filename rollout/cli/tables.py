"""Tables for people."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from rollout.ledger import RolloutRecord, State
from rollout.model import Verdict
from rollout.units import duration, figure

if TYPE_CHECKING:  # what only looks needs nothing of what acts
    from rollout.checks.runner import CheckResult
    from rollout.pipeline import Certificates, Plan, Provisioned, Soak

_STATES = {
    State.REHEARSED: "green",
    State.APPLIED: "green",
    State.PROMOTED: "green",
    State.RUNNING: "cyan",
    State.ROLLING_BACK: "yellow",
    State.ROLLED_BACK: "yellow",
    State.ROLLBACK_FAILED: "bold red",
}

VERDICTS = {
    Verdict.PASS: "green",
    Verdict.FAIL: "bold red",
    Verdict.INCONCLUSIVE: "yellow",
    Verdict.ERROR: "bold red",
}


def _table(*columns: str, title: str | None = None) -> Table:
    table = Table(*columns, title=title, title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.header_style = "bold"
    return table


def plan(planned: Plan) -> list[RenderableType]:
    """What will be done, per host, and what would be done on anything but a pass."""
    origin = f", from {planned.previous_build}" if planned.previous_build else ""
    head = Text(f"{planned.kind} {planned.build} to {planned.env} as {planned.generation}{origin}", "bold")
    table = _table("#", "step", "host", "what")
    for index, step in enumerate(planned.forward, 1):
        for position, (host, what) in enumerate(step.hosts.items()):
            table.add_row(str(index) if not position else "", step.name if not position else "", host, what)
    back = _table("#", "step", "what", title="If anything but a pass comes out:")
    for index, step in enumerate(planned.backward, 1 + len(planned.forward)):
        back.add_row(str(index), step.name, step.summary)
    return [head, "", table, "", back]


def provisioned(hosts: Iterable[Provisioned], *, check: bool) -> RenderableType:
    """One line a host."""
    table = _table("host", "would change" if check else "changed", "what")
    for host in hosts:
        table.add_row(
            host.host,
            str(len(host.changed)),
            "; ".join([*host.changed, *host.noted]) or "nothing: all is as it should be",
        )
    return table


def certified(found: Certificates) -> RenderableType:
    """One line a host."""
    table = _table("host", "tag", "certificate until", "")
    for host in found.hosts:
        until = time.strftime("%Y-%m-%d", time.gmtime(host.ends))
        table.add_row(host.host, host.tag, until, "brought" if host.brought else "")
    return table


def history(records: Iterable[RolloutRecord]) -> RenderableType:
    """One line a rollout."""
    table = _table("environment", "#", "when (UTC)", "what", "build", "outcome", "took", "why")
    for record in records:
        took = duration(record.ended - record.started) if record.ended else "-"
        table.add_row(
            record.env,
            str(record.number),
            time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(record.started)),
            record.kind,
            record.build,
            Text(record.state.value, _STATES[record.state]),
            took,
            record.reason[:100],
        )
    return table


def summary(record: RolloutRecord) -> list[RenderableType]:
    """The outcome of one rollout with what was measured."""
    head = Text.assemble(
        (f"{record.env}: {record.build} ", "bold"),
        (record.state.value, _STATES[record.state]),
        f" as {record.generation}",
    )
    table = _table()
    table.show_header = False
    for name, value in record.figures.items():
        table.add_row(*figure(name, value))
    return [head, table]


def soak(watched: Soak) -> list[RenderableType]:
    """How a soak stands: the time, and each soak gate."""
    head = Text.assemble(
        (f"{watched.record.env}: {watched.record.build} ", "bold"),
        ("soaked" if watched.done else "soaking", "green" if watched.done else "cyan"),
        f", observed {duration(watched.observed)} of {duration(watched.required)}",
    )
    return [
        head,
        *(
            Text.assemble((f"{result.verdict:<12} ", VERDICTS[result.verdict]), result.reason)
            for result in watched.results
        ),
    ]


def checks(results: Sequence[CheckResult]) -> list[RenderableType]:
    """One line a check, and how many passed."""
    table = _table("", "group", "check", "ms", "detail")
    for result in results:
        mark = Text("✓", "green") if result.ok else Text("✗", "bold red")
        table.add_row(mark, result.group, result.name, f"{result.seconds * 1000:.0f}", result.detail[:110])
    passed = sum(result.ok for result in results)
    style = "green" if passed == len(results) else "bold red"
    return [table, Text(f"{passed}/{len(results)} passed", style)]
