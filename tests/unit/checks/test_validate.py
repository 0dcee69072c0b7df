"""Checks that need no server: what a client does when nobody answers, on a machine that stands still."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest
from terminals.client import Terminal

from rollout.checks.runner import Target
from rollout.checks.validate import CHECKS, worker_memory

NOBODY = Target(environment="dev", host="a", terminals={}, web="", token="t")


@pytest.fixture
def standing_still(monkeypatch):
    """Between a failure and its report, once and again, as a busy machine may."""
    count, seen = Terminal._count, []

    def late(self, event):
        seen.append(event)
        if len(seen) in (1, 5, 8):
            time.sleep(0.55)
        count(self, event)

    monkeypatch.setattr(Terminal, "_count", late)
    return seen


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Trigger detection", "opened after 3 failures, then no further attempt"),
        ("Exponential backoff", "waited 40, 80, 160, 320 ms between attempts"),
    ],
)
def test_a_machine_that_stands_still_is_no_fault_of_a_build(standing_still, name, said):
    check = next(check for check in CHECKS if check.name == name)
    assert check.run(NOBODY) == said
    assert len(standing_still) >= 3


@pytest.mark.parametrize(
    ("new", "found"), [(25_000_000, 25_000_000), (0, 0)], ids=["the cure of a leak", "it reports nothing"]
)
def test_memory_is_that_of_whom_people_are_led_to(new, found):
    """The one before still has its people, and is as large as it has grown."""
    body = {
        "generations": [
            {"name": "g1", "weight": 0, "memory_bytes": 60_000_000},
            {"name": "g2", "weight": 100, "memory_bytes": new},
        ]
    }
    target: Any = SimpleNamespace(http=lambda path, token: (200, body), token="t")
    assert worker_memory(target) == found
