"""What the environments that are up have written, for the report of a test that failed."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

LAST = 4000
"""Bytes of each log: its end says what went wrong."""


class Environment(Protocol):
    """Something with logs."""

    def logs(self) -> Mapping[str, str]:
        """The texts, by the name of who wrote them."""


_living: weakref.WeakSet[Environment] = weakref.WeakSet()


def show_when_failing(environment: Environment) -> None:
    """Show the logs of this environment with every failure while it is there."""
    _living.add(environment)


def forget(environment: Environment) -> None:
    """Its folder goes: there is nothing left to show."""
    _living.discard(environment)


def of_the_living() -> Iterator[tuple[str, str]]:
    """Sections of a report. One that cannot be had says why; it never hides the failure itself."""
    for environment in list(_living):
        try:
            found = environment.logs()
        except Exception as error:
            found = {type(environment).__name__: f"no logs: {error!r}"}
        for name, text in found.items():
            if text.strip():
                yield f"log of {name}", text[-LAST:]


def broken(folder: Path, *patterns: str) -> list[str]:
    """Exceptions in all files below a folder that match: each with its log and its last line."""
    found = []
    for pattern in patterns:
        for path in sorted(folder.glob(pattern)):
            for text in path.read_text(errors="replace").split("Traceback (most recent call last):\n")[1:]:
                last = next((line for line in text.splitlines() if not line.startswith(" ")), "")
                found.append(f"{path.relative_to(folder)}: {last}")
    return found


def in_folder(folder: Path, *patterns: str) -> dict[str, str]:
    """The ends of all files below a folder that match, by their path in it."""
    found = {}
    for pattern in patterns:
        for path in sorted(folder.glob(pattern)):
            with path.open("rb") as file:
                file.seek(max(0, path.stat().st_size - LAST))
                found[str(path.relative_to(folder))] = file.read().decode(errors="replace")
    return found
