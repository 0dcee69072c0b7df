"""Ends TLS for the session manager: a process of its own beside it.

A worker may pass a connection on to another generation in mid-stream, as a file descriptor.
That cannot be done with a TLS stream, whose keys are in one process's memory. So TLS ends
here, in a process that no release replaces, and what workers get, and pass on, is one end
of a unix socket that carries the plain bytes.
What is said between the two is in :mod:`terminals.manager.handshakes`.
"""

from __future__ import annotations

import asyncio
import logging
import resource
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import cast

from terminals.background import Background
from terminals.control.channel import Channel
from terminals.logs import log_to_stderr
from terminals.manager import handshakes
from terminals.manager.certificate import CertificateError, TlsFiles

log = logging.getLogger("terminals.tls")

HANDSHAKE_SECONDS = 10.0
"""A client that has not finished its handshake by then is dropped."""
HIGH_WATER = 1 << 18
"""Bytes that may wait in one direction of a connection; then its source is not read any more."""
LEAVE_SECONDS = 5.0
"""Time for what was written before the end to get through; also for everything when the manager ends."""
WATCH_SECONDS = 1.0
SAY_SECONDS = 1.0
"""At most so often a failed handshake is logged."""
SPARE_FILES = 64


class _End(asyncio.Protocol):
    """One of the two connections of a tunnel. What comes in goes out at the other end.

    A closed side closes both: TLS of the standard library knows no half-closed connection.
    What was read before is written first.
    """

    def __init__(self, open_ends: set[_End], opened: Callable[[], None] = lambda: None) -> None:
        self._open_ends = open_ends
        self._opened = opened
        self._transport: asyncio.Transport | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self.other: _End

    @property
    def served(self) -> bool:
        """Whether it ever was connected, its handshake included."""
        return self._transport is not None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected; of TLS, the handshake is done."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=HIGH_WATER)
        self._open_ends.add(self)
        self._opened()

    def data_received(self, data: bytes) -> None:
        """Pass on."""
        self.other.write(data)

    def pause_writing(self) -> None:
        """This end is full: the other is not read."""
        self.other.read(False)

    def resume_writing(self) -> None:
        """There is room again."""
        self.other.read(True)

    def connection_lost(self, exc: Exception | None) -> None:
        """The end of both."""
        self._open_ends.discard(self)
        if self._deadline is not None:
            self._deadline.cancel()
        self.other.close()

    def write(self, data: bytes) -> None:
        """Send, unless this end is closed already."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def read(self, wanted: bool) -> None:
        """Read, or leave it to the kernel's buffers to slow the sender down."""
        if self._transport is None or self._transport.is_closing():
            return
        if wanted:
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()

    def close(self) -> None:
        """Close once everything is sent, or after ``LEAVE_SECONDS``."""
        if self._transport is None or self not in self._open_ends or self._deadline is not None:
            return
        self._deadline = asyncio.get_running_loop().call_later(LEAVE_SECONDS, self._transport.abort)
        self._transport.close()


class Terminator:
    """Does the handshakes and carries the bytes."""

    def __init__(self, files: TlsFiles) -> None:
        """Load the certificate.

        Raises:
            CertificateError: it cannot be used.
        """
        self._files = files
        self._digest = files.digest()
        self._context = files.context()
        self._handshakes: dict[int, asyncio.Task[None]] = {}
        self._ends: set[_End] = set()
        self._background = Background(log)
        # A descriptor that is received when none is free is lost unseen.
        self._most = resource.getrlimit(resource.RLIMIT_NOFILE)[0] - SPARE_FILES
        self._unsaid = 0
        self._said = float("-inf")

    async def run(self, sock: socket.socket) -> None:
        """Serve until the manager has ended, and until those who are being told so have gone."""
        ended = asyncio.Event()
        self._channel = Channel(sock, handshakes.read_by_terminator, self._packet, ended.set)
        watch = self._background.start(self._watch(), "the look at the certificate")
        await ended.wait()
        watch.cancel()
        end = asyncio.get_running_loop().time() + LEAVE_SECONDS
        while self._ends and asyncio.get_running_loop().time() < end:  # noqa: ASYNC110 - bounded
            await asyncio.sleep(0.02)

    def _packet(self, packet: handshakes.ToTerminator, fds: list[int]) -> None:
        match packet:
            case handshakes.Conn(id=number, address=address):
                ends = [socket.socket(fileno=fd) for fd in fds]
                if len(ends) == 2:
                    self._take(number, address, *ends)
                    return
                for end in ends:
                    end.close()
                self._failed(number, f"{address} is not served: no more files can be open")
            case handshakes.Drop(id=number):
                if task := self._handshakes.get(number):
                    task.cancel()
            case handshakes.Reload():
                self._reload()

    def _take(self, number: int, address: str, outer: socket.socket, inner: socket.socket) -> None:
        if len(self._ends) + 2 * len(self._handshakes) >= self._most:
            outer.close()
            inner.close()
            self._failed(number, f"{address} is not served: no more than {self._most} files can be open")
            return
        task = self._background.start(self._shake_hands(number, address, outer, inner), "a handshake")
        self._handshakes[number] = task
        task.add_done_callback(lambda _: self._handshakes.pop(number))

    async def _shake_hands(
        self, number: int, address: str, outer: socket.socket, inner: socket.socket
    ) -> None:
        loop = asyncio.get_running_loop()
        outside = _End(self._ends, lambda: self._channel.send(handshakes.Ready(id=number)))
        inside = _End(self._ends)
        inside.other, outside.other = outside, inside
        error: BaseException | None = None
        try:
            outer.setblocking(False)
            inner.setblocking(False)
            # The inner one first: the client's first bytes can come with the end of the handshake.
            await loop.connect_accepted_socket(lambda: inside, inner)
            await loop.connect_accepted_socket(
                lambda: outside,
                outer,
                ssl=self._context,
                ssl_handshake_timeout=HANDSHAKE_SECONDS,
                ssl_shutdown_timeout=LEAVE_SECONDS,
            )
        except (OSError, asyncio.CancelledError) as caught:
            error = caught
        if outside.served:
            return
        outer.close()
        inner.close()
        inside.close()
        self._failed(number, f"{address}: no TLS handshake: {str(error or '') or 'too slow, or gone'}")

    def _failed(self, number: int, text: str) -> None:
        self._channel.send(handshakes.Failed(id=number))
        self._unsaid += 1
        now = asyncio.get_running_loop().time()
        if now - self._said >= SAY_SECONDS:  # a scanner must not fill the disk
            more = f" ({self._unsaid - 1} more since the last line)" if self._unsaid > 1 else ""
            log.info("%s%s", text, more)
            self._unsaid, self._said = 0, now

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            if self._files.digest() != self._digest:
                self._reload()

    def _reload(self) -> None:
        self._digest = self._files.digest()
        try:
            self._context = self._files.context()
            until = self._files.valid()[1]
        except CertificateError as error:
            log.warning("the certificate of before stays in use: %s", error)
            return
        log.info("new connections get the certificate that is valid until %s", until.isoformat())


def main(fd: int, certificate: str, key: str) -> None:
    """Serve the manager at the other end of ``fd``."""
    import uvloop

    log_to_stderr()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C at the manager's terminal is the manager's affair
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    sock = socket.socket(fileno=fd)
    sock.set_inheritable(False)
    try:
        terminator = Terminator(TlsFiles(Path(certificate), Path(key)))
    except CertificateError as error:
        log.error("%s", error)
        sys.exit(1)
    uvloop.run(terminator.run(sock))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3])
