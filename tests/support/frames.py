"""What a WebSocket client sends, byte by byte, whether a library would send it so or not."""

from __future__ import annotations

import base64
import struct


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True) -> bytes:
    """One masked frame; the mask changes nothing."""
    size = len(payload)
    if size < 126:
        length = bytes([0x80 | size])
    elif size < 1 << 16:
        length = struct.pack("!BH", 0xFE, size)
    else:
        length = struct.pack("!BQ", 0xFF, size)
    return bytes([(0x80 if fin else 0) | opcode]) + length + bytes(4) + payload


def opening(*headers: str) -> bytes:
    """A request for the opening handshake; ``headers`` are those that are not of the protocol itself."""
    lines = [
        "GET / HTTP/1.1",
        *headers,
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {base64.b64encode(bytes(16)).decode()}",
        "Sec-WebSocket-Version: 13",
    ]
    return "\r\n".join([*lines, "", ""]).encode()
