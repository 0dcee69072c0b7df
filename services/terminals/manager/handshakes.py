"""Packets between the session manager and the TLS terminator. ``id`` names a handshake."""

from __future__ import annotations

from typing import Final

import msgspec

from terminals.control.framing import Packet, unpack


class Conn(Packet):
    """With two descriptors: the accepted connection, and an end of the unix socket whose other end the
    manager keeps."""

    id: int
    address: str


class Drop(Packet):
    """Give this handshake up."""

    id: int


class Reload(Packet):
    """Read certificate and key again."""


class Ready(Packet):
    """The handshake is done: pass the other end on."""

    id: int


class Failed(Packet):
    """It is not, and both connections are closed."""

    id: int


ToTerminator = Conn | Drop | Reload
FromTerminator = Ready | Failed
_TO_TERMINATOR: Final[msgspec.json.Decoder[ToTerminator]] = msgspec.json.Decoder(ToTerminator)
_FROM_TERMINATOR: Final[msgspec.json.Decoder[FromTerminator]] = msgspec.json.Decoder(FromTerminator)


def read_by_terminator(data: bytes) -> ToTerminator:
    """A packet to the terminator.

    Raises:
        BadPacket: none of these.
    """
    return unpack(_TO_TERMINATOR, data)


def read_by_manager(data: bytes) -> FromTerminator:
    """A packet to the manager.

    Raises:
        BadPacket: none of these.
    """
    return unpack(_FROM_TERMINATOR, data)
