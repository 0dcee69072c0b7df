"""The locked wheels of the services, fetched once in a run of tests."""

from __future__ import annotations

import os
from pathlib import Path

from rollout.build.store import WHEELS

FOLDER = "ROLLOUT_TESTS_WHEELS"
"""Names the folder that all processes of a run share."""


def share(state: Path) -> None:
    """Have builds in this state folder take what others of the run have fetched, and leave theirs."""
    if folder := os.environ.get(FOLDER):
        cache = state / "cache"
        cache.mkdir(parents=True, exist_ok=True)
        if not (cache / WHEELS).exists():
            (cache / WHEELS).symlink_to(folder)
