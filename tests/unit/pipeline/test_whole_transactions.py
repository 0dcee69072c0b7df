"""A word to end that comes while the ledger is written: at whatever point, nothing is left locked or half."""

from __future__ import annotations

import signal
import sqlite3
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from rollout.ledger import Ledger
from rollout.pipeline.interrupts import Interrupts

EVERY = 11
"""Somebody asks at each so many-th call or return of a write, at others in each run."""


class AsksAt:
    """Asks at the n-th call or return from here on, of Python's functions or of C's."""

    def __init__(self, n: int) -> None:
        self._left = n
        self.asked = False

    def __enter__(self) -> AsksAt:
        sys.setprofile(self._happens)
        return self

    def __exit__(self, *exc: object) -> None:
        sys.setprofile(None)

    def _happens(self, frame: FrameType, event: str, argument: Any) -> None:
        self._left -= 1
        if self._left == 0:
            self.asked = True
            signal.raise_signal(signal.SIGTERM)


def can_be_written(path: Path) -> None:
    other = sqlite3.connect(path, timeout=0, isolation_level=None)
    try:
        other.execute("BEGIN IMMEDIATE")
    finally:
        other.close()


@pytest.mark.parametrize("first", range(1, EVERY, 5))
def test_whenever_somebody_asks_the_ledger_is_free_and_whole(tmp_path, first):
    path = tmp_path / "ledger.db"
    with Ledger(f"sqlite:///{path}") as ledger, Interrupts(lambda text: None) as interrupts:
        ledger.add_event("dev", "alert", by="nobody")
        written, points = 1, 0
        for n in range(first, 100_000, EVERY):
            said: BaseException | None = None
            asks = AsksAt(n)
            try:
                with interrupts.open(), asks:
                    ledger.add_event("dev", "alert", by="somebody")
            except KeyboardInterrupt as error:
                said = error  # and with it all frames that it has come through
            finally:
                sys.setprofile(None)
            now = len(ledger.events("dev"))
            assert now in (written, written + 1)
            written = now
            can_be_written(path)
            if not asks.asked:
                assert said is None
                break
            points += 1
            assert said is not None, f"point {n} was not heard"
        assert points > 20
        assert not ledger.verify().flaws
