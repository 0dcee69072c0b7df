"""What the monitor's loop sleeps on: signals and finished checks wake it at once."""

from __future__ import annotations

import contextlib
import select
import socket


class Bell:
    """May be rung from any thread, and by the interpreter when a signal comes."""

    def __init__(self) -> None:
        self._heard, self._rope = socket.socketpair()
        self._heard.setblocking(False)
        self._rope.setblocking(False)

    def fileno(self) -> int:
        """For :func:`signal.set_wakeup_fd`."""
        return self._rope.fileno()

    def ring(self) -> None:
        """Wake whoever waits, or the next who does."""
        with contextlib.suppress(OSError):  # full: it is ringing; closed: nobody waits any more
            self._rope.send(b"!")

    def wait(self, seconds: float) -> None:
        """Sleep for so long, or until it rings."""
        if select.select([self._heard], [], [], max(0.0, seconds))[0]:
            self._heard.recv(4096)
