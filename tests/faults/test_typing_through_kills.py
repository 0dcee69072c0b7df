"""A worker is killed again and again while somebody types: no keystroke and no byte is lost."""

from __future__ import annotations

import signal

import pytest
from terminals.protocol.backoff import Backoff
from terminals.protocol.breaker import CircuitBreaker

from tests.support.stack import Stack, until


@pytest.fixture
def stack():
    # The kills come faster than an attach counts as stable: without these settings both
    # sides' breakers would, rightly, see a reconnection loop and make the test slow.
    profile = {"command": ["sh", "-c", "stty -echo -icanon min 1; echo ready; exec cat"]}
    stack = Stack(
        profiles={"system": profile, "claude": profile}, stable_seconds=0.001, breaker_threshold=1000
    )
    stack.start("worker", "g1", name="first")
    stack.start("worker", "g1", name="second")
    until(lambda: stack.generation("g1").get("workers") == 2, "two workers")
    stack.admin("weights", weights={"g1": 100})
    yield stack
    stack.close()


@pytest.mark.parametrize(
    "kills", [20, pytest.param(100, marks=pytest.mark.slow("a hundred kills, each with a new worker"))]
)
def test_kills_while_typing(stack, kills):
    terminal = stack.terminal(
        backoff=Backoff(base=0.002, cap=0.02), breaker=CircuitBreaker(threshold=10**6), stable_after=0.001
    )
    terminal.open()
    terminal.expect(rb"ready\r\n")
    typed, seen = bytearray(), bytearray()
    losses = 0
    for kill in range(kills):
        # Keys are on their way in both directions when the worker dies.
        for number in range(10):
            key = f"{kill:02x}{number}".encode()
            typed += key
            terminal.send(key)
            if number % 3 == 0:
                seen += terminal.read(0.001)
        name = ("first", "second")[kill % 2]
        stack.kill(name, signal.SIGKILL)
        stack.start("worker", "g1", name=name)
        seen += terminal.read(0.001)
        losses = max(losses, terminal.stats.losses)
    until(lambda: seen.extend(terminal.read(0.1)) or len(seen) >= len(typed), "every key")
    assert seen == typed
    assert terminal.stats.skipped == 0
    # The client was on the worker that was killed about every second time; a test in which
    # it never was would show nothing.
    assert losses >= kills // 4
    terminal.close(kill=True)
