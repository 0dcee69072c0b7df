"""What runs where, for a window of any width: the id of a build, which people copy, is never cut."""

from __future__ import annotations

import math
import textwrap
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.console import Console, ConsoleOptions
from rich.text import Text

from rollout.units import count, duration

if TYPE_CHECKING:
    from rollout.pipeline import EnvironmentStatus

COLUMNS = ("environment", "build", "for", "host", "serving", "sessions")
LABEL = 13


@dataclass(frozen=True, slots=True)
class Line:
    """One host of an environment. ``cells`` are those of :data:`COLUMNS`."""

    cells: tuple[str, ...]
    notes: tuple[str, ...]
    soaked: str = ""

    @property
    def said(self) -> str:
        """The notes as one text."""
        return ", ".join(filter(None, (*self.notes, self.soaked)))

    @property
    def lasting(self) -> tuple[object, ...]:
        """What stays as it is until something happens: without times and people."""
        environment, build, _, host, serving, _ = self.cells
        return environment, build, host, serving, self.notes, bool(self.soaked)


def lines(entries: Iterable[EnvironmentStatus], now: float | None = None) -> list[Line]:
    """A line a host."""
    now = time.time() if now is None else now
    return [_line(entry, host, manager, now) for entry in entries for host, manager in entry.known.items()]


def _line(entry: EnvironmentStatus, host: str, manager: dict[str, Any] | None, now: float) -> Line:
    generations = (manager or {}).get("generations", [])
    serving = [g for g in generations if g["weight"]]
    current = entry.current
    since = duration(now - (current.ended or now)) if current else "-"
    soaking = entry.soaked is not None and entry.soaked < entry.soak
    return Line(
        (
            entry.environment,
            current.build if current else "-",
            since,
            host,
            " ".join(f"{g['name']}={g['weight']}" for g in serving) or "-",
            f"{manager['sessions']['attached']}/{manager['sessions']['live']}" if manager else "-",
        ),
        tuple(_notes(entry, host, manager, serving)),
        f"soaked {duration(entry.soaked or 0.0)} of {duration(entry.soak)}" if soaking else "",
    )


def _notes(
    entry: EnvironmentStatus, host: str, manager: dict[str, Any] | None, serving: Sequence[dict[str, Any]]
) -> Iterator[str]:
    env = entry.environment
    if entry.unfinished:
        said = f"#{entry.unfinished.number} {entry.unfinished.state}"
        yield f"{said} ({entry.held_by})" if entry.held_by else f"{said}: rollout resume {env}"
    elif entry.held_by:
        yield f"held by {entry.held_by}"
    if host in entry.lost:
        yield "stated to be lost"
        return
    if manager is None and entry.current:
        yield f"no session manager answers: rollout doctor {env}"
        if len(entry.hosts) > 1:
            yield f"where the host is new: rollout apply {env}"
    if drift := entry.drift.get(host):
        yield f"declared otherwise, {drift}: rollout apply {env}"
    if (state := (manager or {}).get("host_state", "ready")) != "ready":
        yield f"{state}, no session begins there: rollout undrain {host} --env {env}"
    if left := (manager or {}).get("sessions", {}).get("left"):
        yield f"{count(left, 'session')} left with the holder"
    if host in entry.marks:
        yield f"{entry.marks[host]}: rollout adopt {env}"
    elif (
        entry.current
        and not entry.unfinished
        and serving
        and entry.current.generation not in [g["name"] for g in serving]
        and entry.current.generation in [g["name"] for g in (manager or {}).get("generations", ())]
    ):
        yield f"not {entry.current.generation}, as the ledger says: rollout adopt {env}"
    for generation in (manager or {}).get("generations", []):
        if not generation["weight"] and generation["workers"]:
            yield f"{generation['name']} warm"


@dataclass(frozen=True, slots=True)
class Overview:
    """Renders lines: each as one where that fits (or nobody's window sets a limit), else with its notes
    below it, else as a block."""

    lines: Sequence[Line]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        width = options.max_width if console.is_terminal else None
        for index, text in enumerate(layout(self.lines, width)):
            head = index == 0 and text.startswith(COLUMNS[0])
            yield Text(text, "bold" if head else "", overflow="ignore" if width is None else "fold")


def layout(lines: Sequence[Line], width: int | None) -> list[str]:
    """The lines as text for a window of ``width`` columns; ``None``: there is none."""
    limit = math.inf if width is None else width
    rows = [COLUMNS, *(line.cells for line in lines)]
    columns = [max(map(len, column)) for column in zip(*rows, strict=True)]
    if sum(columns) + 2 * (len(columns) - 1) > limit:
        return [text for line in lines for text in _block(line, int(limit))]
    texts = ["  ".join(cell.ljust(size) for cell, size in zip(row, columns, strict=True)) for row in rows]
    notes = ["note", *(line.said for line in lines)]
    beside = [f"{text}  {note}".rstrip() for text, note in zip(texts, notes, strict=True)]
    if max(map(len, beside)) <= limit:
        return beside
    indent = " " * (columns[0] + 2)
    found = [texts[0].rstrip()]
    for text, line in zip(texts[1:], lines, strict=True):
        found += [text.rstrip(), *_wrapped(line.said, indent, indent, int(limit))]
    return found


def _block(line: Line, width: int) -> Iterator[str]:
    environment, build, since, host, serving, sessions = line.cells
    yield f"{environment} {host}"
    for label, text in (("build", build), ("for", since), ("serving", serving), ("sessions", sessions)):
        yield f"  {label:<{LABEL - 2}}{text}"
    for note in filter(None, (*line.notes, line.soaked)):
        yield from _wrapped(note, f"  {'note':<{LABEL - 2}}", " " * LABEL, width)


def _wrapped(text: str, first: str, rest: str, width: int) -> list[str]:
    wrapper = textwrap.TextWrapper(width, initial_indent=first, subsequent_indent=rest)
    wrapper.break_on_hyphens = wrapper.break_long_words = False
    return wrapper.wrap(text)
