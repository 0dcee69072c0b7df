"""Giving up what a process that handles the output of shells does not need."""

from __future__ import annotations

import ctypes
import os
from typing import Final

NOBODY: Final = 65534
_PR_SET_NO_NEW_PRIVS: Final = 38


def give_up_rights() -> None:
    """Keep the descriptors that are there, and be nobody where this process is root."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if os.getuid() == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
