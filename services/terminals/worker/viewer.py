"""One attached terminal of a connection: sends a session's output from the shared ring."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable

from terminals.manager.ring import RingReader, Word
from terminals.protocol.messages import MAX_OFFSET

CHUNK = 1 << 16
"""Most output bytes in one DATA frame."""


class Viewer:
    """Follows a ring from ``start`` and hands what is new to its connection. Takes ``fds`` over, out of the
    list, also where it raises ``OSError`` because no more files can be open.

    ``send_output(seq, data)``, ``send_input_ack(seq)`` and ``send_exit(status)`` put frames on
    the wire, and ``send_size(cols, rows)``, which only those who look on have, when it is not
    ``size`` any more; ``writable()`` says whether the wire takes more; ``overrun()`` is called when
    the ring has overtaken us, which the manager's hold prevents for the client that types: what
    comes next is then up to :meth:`jump`.
    """

    def __init__(
        self,
        *,
        handle: int,
        start: int,
        input_base: int,
        fds: list[int],
        send_output: Callable[[int, bytes], None],
        send_input_ack: Callable[[int], None],
        send_exit: Callable[[int], None],
        send_snapshot: Callable[[int, bytes], None],
        send_size: Callable[[int, int], None] | None = None,
        size: tuple[int, int] = (0, 0),
        writable: Callable[[], bool],
        overrun: Callable[[], None],
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
        self._send_output = send_output
        self._send_input_ack = send_input_ack
        self._send_exit = send_exit
        self._send_snapshot = send_snapshot
        self._send_size = send_size
        self._size = size
        self._screen: tuple[int, bytes] | None = None
        """A screen to paint once everything before its offset is sent."""
        self._overtaken = False
        self._writable = writable
        self._overrun = overrun
        self._exit_sent = False
        self._closed = False
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._doorbell, self._woken)

    def _woken(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._doorbell)
        self.pump()

    def pump(self) -> None:
        """Send what is new, as far as the connection takes it."""
        if self._closed or self._overtaken:
            return
        words = self._ring.words
        written = words[Word.INPUT_WRITTEN]
        # The manager writes the handle first: where that is ours still, so is the count just read.
        if words[Word.INPUT_HANDLE] == self.handle and written > self._input_acked:
            self._input_acked = written
            self._send_input_ack(written)
        # ENDED is set after the last byte: read it first, or the last bytes could be missed.
        ended = words[Word.ENDED]
        while self._writable():
            # A screen is painted in the size that it is of.
            until = MAX_OFFSET if self._send_size is None else self._size_until(self._send_size)
            if self._closed:
                return
            if self._screen is not None and self.sent == self._screen[0]:
                (offset, screen), self._screen = self._screen, None
                self._send_snapshot(offset, screen)
            until = min(until, words[Word.HEAD] if self._screen is None else self._screen[0])
            if self._closed or self.sent >= until:
                break
            data = self._ring.copy(self.sent, min(CHUNK, until - self.sent))
            if data is None:
                self._overtaken = True
                self._overrun()
                return
            seq, self.sent = self.sent, self.sent + len(data)
            self._send_output(seq, data)
            if self._closed:
                return
        if self._closed:
            return
        if ended and not self._exit_sent and self._screen is None and self.sent == words[Word.HEAD]:
            self._exit_sent = True
            self._send_exit(words[Word.STATUS] - 1000)

    def _size_until(self, tell: Callable[[int, int], None]) -> int:
        """Tell of another size, once all output of before was sent; up to where that is to be sent first."""
        cols, rows = divmod(self._ring.words[Word.SIZE], 1 << 32)
        at: int = self._ring.words[Word.SIZE_AT]
        if not cols or (cols, rows) == self._size:
            return MAX_OFFSET
        if self.sent < at:
            return at
        self._size = (cols, rows)
        tell(cols, rows)
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
