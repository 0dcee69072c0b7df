"""Files as channels of a connection, without I/O: what both sides know.

An upload is a channel of its own beside its terminal's. Where it goes on is said by what the file has, so
that each byte is sent until it is written, and written at its own place, over any number of connections. So
is a download, the other way round. Both end with a SHA-256 of the whole.

:mod:`~terminals.protocol.server_transfers` is of a :class:`~terminals.protocol.server.ServerSide`,
:mod:`~terminals.protocol.client_transfers` of a :class:`~terminals.protocol.client.ClientSession`; the page's
twin of the latter is ``transfers.ts``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from terminals.protocol import messages
from terminals.protocol.messages import BadMessage

PIECE: Final = 1 << 16
"""Bytes of a file in one DATA frame; fewer only at its end."""
WINDOW: Final = 1 << 18
"""So many bytes of an upload are sent ahead of what is written, and of a download ahead of what is taken:
what is typed on the same connection waits behind no more."""
MAX_NAME: Final = 4096
MAX_BYTES: Final = 1 << 53
"""Larger numbers a page does not know."""
_TRANSFER: Final = re.compile(r"[A-Za-z0-9_-]{8,64}")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


class TransferError:
    """``code`` of a ``failed`` message."""

    FORBIDDEN: Final = "forbidden"
    """Not on this profile, or not by this client."""
    TOO_LARGE: Final = "too-large"
    TOO_MANY: Final = "too-many"
    NO_ROOM: Final = "no-room"
    NOT_WRITABLE: Final = "not-writable"
    """The folder, as the shell's account sees it."""
    CHECKSUM: Final = "checksum"
    """What arrived is not what was sent; nothing is kept of it."""
    GONE: Final = "gone"
    """Its terminal, its offer, or whoever was to open the file."""
    IO: Final = "io"
    """The disk."""
    CHANGED: Final = "changed"
    """The file is not the one that it was."""


class TransferFailed(Exception):
    """A transfer has come to nothing; ``code`` is of :class:`TransferError`."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True)
class Grant:
    """What may be transferred in a session."""

    upload: bool = False
    download: bool = False
    bytes: int = 0
    """Most of one file."""
    at_once: int = 1
    """Uploads of one user."""


def read_grant(value: object) -> Grant | None:
    """What ``attached.files`` says; ``None`` where it says nothing.

    Raises:
        BadMessage: it makes no sense.
    """
    if value is None:
        return None
    if not isinstance(value, dict):
        raise BadMessage("attached.files must be an object")
    fields = {**value, "type": "attached.files"}
    return Grant(
        fields.get("upload") is True,
        fields.get("download") is True,
        messages.integer(fields, "bytes", 0, MAX_BYTES),
        messages.integer(fields, "at_once", 1, 1000),
    )


def transfer_id(message: dict[str, Any]) -> str:
    """The id of a transfer, which its client has drawn.

    Raises:
        BadMessage: none.
    """
    name = messages.string(message, "transfer", 64)
    if not _TRANSFER.fullmatch(name):
        raise BadMessage(f"{message['type']}.transfer must be 8 to 64 of A-Z a-z 0-9 _ -")
    return name


def channel_of(message: dict[str, Any], field: str = "channel") -> int:
    return messages.integer(message, field, 0, messages.MAX_CHANNEL)


def digest_of(message: dict[str, Any]) -> str:
    digest = messages.string(message, "sha256", 64)
    if not _SHA256.fullmatch(digest):
        raise BadMessage(f"{message['type']}.sha256 must be 64 hexadecimal digits")
    return digest
