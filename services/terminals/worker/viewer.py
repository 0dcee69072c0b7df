"""One attached terminal of a connection: sends a session's output from the shared ring."""

from __future__ import annotations

import asyncio
import os
from typing import Protocol

from terminals.manager.ring import RingReader, Word
from terminals.protocol.messages import MAX_OFFSET

CHUNK = 1 << 16
"""Most output bytes in one DATA frame."""


class Outlet(Protocol):
    """Where a viewer's frames go: the connection."""

    def writable(self) -> bool:
        """Whether it takes more."""

    def output(self, channel: int, seq: int, data: bytes) -> None:
        """Output."""

    def input_ack(self, channel: int, seq: int, *, alone: bool) -> None:
        """Input is taken before ``seq``; unless ``alone``, output follows at once."""

    def snapshot(self, channel: int, seq: int, screen: bytes) -> None:
        """A screen."""

    def exit(self, channel: int, status: int) -> None:
        """The shell has ended."""

    def resized(self, channel: int, cols: int, rows: int) -> None:
        """The terminal has another size."""

    def overrun(self, viewer: Viewer) -> None:
        """The ring has overtaken ``viewer``: what comes next is up to :meth:`Viewer.jump`. The manager keeps
        that from happening to one that types."""


class Viewer:
    """Follows a ring from ``start`` and hands what is new to its connection. Takes ``fds`` over, out of the
    list, also where it raises ``OSError`` because no more files can be open.

    ``size``: of the terminal of one who looks on, who is told of others; ``None``: who types knows it.
    """

    __slots__ = (
        "_channel",
        "_closed",
        "_doorbell",
        "_exit_sent",
        "_input_acked",
        "_loop",
        "_outlet",
        "_overtaken",
        "_ring",
        "_screen",
        "_size",
        "handle",
        "sent",
    )

    def __init__(
        self,
        *,
        handle: int,
        start: int,
        input_base: int,
        fds: list[int],
        channel: int,
        outlet: Outlet,
        size: tuple[int, int] | None = None,
    ) -> None:
        ring_fd, doorbell = fds
        fds.clear()
        try:
            self._ring = RingReader(ring_fd)
        except OSError:
            os.close(doorbell)
            raise
        self._doorbell = doorbell
        self.handle = handle
        self.sent = start
        self._input_acked = input_base
        self._channel = channel
        self._outlet = outlet
        self._size = size
        self._screen: tuple[int, bytes] | None = None
        """A screen to paint once everything before its offset is sent."""
        self._overtaken = False
        self._exit_sent = False
        self._closed = False
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._doorbell, self._woken)

    def _woken(self) -> None:
        try:  # noqa: SIM105 - a context manager for each key costs as much as the call
            os.eventfd_read(self._doorbell)
        except BlockingIOError:
            pass
        self.pump()

    def pump(self) -> None:
        """Send what is new, as far as the connection takes it."""
        if self._closed or self._overtaken:
            return
        words, outlet, channel = self._ring.words, self._outlet, self._channel
        written = words[Word.INPUT_WRITTEN]
        # The manager writes the handle first: where that is ours still, so is the count just read.
        if words[Word.INPUT_HANDLE] == self.handle and written > self._input_acked:
            self._input_acked = written
            follows = self._screen is None and self.sent < words[Word.HEAD] and outlet.writable()
            outlet.input_ack(channel, written, alone=not follows)
        # ENDED is set after the last byte: read it first, or the last bytes could be missed.
        ended = words[Word.ENDED]
        while outlet.writable():
            # A screen is painted in the size that it is of.
            until = MAX_OFFSET if self._size is None else self._size_until()
            if self._closed:
                return
            if self._screen is not None and self.sent == self._screen[0]:
                (offset, screen), self._screen = self._screen, None
                outlet.snapshot(channel, offset, screen)
            until = min(until, words[Word.HEAD] if self._screen is None else self._screen[0])
            if self._closed or self.sent >= until:
                break
            data = self._ring.copy(self.sent, min(CHUNK, until - self.sent))
            if data is None:
                self._overtaken = True
                outlet.overrun(self)
                return
            seq, self.sent = self.sent, self.sent + len(data)
            outlet.output(channel, seq, data)
            if self._closed:
                return
        if self._closed:
            return
        if ended and not self._exit_sent and self._screen is None and self.sent == words[Word.HEAD]:
            self._exit_sent = True
            outlet.exit(channel, words[Word.STATUS] - 1000)

    def _size_until(self) -> int:
        """Tell of another size, once all output of before was sent; up to where that is to be sent first."""
        cols, rows = divmod(self._ring.words[Word.SIZE], 1 << 32)
        at: int = self._ring.words[Word.SIZE_AT]
        if not cols or (cols, rows) == self._size:
            return MAX_OFFSET
        if self.sent < at:
            return at
        self._size = (cols, rows)
        self._outlet.resized(self._channel, cols, rows)
        return MAX_OFFSET

    def paint(self, offset: int, screen: bytes) -> None:
        """Have ``screen`` sent when the output before ``offset`` has been."""
        self._screen = (offset, screen)

    def jump(self, offset: int, screen: bytes) -> None:
        """Go on from a screen, past what the ring no longer holds."""
        self._overtaken = False
        self.sent = offset
        self.paint(offset, screen)
        self.pump()

    def close(self) -> None:
        """Stop following."""
        if not self._closed:
            self._closed = True
            self._loop.remove_reader(self._doorbell)
            os.close(self._doorbell)
            self._ring.close()
