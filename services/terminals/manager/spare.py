"""A ring in stock, so that a new session does not wait for the disk."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path

from terminals.manager.ring import HEADER_BYTES, Ring

REFILL_SECONDS = 0.02
"""As for the shells in stock: the session just started needs the processor first."""


class SpareRing:
    """Keeps one ring of the size that was last asked for.

    ``folder`` is that of the sessions' rings: what an ended manager leaves there bears no
    session's name, and the next one removes it. ``room(size)`` says whether the limit of all
    rings leaves ``size`` bytes.
    """

    def __init__(self, folder: Path, room: Callable[[int], bool]) -> None:
        self._path = folder / "spare.ring"
        self._room = room
        self._ring: Ring | None = None
        self._refill: asyncio.TimerHandle | None = None

    @property
    def bytes(self) -> int:
        """What it takes, in memory and on disk."""
        return HEADER_BYTES + self._ring.capacity if self._ring else 0

    def take(self, path: Path, size: int) -> Ring:
        """A new ring of ``size`` bytes at ``path``, where no file is.

        Raises:
            OSError: as :meth:`Ring.create` does.
        """
        if self._refill is None:
            self._refill = asyncio.get_running_loop().call_later(REFILL_SECONDS, self._fill, size)
        ring, self._ring = self._ring, None
        if ring is None:
            return Ring.create(path, size)
        if ring.capacity != size:
            _remove(ring)
            return Ring.create(path, size)
        ring.path = ring.path.rename(path)
        return ring

    def close(self) -> None:
        """Give it back."""
        if self._refill is not None:
            self._refill.cancel()
            self._refill = None
        if self._ring is not None:
            _remove(self._ring)
            self._ring = None

    def _fill(self, size: int) -> None:
        self._refill = None
        if self._ring is None and self._room(HEADER_BYTES + size):
            with contextlib.suppress(OSError):  # whoever really needs one will say so
                self._ring = Ring.create(self._path, size)


def _remove(ring: Ring) -> None:
    ring.close()
    ring.path.unlink(missing_ok=True)
