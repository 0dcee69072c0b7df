"""Packets between the session manager and the keeper of screens. ``key`` names a session."""

from __future__ import annotations

from typing import Final

import msgspec

from terminals.control.framing import Packet, unpack


class Follow(Packet):
    """A ring to follow, from an offset of its output on; with a descriptor of it."""

    key: str
    cols: int
    rows: int
    start: int


class Resize(Packet):
    """From output offset ``at`` on the session's terminal has this size."""

    key: str
    at: int
    cols: int
    rows: int


class Advance(Packet):
    """Take what is in the ring; answered by ``Kept`` or ``Lost``."""

    key: str


class Snapshot(Packet):
    """The same, answered by ``Painted`` or ``Lost``."""

    key: str
    request: int


class Forget(Packet):
    """The session is gone."""

    key: str


class Kept(Packet):
    """The screen is as of this offset."""

    key: str
    offset: int


class Painted(Packet):
    """A screen: a memory file of ``length`` bytes; without its descriptor there was none left here."""

    key: str
    request: int
    offset: int
    length: int


class Lost(Packet):
    """Out of descriptors, or it is too large: there is no such screen."""

    key: str
    request: int | None = None


ToKeeper = Follow | Resize | Advance | Snapshot | Forget
FromKeeper = Kept | Painted | Lost
_TO_KEEPER: Final[msgspec.json.Decoder[ToKeeper]] = msgspec.json.Decoder(ToKeeper)
_FROM_KEEPER: Final[msgspec.json.Decoder[FromKeeper]] = msgspec.json.Decoder(FromKeeper)


def read_by_keeper(data: bytes) -> ToKeeper:
    """A packet to the keeper.

    Raises:
        BadPacket: none of these.
    """
    return unpack(_TO_KEEPER, data)


def read_by_manager(data: bytes) -> FromKeeper:
    """A packet to the manager.

    Raises:
        BadPacket: none of these.
    """
    return unpack(_FROM_KEEPER, data)
