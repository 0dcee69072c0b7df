"""The command line of the holder. It imports nothing else of this package: nothing else is started then."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path


def program() -> Path:
    """The folder that it is run from."""
    spec = find_spec("terminals.holder")
    assert spec is not None and spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0])


def command(python: str, folder: Path) -> list[str]:
    """Its command line without what it is told: isolated, and without site packages."""
    return [python, "-I", "-S", str(folder)]


def started(socket: str, build: str) -> list[str]:
    """The command line of the holder of this installation."""
    return [*command(sys.executable, program()), socket, build]
