"""How the holder is started."""

from __future__ import annotations

import sys
from importlib.util import find_spec


def command() -> list[str]:
    """Its command line without its socket and build: isolated, and without site packages."""
    spec = find_spec("terminals.holder")
    assert spec is not None and spec.submodule_search_locations
    return [sys.executable, "-I", "-S", spec.submodule_search_locations[0]]
