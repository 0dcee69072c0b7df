"""Packets between the session manager and the TLS terminator. ``id`` names a handshake."""

from __future__ import annotations

from collections.abc import Callable

from terminals.control.framing import Packet, reader


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

read_by_terminator: Callable[[bytes], ToTerminator] = reader(ToTerminator)
read_by_manager: Callable[[bytes], FromTerminator] = reader(FromTerminator)
