"""Exactly-once delivery over connections that come and go.

Both directions are byte streams with offsets. The receiver remembers how many bytes it
has; after a reconnection the sender goes on from there, and whatever arrives twice is cut
off by its offset. Three small machines do all of it:

* :class:`Receiver` — accepts data frames by offset, drops what it already has.
* :class:`Sender` — keeps what is not acknowledged yet, to send it again.
* :func:`resume_from` — where a server has to start, and how much it can no longer give.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

ANEW: Final = 1 << 48
"""Where clients whose position is forgotten go on, and beyond. None comes there by itself, so that one that
does not know of forgotten positions takes it for nonsense, and never sends again what may have been taken."""
_SPAN: Final = 1 << 32
_SPANS: Final = 1 << 20


def anew(number: int) -> int:
    """Where a client goes on that is forgotten: another place for each ``number``, or one that is forgotten a
    second time would not know it from being told of the first time again."""
    return ANEW + number % _SPANS * _SPAN


def is_anew(position: int) -> bool:
    """Whether nothing has come since its client was told to go on there."""
    return position >= ANEW and position % _SPAN == 0


def typed_bytes(position: int) -> int:
    """How much has come of a client, at the least."""
    return position % _SPAN if position >= ANEW else position


class SequenceGap(Exception):
    """Data arrived beyond the next expected byte: something in between was lost."""

    def __init__(self, expected: int, got: int) -> None:
        super().__init__(f"expected byte {expected}, got byte {got}: {got - expected} bytes are missing")
        self.expected = expected
        self.got = got


@dataclass(slots=True)
class Receiver:
    """Receiving end of a byte stream. ``received`` is the offset of the next new byte."""

    received: int = 0

    def accept(self, seq: int, data: bytes) -> bytes:
        """Return the part of ``data`` (first byte at offset ``seq``) that is new.

        Raises:
            SequenceGap: when ``seq`` lies beyond the next expected byte.
        """
        if seq > self.received:
            raise SequenceGap(self.received, seq)
        known = self.received - seq
        if known >= len(data):
            return b""
        self.received = seq + len(data)
        return data[known:] if known else data

    def jump(self, seq: int) -> int:
        """Go on from ``seq``, the offset of a snapshot. Returns how many bytes are skipped.

        Raises:
            SequenceGap: a snapshot of the past.
        """
        if seq < self.received:
            raise SequenceGap(self.received, seq)
        skipped, self.received = seq - self.received, seq
        return skipped


class Sender:
    """Sending end of a byte stream: holds every byte until the receiver has it.

    ``acked`` and ``end`` are offsets; the bytes between them are pending.
    """

    __slots__ = ("_pending", "acked", "limit")

    def __init__(self, limit: int = 1 << 20) -> None:
        """``limit`` is the most bytes that may be pending."""
        self.acked = 0
        self.limit = limit
        self._pending = bytearray()

    @property
    def end(self) -> int:
        """Offset just past the last byte that was pushed."""
        return self.acked + len(self._pending)

    @property
    def room(self) -> int:
        """How many more bytes may be pushed."""
        return self.limit - len(self._pending)

    def push(self, data: bytes) -> int:
        """Add bytes to the stream and return the offset of the first one.

        Raises:
            BufferError: when more than ``limit`` bytes would be pending.
        """
        if len(data) > self.room:
            raise BufferError(
                f"{len(self._pending)} bytes are unacknowledged, {len(data)} more exceed {self.limit}"
            )
        seq = self.end
        self._pending += data
        return seq

    def ack(self, seq: int) -> None:
        """The receiver has everything before ``seq``. Old acknowledgements are harmless.

        Raises:
            SequenceGap: when ``seq`` acknowledges bytes that were never sent.
        """
        if seq > self.end:
            raise SequenceGap(self.end, seq)
        if seq > self.acked:
            del self._pending[: seq - self.acked]
            self.acked = seq

    def restart(self, seq: int) -> int:
        """Begin anew at ``seq``: the receiver no longer knows how far it had come.

        Returns how many pending bytes are dropped: sent again they might arrive twice.
        """
        dropped = len(self._pending)
        self._pending.clear()
        self.acked = seq
        return dropped

    def pending(self) -> tuple[int, bytes]:
        """What has to be sent again: the offset of its first byte, and the bytes."""
        return self.acked, bytes(self._pending)


@dataclass(frozen=True, slots=True)
class Resume:
    """Where a server starts sending: ``start`` is an offset, ``skipped`` a count of lost bytes."""

    start: int
    skipped: int


def resume_from(received: int | None, *, tail: int, head: int) -> Resume:
    """Decide where to resume output for a client.

    ``tail`` and ``head`` are the offsets of the oldest byte held and of the next byte to
    come. ``received`` is what the client has, ``None`` for a client without history: it
    gets everything that is still held.

    Raises:
        SequenceGap: when the client claims bytes that never existed.
    """
    if received is None:
        return Resume(tail, 0)
    if received > head or received < 0:
        raise SequenceGap(head, received)
    if received < tail:
        return Resume(tail, tail - received)
    return Resume(received, 0)
