"""Ports that are free right now."""

from __future__ import annotations

import socket
from contextlib import ExitStack


def free_ports(count: int) -> list[int]:
    """Different free ports of loopback, below the range that outgoing connections use."""
    with ExitStack() as stack:
        found: list[int] = []
        for port in range(21000, 32000):
            sock = stack.enter_context(socket.socket())
            try:
                sock.bind(("127.0.0.1", port))
            except OSError:
                continue
            found.append(port)
            if len(found) == count:
                return found
    raise AssertionError("no free ports")
