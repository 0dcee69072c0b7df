"""Packets between the session manager and the keeper of screens. ``key`` names a session."""

from __future__ import annotations

from collections.abc import Callable

from terminals.control.framing import Packet, reader
from terminals.protocol.messages import MAX_SNAPSHOT


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
    """The same, answered by ``Painted``, ``Unpaintable`` or ``Lost``. ``most``: bytes."""

    key: str
    request: int
    most: int = MAX_SNAPSHOT


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


class Unpaintable(Packet):
    """Too much to paint, or out of descriptors; the screen is kept, and may be painted later."""

    key: str
    request: int


class Lost(Packet):
    """Out of descriptors: there is no such screen."""

    key: str
    request: int | None = None


ToKeeper = Follow | Resize | Advance | Snapshot | Forget
FromKeeper = Kept | Painted | Unpaintable | Lost

read_by_keeper: Callable[[bytes], ToKeeper] = reader(ToKeeper)
read_by_manager: Callable[[bytes], FromKeeper] = reader(FromKeeper)
