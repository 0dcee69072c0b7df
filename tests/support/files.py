"""Files that are transferred, and the terminals that they go to and come from."""

from __future__ import annotations

import random
from pathlib import Path

from terminals.client import Terminal
from terminals.protocol.backoff import Backoff

from tests.support.stack import Stack


def enter(stack: Stack, folder: Path) -> Terminal:
    """A terminal whose shell is in a folder, and echoes nothing."""
    terminal = stack.terminal(backoff=Backoff(base=0.01, cap=0.1), stable_after=0)
    terminal.open()
    terminal.send(f"cd '{folder}'; PS1=; stty -echo; echo in-$((1+1))\n".encode())
    terminal.expect(rb"in-2\r?\n")
    return terminal


def material(path: Path, size: int) -> Path:
    """A file without a pattern."""
    path.write_bytes(random.Random(size).randbytes(size))
    return path
