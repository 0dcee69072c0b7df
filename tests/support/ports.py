"""Ports that are free right now."""

from __future__ import annotations

import random
import socket
from contextlib import ExitStack


def free_ports(count: int) -> list[int]:
    """Different free ports of loopback, below the range that outgoing connections use."""
    with ExitStack() as stack:
        found: list[int] = []
        # From a random place on: another run of the tests may be looking at the same moment.
        first = random.randrange(21000, 31000)
        for port in range(first, first + 1000):
            sock = stack.enter_context(socket.socket())
            try:
                sock.bind(("127.0.0.1", port))
            except OSError:
                continue
            found.append(port)
            if len(found) == count:
                return found
    raise AssertionError("no free ports")
