"""Addresses that a server may send a client on to: of what can be one, the part that every client takes."""

from __future__ import annotations

import re

_ADDRESS = re.compile(
    r"wss?://([A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63}){0,15}|\[[0-9A-Fa-f:.]{2,45}\])"
    r"(:([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]))?"
    r"([/?][!\"$-~]{0,1900})?"
)


def is_address(url: str) -> bool:
    """Whether it is one: ``ws:`` or ``wss:``, a host, a port, path and query if any; no user, no ``#``."""
    return _ADDRESS.fullmatch(url) is not None
