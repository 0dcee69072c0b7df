"""The Python client: a terminal that stays, over connections that come and go."""

from terminals.client.errors import (
    AttachError,
    ClientError,
    ConnectError,
    SessionLost,
    TakenOver,
    Unauthorized,
)
from terminals.client.files import Transfer, TransferRefused
from terminals.client.terminal import Stats, Terminal
from terminals.protocol.client import Attached, Event

__all__ = [
    "AttachError",
    "Attached",
    "ClientError",
    "ConnectError",
    "Event",
    "SessionLost",
    "Stats",
    "TakenOver",
    "Terminal",
    "Transfer",
    "TransferRefused",
    "Unauthorized",
]
