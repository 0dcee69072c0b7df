"""Packets on a unix socket of type SEQPACKET: JSON objects with a ``type``, and descriptors beside them.

What each may be is said by the classes of whoever speaks over the socket: :mod:`terminals.control.packets`,
:mod:`terminals.screens.packets`, :mod:`terminals.manager.handshakes` and :mod:`terminals.manager.holding`.
"""

from __future__ import annotations

import errno
import json
import os
import re
import socket
import struct
from collections.abc import Callable, Iterator
from types import UnionType
from typing import Any, Final, TypeVar, dataclass_transform

import msgspec

MAX_PACKET: Final = 1 << 17
_PART: Final = MAX_PACKET // 4 - 512
"""Characters of a message's text in one packet: at worst each is written as four bytes."""
MAX_FDS: Final = 8
_SPACE: Final = socket.CMSG_SPACE(MAX_FDS * struct.calcsize("i"))
# As plain numbers: the flags of the socket module are looked up and combined in Python, for each packet.
_CLOEXEC: Final = int(socket.MSG_CMSG_CLOEXEC)
_NOSIGNAL: Final = int(socket.MSG_NOSIGNAL)
_TRUNCATED: Final = int(socket.MSG_TRUNC)
REFUSED: Final = (errno.ETOOMANYREFS, errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
"""What the kernel says when it cannot take this packet; the link is as good as before."""

T = TypeVar("T")


class BadPacket(ValueError):
    """A packet that does not follow the protocol of its socket."""


def _kebab(name: str) -> str:
    return re.sub(r"(?<=.)([A-Z])", r"-\1", name.removeprefix("_")).lower()


class _RecordMeta(msgspec.StructMeta):
    """msgspec hands ``frozen`` down to subclasses, but not ``kw_only``."""

    def __new__(
        mcls, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **config: Any
    ) -> _RecordMeta:
        return super().__new__(mcls, name, bases, namespace, **{"kw_only": True, **config})


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(msgspec.field,))
class Record(msgspec.Struct, metaclass=_RecordMeta, frozen=True):
    """Fields by name, checked when they are read from JSON. Fields that a reader does not know are passed
    over, and those that a writer of an earlier build does not know have defaults."""


class Packet(Record, tag_field="type", tag=_kebab, omit_defaults=True):
    """What is sent. Its ``type`` is the name of its class, as in ``taken-over``, unless that says another.
    Processes of different builds speak over one socket."""


class _Part(Packet, tag="part"):
    """A message that is larger than a packet, in several."""

    text: str
    more: bool


def encode(packet: Packet) -> bytes:
    """One packet.

    Raises:
        BadPacket: larger than a packet may be, or with text that is none.
    """
    data = pack(packet)
    if len(data) > MAX_PACKET:
        raise BadPacket(f"a packet of {len(data)} bytes exceeds {MAX_PACKET}")
    return data


def pack(value: object) -> bytes:
    """A class of fields as a JSON object.

    Raises:
        BadPacket: with text that is none: half a surrogate pair.
    """
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError as error:
        raise BadPacket(f"not Unicode: {error}") from None


def reader(kind: type[T] | UnionType) -> Callable[[bytes], T]:
    """A function that reads a class of fields, or one of several, from JSON. It raises ``BadPacket`` where it
    is none of them."""
    decoder: msgspec.json.Decoder[T] = msgspec.json.Decoder(kind)
    return lambda data: _unpack(decoder, data)


def _unpack(decoder: msgspec.json.Decoder[T], data: bytes) -> T:
    try:
        return decoder.decode(data)
    except msgspec.ValidationError as error:
        raise BadPacket(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return _unpack_as_it_was_written(decoder, data, str(error))


def _unpack_as_it_was_written(decoder: msgspec.json.Decoder[T], data: bytes, error: str) -> T:
    """Processes of an earlier build write what JSON can spell and is none: half a surrogate pair, NaN. What
    one client has said so must not end the link for all others."""
    try:
        plain = json.dumps(json.loads(data, parse_constant=lambda name: None), ensure_ascii=False)
        return decoder.decode(plain.encode(errors="replace"))
    except (ValueError, RecursionError) as second:
        text = str(second) if isinstance(second, msgspec.ValidationError) else error
        raise BadPacket(text) from None


def parts(message: bytes) -> Iterator[bytes]:
    """An encoded message in as many packets as it takes, to be put together by a :class:`Joiner`."""
    if len(message) <= MAX_PACKET:
        yield message
        return
    text = message.decode()
    for at in range(0, len(text), _PART):
        yield encode(_Part(text=text[at : at + _PART], more=at + _PART < len(text)))


_read_part = reader(_Part)


class Joiner:
    """Puts messages together that came in several packets."""

    def __init__(self) -> None:
        self._texts: list[str] = []

    def add(self, packet: bytes) -> bytes | None:
        """The next message; ``None`` while more of it is to come."""
        try:
            part = _read_part(packet)
        except BadPacket:
            return packet
        self._texts.append(part.text)
        if part.more:
            return None
        text, self._texts = "".join(self._texts), []
        return text.encode()


def send(sock: socket.socket, data: bytes, fds: tuple[int, ...] = ()) -> None:
    """Send one packet with its file descriptors; the kernel duplicates them for the receiver.

    Raises:
        BlockingIOError: the receiver's queue is full.
        OSError: the receiver is gone, or the kernel takes no more descriptors (:data:`REFUSED`).
    """
    if fds:
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack(f"{len(fds)}i", *fds))
        sock.sendmsg([data], [rights], _NOSIGNAL)
    else:
        sock.send(data, _NOSIGNAL)


def receive(sock: socket.socket) -> tuple[bytes, list[int]]:
    """Receive one packet; ``b""`` means that the peer has closed.

    Raises:
        BlockingIOError: nothing to receive on a non-blocking socket.
        BadPacket: larger than a packet may be; its file descriptors are closed.

    A packet may come with fewer descriptors than it was sent with: the kernel drops those for which this
    process has no number left (MSG_CTRUNC). That is the affair of this packet, and not the link's end.
    """
    data, ancillary, flags, _ = sock.recvmsg(MAX_PACKET + 1, _SPACE, _CLOEXEC)
    fds: list[int] = []
    for level, kind, content in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            usable = len(content) - len(content) % struct.calcsize("i")
            fds.extend(fd for (fd,) in struct.iter_unpack("i", content[:usable]))
    if flags & _TRUNCATED or len(data) > MAX_PACKET:
        for fd in fds:
            os.close(fd)
        raise BadPacket("oversized packet")
    return data, fds
