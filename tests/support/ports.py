"""Ports that are free right now, from a range that no other process of a test run has."""

from __future__ import annotations

import fcntl
import itertools
import os
import socket
import tempfile
from functools import cache
from pathlib import Path
from typing import IO

FIRST, SIZE, RANGES = 20000, 600, 20
"""Below the range that the kernel takes for outgoing connections (from 32768)."""


@cache
def _range() -> tuple[itertools.cycle[int], IO[bytes]]:
    """The ports of this process, with the lock that makes them its own until it ends."""
    for number in range(RANGES):
        path = Path(tempfile.gettempdir(), f"rollout-tests-{os.getuid()}-ports-{number}")
        lock = path.open("wb")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            continue
        first = FIRST + number * SIZE
        return itertools.cycle(range(first, first + SIZE)), lock
    raise AssertionError(f"{RANGES} test processes have all ranges of ports")


def free_ports(count: int) -> list[int]:
    """Different free ports of loopback; those given before come again only when all others have been."""
    ports, _ = _range()
    found: list[int] = []
    for port in itertools.islice(ports, SIZE):
        with socket.socket() as sock:
            # As servers bind: what only waits for the last packets of an old connection is free.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                sock.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
        if len(found) == count:
            return found
    raise AssertionError("no free ports")
