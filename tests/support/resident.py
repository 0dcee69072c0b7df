"""Somebody who is at work while it happens."""

from __future__ import annotations

import threading

from terminals.client import Terminal


class Resident:
    """Somebody in a live shell, in a thread of its own, who is still there at the end."""

    def __init__(self, terminal: Terminal) -> None:
        self.terminal = terminal
        self.terminal.open(timeout=120)
        self.terminal.send(b"PS1=; kept=41; echo ready-$((1+1))\n")
        self.terminal.expect(rb"ready-2\r\n", timeout=120)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._live, daemon=True)
        self._thread.start()

    def _live(self) -> None:
        while not self._stop.is_set():
            self.terminal.pump(0.05)

    def leave(self) -> None:
        """Prove that it is the same shell, and that not a byte is missing."""
        self._stop.set()
        self._thread.join()
        self.terminal.send(b"echo kept-$((kept+1))\n")
        self.terminal.expect(rb"kept-42", timeout=120)
        assert self.terminal.stats.skipped == 0
        self.terminal.close(kill=True)
