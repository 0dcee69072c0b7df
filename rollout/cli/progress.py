"""Progress of a rollout on standard error, as it happens."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

from rich.console import Console
from rich.markup import escape
from rich.text import Text

from rollout.cli.tables import VERDICTS
from rollout.model import EngineEvent, GateResult, Verdict
from rollout.observer import Ahead
from rollout.units import duration

_LEVELS = {"info": "cyan", "warning": "yellow", "error": "bold red"}


TOLD = 60.0
"""Seconds that have to be known of what is left before it is said where not all of it is known."""

F = TypeVar("F", bound=Callable[..., None])


def _quietly(show: F) -> F:
    """Whoever watched may have gone, terminal or pipe and all: that is nothing to a rollout."""

    @functools.wraps(show)
    def shown(self: Progress, *given: Any, **named: Any) -> None:
        try:
            show(self, *given, **named)
        except (OSError, ValueError, SystemExit):  # rich ends the program when a pipe is broken
            # Nothing is shown any more.
            self._console.file = Path(os.devnull).open("w")  # noqa: SIM115 - for as long as we run

    return cast(F, shown)


class Progress:
    """Implements :class:`rollout.observer.Observer`: a line a step, and a spinner with what goes on in it."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, soft_wrap=True, highlight=False)
        self._status = self._console.status("")
        self._going: _Going | None = None

    def __enter__(self) -> Progress:
        self._start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop()

    @_quietly
    def _start(self) -> None:
        self._status.start()

    @_quietly
    def _stop(self) -> None:
        self._status.stop()

    @_quietly
    def step_started(self, index: int, total: int, kind: str, summary: str, ahead: Ahead) -> None:
        """Announce the step."""
        self._going = _Going(f"[{index + 1}/{total}]", summary, ahead)
        self._status.update(self._going)

    @_quietly
    def step_finished(
        self, index: int, kind: str, status: Literal["done", "failed", "skipped"], seconds: float, detail: str
    ) -> None:
        """Leave one line of the step behind."""
        assert self._going is not None
        mark = "[green]✓[/]" if status == "done" else "[bold red]✗[/]"
        place = f"{escape(self._going.place)} {escape(kind):<16}"
        line = f"{time.strftime('%H:%M:%S')} {mark} {place} {seconds:6.1f} s"
        left = self._going.left(0.0) if status == "done" else ""
        self._console.print("  ".join([line, *filter(None, (escape(detail), left and f"[dim]({left})[/]"))]))

    @_quietly
    def engine_event(self, event: EngineEvent) -> None:
        """Show which host does what; leave failures behind, and what somebody ought to know."""
        task = event.task.rpartition(" : ")[2]
        self._now(f"{event.host}: {task}")
        if event.status in ("failed", "unreachable"):
            self._console.print(f"  [red]{escape(event.host)}: {escape(task)}: {escape(event.detail)}[/]")
        elif event.status == "noted":
            self._console.print(f"  [yellow]{escape(event.host)}: {escape(task)}[/]")

    @_quietly
    def gate_results(self, results: Sequence[GateResult], final: bool) -> None:
        """Show the gates as they stand, and leave those that count behind."""
        if not final:
            waiting = [result for result in results if result.verdict is not Verdict.PASS]
            text = f"{len(results) - len(waiting)} of {len(results)} gates pass"
            if waiting:
                text += f"; {waiting[0].verdict}: {waiting[0].reason}"
            self._now(text)
            return
        for result in results:
            style = VERDICTS[result.verdict]
            self._console.print(f"           [{style}]{result.verdict:<12}[/] {escape(result.reason)}")

    @_quietly
    def message(self, text: str, level: Literal["info", "warning", "error"] = "info") -> None:
        """Print a line."""
        self._console.print(f"{time.strftime('%H:%M:%S')} [{_LEVELS[level]}]{escape(text)}[/]")

    def _now(self, text: str) -> None:
        """What goes on in the step, beside its times."""
        if self._going is not None:
            self._going.what = text
        else:
            self._status.update(escape(text))


class _Going:
    """The step that goes on, with what it has taken and what is left: rich asks for it again and again."""

    def __init__(self, place: str, what: str, ahead: Ahead) -> None:
        self.place = place
        self.what = what
        self._ahead = ahead
        self._began = time.monotonic()

    def left(self, here: float | None) -> str:
        """About how long it still takes, ``here`` seconds for this step; "" where nothing is known."""
        rest = (here or 0.0) + self._ahead.rest
        whole = self._ahead.whole and here is not None
        if not whole and rest < TOLD:
            return ""
        return (
            f"{'about' if whole else 'at least'} {duration(float(round(rest)))} left" if rest >= 0.5 else ""
        )

    def __rich__(self) -> Text:
        elapsed = time.monotonic() - self._began
        usual = self._ahead.step
        taken = duration(float(int(elapsed))) + (
            f" of about {duration(float(round(usual)))}" if usual else ""
        )
        left = self.left(None if usual is None else max(0.0, usual - elapsed))
        times = f"{taken}, {left}" if left else taken
        return Text(f"{self.place} {times}: {self.what}", no_wrap=True, overflow="ellipsis")
