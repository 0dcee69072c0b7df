"""Fixtures: few and real."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.support.stack import Stack

# How fast examples are made and run is the machine's affair: it has other things to do beside.
settings.register_profile("loaded", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("loaded")


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
