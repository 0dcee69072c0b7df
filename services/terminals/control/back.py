"""Leading everybody back to a generation: one piece of code for a monitor, a rollout, and whoever breaks the
glass."""

from __future__ import annotations

import time
from typing import Final

from terminals.control import packets
from terminals.control.answers import LedBack, Moved
from terminals.control.asking import ask, tell

BATCH: Final = 20
INTERVAL: Final = 0.1
"""Quicker than where nobody is in need, and still no storm: 200 sessions a second."""
DEADLINE: Final = 30.0


def lead_back(path: str, generation: str, fence: int | None) -> LedBack:
    """Have the session manager at ``path`` give ``generation`` all new connections at once, and all live
    sessions as quickly as they can come.

    Raises:
        ControlError: it refused, or is not there; see :func:`terminals.control.asking.exchange`.
    """
    began = time.monotonic()
    tell(path, packets.CancelRetire(generation=generation, fence=fence))
    tell(path, packets.Weights(weights={generation: 100}, fence=fence))
    turned = time.monotonic() - began
    order = packets.Move(
        to=generation, share=100, batch=BATCH, interval=INTERVAL, deadline=DEADLINE, fence=fence
    )
    moved = ask(path, order, Moved, timeout=DEADLINE + 10)
    return LedBack(moved=moved, turned=turned, seconds=time.monotonic() - began)
