"""Packets between the session manager and the recorder. ``key`` names a recording."""

from __future__ import annotations

from collections.abc import Callable

from terminals.control.framing import Packet, reader
from terminals.recordings.asciicast import Header


class Begin(Packet):
    """A ring to record, with descriptors of the file and of the ring.

    The file is empty, or was recorded into before: then it is gone on with. ``start``: output before it is
    not to be recorded.
    """

    key: str
    header: Header
    since: float
    """Monotonic seconds at which the recording has begun."""
    start: int
    limit: int
    """Bytes that the file may have; 0: no limit."""


class Resize(Packet):
    """From output offset ``at`` on the terminal has this size."""

    key: str
    at: int
    cols: int
    rows: int


class Advance(Packet):
    """Record what is in the ring before offset ``until``; answered by ``Recorded`` or ``Failed``.

    Not all there is: of what was printed since, it is not known here yet in which size.
    """

    key: str
    until: int
    ended: bool = False
    """That is all there will ever be."""


class Forget(Packet):
    """Nothing more is to be recorded."""

    key: str


class Ready(Packet):
    """The recorder is there."""


class Recorded(Packet):
    """Output before ``offset`` is recorded."""

    key: str
    offset: int
    bytes: int
    """Of the file."""
    elapsed: int
    """Microseconds from its beginning to its latest event."""
    ended: bool = False
    """The shell's end is recorded, too."""


class Failed(Packet):
    """It is not, for this reason. ``full``: the file has its limit, and so it stays."""

    key: str
    reason: str
    full: bool = False


ToRecorder = Begin | Resize | Advance | Forget
FromRecorder = Ready | Recorded | Failed

read_by_recorder: Callable[[bytes], ToRecorder] = reader(ToRecorder)
read_by_manager: Callable[[bytes], FromRecorder] = reader(FromRecorder)
