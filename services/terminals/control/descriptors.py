"""Descriptors: how near this process is to its limit of them, and files that are one and nothing else."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterable
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


def close_all(fds: Iterable[int]) -> None:
    """Close descriptors that nobody wants."""
    for fd in fds:
        os.close(fd)


def memory_file(name: str, data: bytes) -> int:
    """The descriptor of a file in memory, ``name`` for who looks, that has ``data``: what is too much for a
    packet. It is the caller's.

    Raises:
        OSError: there are no descriptors, or there is no memory.
    """
    fd = os.memfd_create(name, os.MFD_CLOEXEC)
    try:
        with open(fd, "wb", closefd=False) as file:
            file.write(data)
    except OSError:
        os.close(fd)
        raise
    return fd
