"""A disk that is really full."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


class Disk:
    """A small file system of its own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._ballast = path / "ballast"

    def fill(self) -> None:
        """Leave no room."""
        with self._ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(4096))

    def room(self) -> None:
        """Take it away again."""
        self._ballast.unlink()


@contextlib.contextmanager
def small_disk(path: Path, megabytes: int = 6) -> Iterator[Disk]:
    """Mount one at ``path``, which is an empty folder. The test is skipped where that is not allowed."""
    if os.getuid() != 0:
        pytest.skip("only root may mount a small disk to fill")
    options = f"size={megabytes}m"
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", path], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"no small disk can be mounted here: {mounted.stderr.decode().strip()}")
    try:
        yield Disk(path)
    finally:
        subprocess.run(["umount", "--lazy", path], check=True)
