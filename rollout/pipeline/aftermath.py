"""What follows a transition: people are told, the dashboard is brought up to date, the incident is filed.

None of it ever turns a rollout or a rollback that is done into one that failed: what does not work is
recorded, and said.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from rollout.config import Config, Environment
from rollout.ledger import Ledger, RolloutRecord
from rollout.model import Verdict
from rollout.notify import Severity, tell
from rollout.units import duration, figure, number

SYSTEM = "rollout"
"""Who events are by that nobody decided."""


class NotTold(Exception):
    """Somebody who was to be told could not be."""


def announce(
    config: Config,
    environment: Environment,
    ledger: Ledger,
    record: RolloutRecord,
    title: str,
    severity: Severity,
) -> str:
    """Tell those whom the environment names; gives one line of who was told, and records it.

    Raises:
        NotTold: not all of them could be; the same line.
    """
    body = "\n".join(_figures(record))
    title = f"[{environment.name}] {title}"
    told = tell(config.notify, environment.notify, title=title, body=body, severity=severity)
    for entry in told:
        ledger.add_event(
            environment.name,
            "notification",
            by=SYSTEM,
            rollout=record.id,
            to=entry.to,
            ok=entry.ok,
            title=title,
            error=entry.error,
        )
    if not told:
        return "nobody is to be told" if not environment.notify else "nobody wants to be told of this"
    line = ", ".join(f"{entry.to}: {'told' if entry.ok else entry.error}" for entry in told)
    if not all(entry.ok for entry in told):
        raise NotTold(line)
    return line


def dashboard(config: Config, environment: Environment) -> str:
    """Write the environment's page anew; gives where it is."""
    from rollout import report  # it takes longer to import than a whole `rollout status`

    folder = config.state / "dashboard"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{environment.name}.html"
    # Without plots, which take seconds to draw: `rollout report --format html` has them.
    _replace(path, report.html({**report.collect(config, environment.name), "plots": []}))
    return shown(path)


def incident(path: Path, record: RolloutRecord, ledger: Ledger) -> str:
    """File what happened, with its figures, evidence and timeline; gives where it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _replace(path, _incident(record, ledger))
    return shown(path)


def attempt(act: Callable[[], str | None]) -> tuple[bool, str]:
    """Do something that must not stop a rollback; gives whether it worked, and one line."""
    try:
        return True, act() or ""
    except NotTold as error:
        return False, str(error)
    except Exception as error:  # a full disk, a plot that cannot be drawn: said, recorded, gone on from
        return False, " ".join(f"{type(error).__name__}: {error}".split())


def shown(path: Path) -> str:
    """A path for a person: from where they are, if it is below."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def _figures(record: RolloutRecord) -> list[str]:
    lines = [f"- build: {record.build}", f"- generation: {record.generation}", f"- by: {record.operator}"]
    if record.previous_build:
        lines.append(f"- before it: {record.previous_build} ({record.previous_generation})")
    if record.reason:
        lines.append(f"- reason: {record.reason}")
    return lines + [f"- {': '.join(figure(*item))}" for item in record.figures.items()]


def _incident(record: RolloutRecord, ledger: Ledger) -> str:
    what = "rehearsed the way back" if record.kind == "rehearsal" else "was rolled back"
    steps = ledger.events(record.env, kind="plan-step", rollout=record.id)
    evidence = {item.id: item for item in ledger.evidence(record.id)}
    bad = [entry for entry in ledger.verdicts(record.id) if entry[1].verdict is not Verdict.PASS]
    used = dict.fromkeys(name for _, result in bad for name in result.evidence if name in evidence)
    return "\n".join(
        [
            f"# Incident: {record.env} rollout #{record.number} {what}",
            "",
            f"- build on trial: `{record.build}` as generation `{record.generation}`",
            f"- returned to: `{record.previous_build}` (`{record.previous_generation}`)"
            if record.previous_build
            else "- returned to: nothing, there was no earlier build",
            f"- reason: {record.reason}",
            f"- operator: {record.operator}",
            "",
            "## The rollback plan, carried out",
            "",
            "| step | at (UTC) | took | outcome |",
            "| --- | --- | --- | --- |",
            *(
                f"| {event.data['step']} | {_clock(event.at)} | {duration(event.data['seconds'])} |"
                f" {'' if event.data['ok'] else '**failed**: '}{_cell(event.data['outcome'])} |"
                for event in steps
            ),
            "",
            "## Figures",
            "",
            *(f"- {': '.join(figure(*item))}" for item in record.figures.items()),
            "",
            "## Verdicts that were not a pass",
            "",
            *(f"- {step}: {result.verdict}: {result.reason}" for step, result in bad),
            "",
            "## Evidence of those verdicts",
            "",
            *(
                f"- `{item.id}` {item.metric}, from {item.source}, {_clock(item.started)} to"
                f" {_clock(item.ended)}: n={item.n}"
                + (f", successes={item.successes}" if item.successes is not None else "")
                + (f", value={number(item.value)}" if item.value is not None else "")
                for item in (evidence[name] for name in used)
            ),
            "",
            "## Timeline (UTC)",
            "",
            *(
                f"- {_clock(entry.at)} {entry.step} {entry.phase}"
                + (f": {text}" if (text := entry.data.get("reason") or entry.data.get("detail")) else "")
                for entry in ledger.journal(record.id)
            ),
            "",
        ]
    )


def _clock(at: float) -> str:
    return time.strftime("%H:%M:%S", time.gmtime(at))


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _replace(path: Path, text: str) -> None:
    """Whoever reads it meanwhile sees the old one whole or the new one whole."""
    new = path.with_name(f".{path.name}.new")
    with new.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
