"""Fixtures: few and real."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.support.stack import Stack

# Started in the background by a shell without jobs, this process ignores Ctrl-C, and so would all that it
# starts, of which tests want to see what Ctrl-C does.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# How fast examples are made and run is the machine's affair: it has other things to do beside.
settings.register_profile("loaded", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("loaded")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Those with hosts, engines and images of their own take minutes, and more where others work, too."""
    for item in items:
        if item.get_closest_marker("docker") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(2400))


@pytest.fixture
def stack() -> Iterator[Stack]:
    """A session manager with one generation, g1, at full weight."""
    yield from _running(Stack())


@pytest.fixture
def calm_stack() -> Iterator[Stack]:
    """A stack that never takes a quick series of cuts for a reconnection loop."""
    yield from _running(Stack(stable_seconds=0))


def _running(stack: Stack) -> Iterator[Stack]:
    try:
        stack.start_generation("g1", weight=100)
        yield stack
    finally:
        stack.close()
