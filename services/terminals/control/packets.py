"""Packets between the session manager and its workers.

A packet that starts with ``{`` is a JSON object. The two packets of the hot path are
binary, native byte order (both ends are on one host):

====== ====================== ===========================================
first  rest                   meaning (worker to manager)
====== ====================== ===========================================
``I``  handle u32, seq u64,   input bytes for the shell, ``seq`` being the
       payload                offset of the first in the client's stream
``A``  handle u32, seq u64    the client has output up to ``seq``
====== ====================== ===========================================

An answer that is larger than a packet comes as several of type ``part``, see :func:`encode_all`.

A handle names one attachment of one client to one session.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import struct
from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

MAX_PACKET: Final = 1 << 17
_PART: Final = MAX_PACKET // 2 - 512
"""Characters of a message's text in one packet: at worst each is written as two."""
_CHUNK: Final = MAX_PACKET // 2 - 512
MAX_FDS: Final = 8
REFUSED: Final = (errno.ETOOMANYREFS, errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
"""What the kernel says when it cannot take this packet; the link is as good as before."""
_HOT: Final = struct.Struct("=cIQ")


class BadPacket(ValueError):
    """A packet that does not follow the control protocol."""


class Hot(NamedTuple):
    """A decoded binary packet. ``kind`` is ``b"I"`` or ``b"A"``."""

    kind: bytes
    handle: int
    seq: int
    payload: bytes

    def __repr__(self) -> str:
        # What people type is nothing for a log.
        return f"<Hot {len(self.payload)} bytes at {self.seq} for {self.handle}>"


def encode_input(handle: int, seq: int, payload: bytes) -> bytes:
    """Input for the shell behind ``handle``."""
    return _HOT.pack(b"I", handle, seq) + payload


def encode_ack(handle: int, seq: int) -> bytes:
    """The client behind ``handle`` has output up to ``seq``."""
    return _HOT.pack(b"A", handle, seq)


def encode(message: dict[str, Any]) -> bytes:
    """A JSON packet.

    Raises:
        BadPacket: larger than one packet may be.
    """
    data = json.dumps(message, separators=(",", ":")).encode()
    if len(data) > MAX_PACKET:
        raise BadPacket(f"a packet of {len(data)} bytes exceeds {MAX_PACKET}")
    return data


def encode_all(message: dict[str, Any]) -> Iterator[bytes]:
    """A JSON message in as many packets as it takes, to be put together by a :class:`Joiner`."""
    text = json.dumps(message, separators=(",", ":"))
    if len(text) <= MAX_PACKET:
        yield text.encode()
        return
    for at in range(0, len(text), _PART):
        part, more = text[at : at + _PART], at + _PART < len(text)
        yield encode({"type": "part", "req": message.get("req", 0), "text": part, "more": more})


class Joiner:
    """Puts messages together that came in several packets."""

    def __init__(self) -> None:
        self._parts: list[str] = []

    def add(self, packet: Hot | dict[str, Any]) -> Hot | dict[str, Any] | None:
        """The next message; ``None`` while more of it is to come.

        Raises:
            BadPacket: what was put together is no message.
        """
        if isinstance(packet, Hot) or packet["type"] != "part":
            return packet
        self._parts.append(str(packet.get("text")))
        if packet.get("more"):
            return None
        text, self._parts = "".join(self._parts), []
        return decode(text.encode())


def chunks(items: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """A list in lists that fit into one packet each, unless an item alone does not."""
    chunk: list[dict[str, Any]] = []
    size = 0
    for item in items:
        length = len(json.dumps(item)) + 2
        if chunk and size + length > _CHUNK:
            yield chunk
            chunk, size = [], 0
        chunk.append(item)
        size += length
    if chunk:
        yield chunk


def decode(data: bytes) -> Hot | dict[str, Any]:
    """Read a packet.

    Raises:
        BadPacket: neither a known binary packet nor a JSON object.
    """
    if data[:1] == b"{":
        try:
            message = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise BadPacket(f"not JSON: {error}") from None
        if not isinstance(message.get("type"), str):
            raise BadPacket("a JSON packet needs a string 'type'")
        return dict(message)
    if data[:1] in (b"I", b"A") and len(data) >= _HOT.size:
        kind, handle, seq = _HOT.unpack_from(data)
        return Hot(kind, handle, seq, data[_HOT.size :])
    raise BadPacket(f"unknown packet of {len(data)} bytes starting {data[:8]!r}")


def send(sock: socket.socket, data: bytes, fds: tuple[int, ...] = ()) -> None:
    """Send one packet with its file descriptors; the kernel duplicates them for the receiver.

    Raises:
        BlockingIOError: the receiver's queue is full.
        OSError: the receiver is gone, or the kernel takes no more descriptors (:data:`REFUSED`).
    """
    if fds:
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack(f"{len(fds)}i", *fds))
        sock.sendmsg([data], [rights], socket.MSG_NOSIGNAL)
    else:
        sock.send(data, socket.MSG_NOSIGNAL)


def receive(sock: socket.socket) -> tuple[bytes, list[int]]:
    """Receive one packet; ``b""`` means that the peer has closed.

    Raises:
        BlockingIOError: nothing to receive on a non-blocking socket.
        BadPacket: larger than a packet may be; its file descriptors are closed.

    A packet may come with fewer descriptors than it was sent with: the kernel drops those for which this
    process has no number left (MSG_CTRUNC). That is the affair of this packet, and not the link's end.
    """
    space = socket.CMSG_SPACE(MAX_FDS * struct.calcsize("i"))
    data, ancillary, flags, _ = sock.recvmsg(MAX_PACKET + 1, space, socket.MSG_CMSG_CLOEXEC)
    fds: list[int] = []
    for level, kind, content in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            usable = len(content) - len(content) % struct.calcsize("i")
            fds.extend(fd for (fd,) in struct.iter_unpack("i", content[:usable]))
    if flags & socket.MSG_TRUNC or len(data) > MAX_PACKET:
        for fd in fds:
            os.close(fd)
        raise BadPacket("oversized packet")
    return data, fds
