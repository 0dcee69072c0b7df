"""Sessions without a session manager around them."""

from __future__ import annotations

from collections.abc import Callable

from terminals.manager.ring import Ring
from terminals.manager.session import Session
from terminals.manager.shell import Shell
from terminals.protocol.breaker import CircuitBreaker


def session_of(
    shell: Shell,
    ring: Ring,
    *,
    hold_seconds: float = 0.01,
    on_output: Callable[[Session], None] = lambda session: None,
) -> Session:
    """A session of this shell, not started; ``on_output`` is told of output as the keeper of screens is."""
    return Session(
        id="session_0000000000000_alone0000",
        profile="system",
        epoch="e",
        origin="g1",
        generation="g1",
        created=0.0,
        ring=ring,
        shell=shell,
        breaker=CircuitBreaker(),
        hold_seconds=hold_seconds,
        on_end=lambda session: None,
        on_output=on_output,
        born=0.0,
    )
