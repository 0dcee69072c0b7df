"""A command in a real pseudo-terminal of a size, as a person has it on the screen."""

from __future__ import annotations

import fcntl
import os
import select
import struct
import subprocess
import termios
import time
from collections.abc import Callable
from pathlib import Path

from pyghostty import Terminal

PATIENCE = 60.0


class Window:
    """Runs a command in a terminal of ``columns`` and ``rows``; :attr:`text` is what stands there."""

    def __init__(self, command: list[str], cwd: Path, *, columns: int, rows: int = 24) -> None:
        self._screen = Terminal(columns, rows, scrollback=500)
        self._master, slave = os.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        # These two go before what the terminal says of itself; pytest-xdist sets them for its workers.
        env = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
        self.process = subprocess.Popen(
            command,
            cwd=cwd,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # Ctrl-C is the terminal's affair
            env={**env, "TERM": "xterm-256color"},
        )
        os.close(slave)

    @property
    def text(self) -> str:
        """All that can be read, without the blanks at the ends of lines."""
        return "\n".join(line.rstrip() for line in self._screen.text().split("\n")).rstrip()

    def until(self, condition: Callable[[str], object]) -> str:
        """Wait until what stands there is as it should be."""
        end = time.monotonic() + PATIENCE
        while not condition(self.text):
            assert time.monotonic() < end, self.text
            self._read()
        return self.text

    def keys(self, typed: bytes) -> None:
        """Type."""
        os.write(self._master, typed)

    def end(self) -> int:
        """Wait for the end of the command; gives its exit status."""
        end = time.monotonic() + PATIENCE
        while self._read():
            assert time.monotonic() < end, self.text
        return self.process.wait(PATIENCE)

    def close(self) -> None:
        """Have it gone."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._master)

    def _read(self) -> bool:
        if not select.select([self._master], [], [], 0.2)[0]:
            return True
        try:
            data = os.read(self._master, 1 << 16)
        except OSError:  # nobody has the other end any more
            return False
        self._screen.feed(data)
        return bool(data)
