"""How near this process is to its limit of open files."""

from __future__ import annotations

import resource
from typing import Final

RESERVE: Final = 64
"""Descriptors that newcomers do not get: those who are there need them to come back and to go on."""
LAST: Final = 32
"""Of these, what is left for work that is under way when operators and handshakes have had their part."""


def scarce(fd: int, reserve: int = RESERVE) -> bool:
    """Whether at most ``reserve`` descriptors are left after ``fd``, the newest.

    Nothing is counted: the kernel gives the lowest number that is free.
    """
    return fd >= resource.getrlimit(resource.RLIMIT_NOFILE)[0] - reserve
