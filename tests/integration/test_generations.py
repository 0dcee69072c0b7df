"""A session manager that has seen many releases."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from terminals.control import CONTROL_VERSION
from terminals.control.answers import Metrics
from terminals.control.asking import connect
from terminals.web.metrics import render

from tests.support.control import hear, say
from tests.support.stack import Stack, until

COUNT = 600


@pytest.fixture
def after_releases(tmp_path) -> Iterator[Callable[..., Stack]]:
    """A manager that was started on what an earlier one knew of 600 generations."""
    stacks = []

    def start(**fields: Any) -> Stack:
        state = tmp_path / "state"
        state.mkdir()
        known = [{"name": f"g{number}", "build": "0" * 40, "weight": 0, **fields} for number in range(COUNT)]
        (state / "generations.json").write_text(json.dumps({"fence": 3, "generations": known}))
        stacks.append(Stack(state_dir=str(state)))
        return stacks[-1]

    yield start
    for stack in stacks:
        stack.close()


def test_all_questions_are_answered_however_many_there_are(after_releases):
    stack = after_releases(retire_at=time.time() + 86400, way_back_from=None, retired=False)
    stack.start_generation("g0", weight=100)
    assert len(stack.status()["generations"]) == COUNT
    answer = msgspec.convert(stack.admin("metrics"), Metrics)
    families = {family.name: family for family in answer.items}
    assert len(families["terminals_attaches"].samples) == COUNT
    assert b'generation="g599"' in render(families.values())
    assert stack.admin("peers")["items"][0]["generation"] == "g0"
    with stack.terminal() as somebody:
        assert [entry["id"] for entry in stack.admin("sessions")["items"]] == [somebody.session]


def test_the_ends_of_long_ago_are_forgotten_and_the_latest_are_known(after_releases):
    stack = after_releases(retire_at=time.time() - 3600, way_back_from=None, retired=True)
    until(lambda: len(stack.status()["generations"]) < 20, "the oldest being forgotten")
    names = [entry["name"] for entry in stack.status()["generations"]]
    assert names == [f"g{number}" for number in range(COUNT - 16, COUNT)]
    saved = json.loads(Path(stack.settings["state_dir"], "generations.json").read_text())
    assert [entry["name"] for entry in saved["generations"]] == names


def test_whoever_is_there_or_has_sessions_is_known_however_long_ago(stack):
    stack.start_generation("g2")
    somebody = stack.terminal()
    somebody.open()
    somebody.close()
    stack.admin("weights", weights={"g2": 100})
    stack.admin("stop", generation="g1")
    stack.start_generation("g3")
    for number in range(4, 40):
        announce(stack, f"g{number}")
    until(lambda: len(stack.status()["generations"]) < 25, "those that were tried being forgotten")
    names = {entry["name"] for entry in stack.status()["generations"]}
    assert {"g1", "g2", "g3"} <= names
    assert stack.generation("g1")["assigned"] == 1


def announce(stack: Stack, generation: str) -> None:
    """A worker of it says hello, and ends: a build that does not stay."""
    with connect(stack.socket) as sock:
        hello = {"type": "hello", "version": CONTROL_VERSION, "role": "worker", "build": "b", "pid": 1}
        say(sock, {**hello, "generation": generation, "req": 1})
        hear(sock)
