"""A move is over when somebody decides otherwise, or when nobody waits for it any more."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from terminals.control.asking import ControlError
from terminals.protocol.client import Lost

from tests.support.stack import TERMINALS, Stack, until

SLOW = {"batch": 1, "interval": 0.2, "deadline": 60}
USERS = 6


class Led:
    """Somebody who is there, comes back when asked to, and counts how the connections ended."""

    def __init__(self, stack: Stack) -> None:
        self.unplanned = self.planned = 0
        self.terminal = stack.terminal(on_event=self._heard)
        self.terminal.open(timeout=60)

    def _heard(self, event: Any) -> None:
        if isinstance(event, Lost):
            self.planned += event.planned
            self.unplanned += not event.planned


class Crowd:
    """Several of these, kept alive in one thread."""

    def __init__(self, stack: Stack) -> None:
        self.people = [Led(stack) for _ in range(USERS)]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._live)
        self._thread.start()

    def _live(self) -> None:
        while not self._stop.is_set():
            for person in self.people:
                person.terminal.pump(0.01)

    def lost(self) -> tuple[int, int]:
        """Planned and unplanned ends so far."""
        return sum(person.planned for person in self.people), sum(person.unplanned for person in self.people)

    def leave(self) -> None:
        self._stop.set()
        self._thread.join()
        for person in self.people:
            person.terminal.close(kill=True)


@pytest.fixture
def stack() -> Iterator[Stack]:
    stack = Stack(stable_seconds=0)
    try:
        for name in ("g1", "g2"):
            stack.start_generation(name)
        stack.admin("weights", weights={"g1": 100}, fence=1)
        yield stack
    finally:
        stack.close()


@pytest.fixture
def crowd(stack) -> Iterator[Crowd]:
    """All on g1, and new connections go to g2."""
    crowd = Crowd(stack)
    stack.admin("weights", weights={"g2": 100}, fence=1)
    yield crowd
    crowd.leave()


def in_a_thread(stack: Stack, **fields: Any) -> tuple[threading.Thread, list[Any]]:
    """Order a move from elsewhere; what came of it is in the list then."""
    results: list[Any] = []

    def order() -> None:
        try:
            results.append(stack.admin("move", share=100, **fields))
        except ControlError as error:
            results.append(error)

    thread = threading.Thread(target=order)
    thread.start()
    return thread, results


@pytest.mark.parametrize("fence", [1, 2])
def test_who_leads_everybody_back_ends_the_move_that_goes_on(stack, crowd, fence):
    old, results = in_a_thread(stack, to="g2", fence=1, **SLOW)
    until(lambda: stack.generation("g2")["assigned"] >= 2, "the move having begun")
    stack.admin("weights", weights={"g1": 100}, fence=fence)
    old.join(30)
    assert "another command" in str(results[0])
    back = stack.admin("move", to="g1", share=100, batch=50, interval=0.05, deadline=60, fence=fence)
    assert (back["severed"], back["remaining"]) == (0, 0)
    until(lambda: stack.generation("g1")["attached"] == USERS, "everybody being back")
    assert crowd.lost()[1] == 0


def test_a_later_move_ends_the_earlier_one(stack, crowd):
    old, results = in_a_thread(stack, to="g2", fence=1, **SLOW)
    until(lambda: stack.generation("g2")["assigned"] >= 1, "the move having begun")
    stack.admin("move", to="g2", share=100, batch=50, interval=0.05, deadline=60, fence=1)
    old.join(30)
    assert "another command" in str(results[0])
    assert crowd.lost()[1] == 0


def test_a_stale_or_a_wrong_command_ends_nothing(stack, crowd):
    old, results = in_a_thread(stack, to="g2", fence=1, **SLOW)
    until(lambda: stack.generation("g2")["assigned"] >= 1, "the move having begun")
    with pytest.raises(ControlError, match="stale fence"):
        stack.admin("weights", weights={"g1": 100}, fence=0)
    with pytest.raises(ControlError, match="unknown generation"):
        stack.admin("move", to="g9", share=100, fence=1, **SLOW)
    with pytest.raises(ControlError, match="unknown generation"):
        stack.admin("weights", weights={"g9": 100}, fence=1)
    old.join(60)
    assert results[0]["moved"] == USERS


def test_a_move_ends_with_whoever_ordered_it(stack, crowd):
    command = [*TERMINALS, "ctl", "--socket", stack.socket, "move", "--to", "g2", "--batch", "1"]
    sender = subprocess.Popen([*command, "--interval", "1", "--deadline", "60"])
    until(lambda: stack.generation("g2")["assigned"] >= 1, "the move having begun")
    sender.kill()
    sender.wait(10)
    until(lambda: "a move to g2 has ended" in stack.log("manager"), "the end of the move")
    assert stack.generation("g2")["assigned"] < USERS
