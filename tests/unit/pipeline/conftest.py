"""A ledger of its own for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rollout.ledger import Ledger


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """In a file, empty."""
    with Ledger(f"sqlite:///{tmp_path}/ledger.db") as ledger:
        yield ledger
