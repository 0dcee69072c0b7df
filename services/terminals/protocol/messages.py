"""Frames of the WebSocket protocol.

Text frames carry one JSON object with a ``type``. Binary frames carry terminal bytes:

====== ======= =====================================================
bytes  field   meaning
====== ======= =====================================================
0      type    1 = DATA, 2 = ACK, 3 = SNAPSHOT (since version 2)
1-4    channel unsigned, big endian; which terminal of the connection
5-12   seq     DATA: offset of the first payload byte in its direction
               ACK: count of bytes received so far
               SNAPSHOT: the output offset at which the screen looked so
13-    payload DATA: the bytes; SNAPSHOT: escape sequences that paint it
====== ======= =====================================================
"""

from __future__ import annotations

import base64
import json
import re
import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final, NamedTuple

from terminals.protocol import PROTOCOL_VERSIONS

HEADER: Final = struct.Struct("!BIQ")
MAX_MESSAGE: Final = 1 << 17
"""Largest message a server accepts, in bytes. Larger input is sent in several frames."""
MAX_SNAPSHOT: Final = 3 << 19
"""Most bytes of a screen: a client that stops reading costs its worker no more than it would otherwise."""
MAX_LAST_SCREEN: Final = 1 << 16
"""Most bytes of the last screen of a session whose host is lost."""
MAX_INPUT: Final = 1 << 14
"""Most input bytes a client puts into one DATA frame."""
MAX_CHANNEL: Final = 255
MAX_OFFSET: Final = 1 << 62
"""Largest offset of a stream."""
MAX_SIDE: Final = 1000
"""Most columns, and most rows, of a terminal."""

MAX_RETRY_WINDOW: Final = 60.0
_RETRY_AFTER: Final = re.compile(r"retry-after=([0-9]{1,7}(?:\.[0-9]{1,6})?)")


class FrameType(IntEnum):
    """First byte of a binary frame."""

    DATA = 1
    ACK = 2
    SNAPSHOT = 3


class CloseCode(IntEnum):
    """Close codes a server uses: of RFC 6455, of its registry, and our own."""

    NORMAL = 1000
    NOT_UTF_8 = 1007
    POLICY_VIOLATION = 1008
    SERVICE_RESTART = 1012
    TRY_AGAIN_LATER = 1013
    UNAUTHORIZED = 4401
    TAKEN_OVER = 4409
    BREAKER_OPEN = 4429


class ErrorCode:
    """``code`` of an ``error`` message."""

    UNAUTHORIZED: Final = "unauthorized"
    BAD_MESSAGE: Final = "bad-message"
    BAD_SESSION_ID: Final = "bad-session-id"
    UNKNOWN_SESSION: Final = "unknown-session"
    TOO_MANY_SESSIONS: Final = "too-many-sessions"
    BREAKER_OPEN: Final = "breaker-open"
    TAKEN_OVER: Final = "taken-over"
    UNAVAILABLE: Final = "unavailable"
    HOST_LOST: Final = "host-lost"
    """The host of the session has not been heard of for long; ``since`` says since when. It may be back."""
    REFUSED: Final = "refused"
    """What a close code says that tells to stay away, and that is not known."""


class BadMessage(ValueError):
    """A frame that does not follow the protocol. The text says which rule it breaks.

    The connection ends with ``close_code``.
    """

    def __init__(self, text: str, close_code: int = CloseCode.POLICY_VIOLATION) -> None:
        super().__init__(text)
        self.close_code = close_code


class Binary(NamedTuple):
    """A decoded binary frame. ``payload`` is empty for an ACK."""

    type: FrameType
    channel: int
    seq: int
    payload: bytes

    def __repr__(self) -> str:
        # What people type and what shells print is nothing for a log.
        return f"<Binary {self.type!r}, {len(self.payload)} bytes at {self.seq} on channel {self.channel}>"


@dataclass(frozen=True, slots=True)
class LastScreen:
    """How a terminal of so many columns and rows looked ``at``, in Unix seconds: what is left of a session
    whose host is lost. ``paint``: escape sequences."""

    at: float
    cols: int
    rows: int
    paint: bytes

    def __repr__(self) -> str:
        return f"<LastScreen, {len(self.paint)} bytes, of {self.at}>"

    def fields(self) -> dict[str, Any]:
        """As it is in a text frame."""
        paint = base64.b64encode(self.paint).decode()
        return {"at": self.at, "cols": self.cols, "rows": self.rows, "paint": paint}


@dataclass(frozen=True, slots=True)
class Send:
    """What either side wants sent: one message: a ``str`` as text, ``bytes`` as binary."""

    data: str | bytes

    def __repr__(self) -> str:
        return f"<Send {len(self.data)} {'characters' if isinstance(self.data, str) else 'bytes'}>"


def encode_data(channel: int, seq: int, payload: bytes | memoryview) -> bytes:
    """A DATA frame."""
    return HEADER.pack(FrameType.DATA, channel, seq) + payload


def encode_ack(channel: int, seq: int) -> bytes:
    """An ACK frame."""
    return HEADER.pack(FrameType.ACK, channel, seq)


def encode_snapshot(channel: int, seq: int, payload: bytes) -> bytes:
    """A SNAPSHOT frame."""
    return HEADER.pack(FrameType.SNAPSHOT, channel, seq) + payload


def decode_binary(data: bytes) -> Binary:
    """Read a binary frame.

    Raises:
        BadMessage: too short, unknown type, channel out of range, or an ACK with a payload.
    """
    if len(data) < HEADER.size:
        raise BadMessage(f"a binary frame has at least {HEADER.size} bytes, not {len(data)}")
    kind, channel, seq = HEADER.unpack_from(data)
    if kind not in (FrameType.DATA, FrameType.ACK, FrameType.SNAPSHOT):
        raise BadMessage(f"unknown binary frame type {kind}")
    if channel > MAX_CHANNEL:
        raise BadMessage(f"channel {channel} is above {MAX_CHANNEL}")
    if seq > MAX_OFFSET:
        raise BadMessage("sequence number out of range")
    if kind == FrameType.ACK and len(data) != HEADER.size:
        raise BadMessage("an ACK has no payload")
    return Binary(FrameType(kind), channel, seq, data[HEADER.size :])


def negotiate(offered: object) -> int:
    """The version to speak with a client that offers these: the best that both know.

    Raises:
        BadMessage: no list, or none in common.
    """
    if not isinstance(offered, list):
        raise BadMessage("hello.versions must be a list")
    for version in PROTOCOL_VERSIONS:
        if any(type(entry) is int and entry == version for entry in offered):
            return version
    known = ", ".join(str(version) for version in PROTOCOL_VERSIONS)
    raise BadMessage(f"hello.versions has none that this server speaks ({known})")


def retry_window(reason: str) -> float | None:
    """Seconds within which a server that closes with *service restart* wants its clients back.

    ``None`` when the reason does not say; a minute at the most.
    """
    match = _RETRY_AFTER.search(reason)
    return min(float(match[1]), MAX_RETRY_WINDOW) if match else None


def encode_text(kind: str, /, **fields: Any) -> bytes:
    """A text frame (UTF-8 JSON)."""
    return json.dumps({"type": kind, **fields}, separators=(",", ":")).encode()


def decode_text(data: bytes) -> dict[str, Any]:
    """Read a text frame.

    Raises:
        BadMessage: not JSON, not an object, or without a string ``type``.
    """
    try:
        message = json.loads(data.decode(), parse_constant=_no_constant)
    except UnicodeDecodeError as error:
        raise BadMessage(f"not UTF-8: {error}", CloseCode.NOT_UTF_8) from None
    except (ValueError, RecursionError) as error:
        raise BadMessage(f"not JSON: {error}") from None
    if not isinstance(message, dict) or not isinstance(message.get("type"), str):
        raise BadMessage("a text frame is a JSON object with a string 'type'")
    return message


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def is_unicode(text: str) -> bool:
    """Whether it is text: JSON can spell half of a surrogate pair, which is none."""
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


def integer(message: dict[str, Any], field: str, low: int, high: int, default: int | None = None) -> int:
    """A whole number of a text frame, within ``low``..``high``.

    Raises:
        BadMessage: missing (without a default), of another type, or out of range.
    """
    value = message.get(field, default)
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise BadMessage(f"{message['type']}.{field} must be a whole number from {low} to {high}")
    return value


def number(message: dict[str, Any], field: str) -> float | None:
    """A number of a text frame, if it has one there.

    Raises:
        BadMessage: of another type, or none that JSON knows.
    """
    value = message.get(field)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e308:
        raise BadMessage(f"{message['type']}.{field} must be a number")
    return value


def string(message: dict[str, Any], field: str, limit: int = 256) -> str:
    """A text of a text frame, of at most ``limit`` characters.

    Raises:
        BadMessage: missing, of another type, too long, or no text.
    """
    value = message.get(field)
    if not isinstance(value, str) or len(value) > limit or not is_unicode(value):
        raise BadMessage(f"{message['type']}.{field} must be a string of at most {limit} characters")
    return value


def last_screen(message: dict[str, Any]) -> LastScreen | None:
    """The ``screen`` of a text frame, if it has one.

    Raises:
        BadMessage: it makes no sense.
    """
    value = message.get("screen")
    if value is None:
        return None
    where = f"{message['type']}.screen"
    if not isinstance(value, dict):
        raise BadMessage(f"{where} must be an object")
    fields = {**value, "type": where}
    at, text = number(fields, "at"), string(fields, "paint", MAX_LAST_SCREEN * 4 // 3 + 4)
    if at is None:
        raise BadMessage(f"{where}.at must be a number")
    try:
        paint = base64.b64decode(text, validate=True)
    except ValueError:
        raise BadMessage(f"{where}.paint must be base64") from None
    return LastScreen(at, integer(fields, "cols", 1, MAX_SIDE), integer(fields, "rows", 1, MAX_SIDE), paint)
