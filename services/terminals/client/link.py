"""One WebSocket connection, blocking, on a plain socket.

``websockets`` is used sans-I/O, so that the client runs unchanged in a thread and in a
gevent greenlet.
"""

from __future__ import annotations

import contextlib
import functools
import socket
import ssl
import struct
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from websockets.client import ClientProtocol
from websockets.exceptions import WebSocketException
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.uri import parse_uri

MAX_SIZE = 1 << 21


class LinkLost(Exception):
    """The connection is gone. ``code`` and ``reason`` are the server's, if it said goodbye."""

    def __init__(self, text: str, code: int | None = None, reason: str = "") -> None:
        super().__init__(text)
        self.code = code
        self.reason = reason


def _trusting(ca: str | None) -> ssl.SSLContext:
    try:
        return _context(ca, Path(ca).stat().st_mtime_ns if ca else 0)
    except OSError as error:
        reason = getattr(error, "reason", None) or error.strerror or error
        raise LinkLost(f"{ca}: no certificates to trust: {reason}") from None


@functools.lru_cache(maxsize=16)
def _context(ca: str | None, changed: int) -> ssl.SSLContext:
    """Made once, until the file changes: reading the system's store takes longer than connecting."""
    return ssl.create_default_context(cafile=ca)


class Link:
    """A connected WebSocket. Every method raises :class:`LinkLost` when the connection is gone."""

    def __init__(
        self, url: str, timeout: float, ca: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        """Connect and do the opening handshake, with these ``headers`` besides, within ``timeout`` seconds.

        The certificate of a ``wss:`` server must be by one of those in the file ``ca``, or, without
        one, by one that the system trusts.

        Raises:
            LinkLost: no address, unreachable, not to be trusted, no WebSocket server, or too slow.
        """
        try:
            uri = parse_uri(url)
        except (WebSocketException, ValueError) as error:
            raise LinkLost(f"{url}: no address of a terminal service: {error}") from None
        end = time.monotonic() + timeout
        context = _trusting(ca) if uri.secure else None
        try:
            self._sock: socket.socket = socket.create_connection((uri.host, uri.port), timeout)
        except (OSError, ValueError, OverflowError) as error:  # a name that is none, a port past the last
            raise LinkLost(f"cannot connect to {uri.host}:{uri.port}: {error}") from None
        try:
            self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if context is not None:
                self._sock = context.wrap_socket(self._sock, server_hostname=uri.host)
        except OSError as error:
            self._sock.close()
            raise LinkLost(f"cannot connect to {uri.host}:{uri.port}: {error}") from None
        self.heard = 0
        """Bytes that have come, pings included: a growing number means that the server lives."""
        self._ws = ClientProtocol(uri, max_size=MAX_SIZE)
        self._fragments: list[bytes] = []
        try:
            self._shake_hands(url, timeout, end, headers or {})
            self._early = list(self._events())
        except LinkLost:
            self.abort()
            raise

    def _shake_hands(self, url: str, timeout: float, end: float, headers: Mapping[str, str]) -> None:
        request = self._ws.connect()
        request.headers.update(headers)
        self._ws.send_request(request)
        self._flush()
        while self._ws.state is State.CONNECTING:
            self._receive(max(0.001, end - time.monotonic()))
            if self._ws.handshake_exc is not None:
                raise LinkLost(f"no terminal service at {url}: {self._ws.handshake_exc}")
            if time.monotonic() > end:
                raise LinkLost(f"no answer from {url} within {timeout:g} s")

    def fileno(self) -> int:
        """Of the socket, for ``select``."""
        return self._sock.fileno()

    def receive(self, timeout: float) -> list[bytes | str]:
        """Messages that came within ``timeout`` seconds: text as ``str``, binary as ``bytes``."""
        if self._early:
            early, self._early = self._early, []
            return early
        self._receive(timeout)
        found = list(self._events())
        if not found and self._ws.state is not State.OPEN:
            raise self._goodbye("closed by the server")
        return found

    def send(self, data: bytes, *, text: bool = False) -> None:
        """Send one message."""
        try:
            if text:
                self._ws.send_text(data)
            else:
                self._ws.send_binary(data)
        except WebSocketException:
            raise self._goodbye("closed by the server") from None
        self._flush()

    def close(self) -> None:
        """Say goodbye and close, waiting a moment for the server to answer."""
        with contextlib.suppress(LinkLost, WebSocketException):
            self._ws.send_close(1000)
            self._flush()
            end = time.monotonic() + 1.0
            while self._ws.state is not State.CLOSED and time.monotonic() < end:
                self._receive(0.1)
                self._ws.events_received()
        self._sock.close()

    def abort(self) -> None:
        """Cut the connection with a reset, without a goodbye: what a lost network looks like."""
        with contextlib.suppress(OSError):
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._sock.close()

    def _receive(self, timeout: float) -> None:
        try:
            self._sock.settimeout(max(timeout, 0.0001))
            data = self._sock.recv(1 << 17)
        except (TimeoutError, ssl.SSLWantReadError):
            return
        except OSError as error:
            raise LinkLost(str(error)) from None
        self.heard += len(data)
        if data:
            self._ws.receive_data(data)
        elif self._ws.state is State.CLOSED:
            raise self._goodbye("closed by the server")
        else:
            self._ws.receive_eof()
        self._flush()

    def _flush(self) -> None:
        for data in self._ws.data_to_send():
            try:
                self._sock.settimeout(10.0)
                if data:
                    self._sock.sendall(data)
                elif not isinstance(self._sock, ssl.SSLSocket):  # that would read on, but no more decrypt
                    self._sock.shutdown(socket.SHUT_WR)
            except OSError as error:
                # A goodbye that has already arrived says more than a broken pipe.
                if self._ws.close_rcvd is None:
                    raise LinkLost(str(error)) from None

    def _events(self) -> Iterator[bytes | str]:
        for event in self._ws.events_received():
            if not isinstance(event, Frame) or event.opcode not in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
                continue
            self._fragments.append(bytes(event.data))
            if event.opcode is not Opcode.CONT:
                self._text = event.opcode is Opcode.TEXT
            if event.fin:
                data, self._fragments = b"".join(self._fragments), []
                try:
                    message = data.decode() if self._text else data
                except UnicodeDecodeError as error:
                    raise LinkLost(f"the server broke the protocol: {error}") from None
                yield message

    def _goodbye(self, text: str) -> LinkLost:
        close = self._ws.close_rcvd
        if close is None:
            return LinkLost(text)
        return LinkLost(f"{text}: {close}", int(close.code), close.reason)
