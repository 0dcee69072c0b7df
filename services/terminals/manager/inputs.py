"""What the clients of a session have typed: how far each has come, and what waits for the shell.

A client keeps what it has typed until the shell's terminal has taken it, and is told of that
position (``written``) at every attach. What was received beyond it only waits here, and may be
given back at any time, for its client still has it.
"""

from __future__ import annotations

import collections
from dataclasses import dataclass

from terminals.protocol.resume import Receiver

MAX_WAITING = 1 << 18
"""Input bytes of one client that may wait for a shell that does not read; the same again of all others."""


@dataclass(slots=True)
class Position(Receiver):
    """How far a client has come: of what was ``received``, the terminal has taken ``written``."""

    written: int = 0


class Inputs:
    """Positions by client, and the bytes that wait, in the order in which they came.

    They are nobody's to see: this is no dataclass, so that no log ever shows them.
    """

    def __init__(self) -> None:
        self._positions: dict[str, Position] = {}
        self._waiting: collections.deque[tuple[Position, bytearray]] = collections.deque()
        self.waiting = 0
        """Bytes that the terminal has not taken yet."""

    def written(self, client: str) -> int:
        """How many input bytes of ``client`` the terminal has taken, ever."""
        position = self._positions.get(client)
        return position.written if position else 0

    def begin(self, client: str) -> None:
        """From now on ``client`` types.

        Whoever typed until now may have left more than is held for all of them: it is given back.
        """
        while self.waiting > MAX_WAITING:
            position, data = self._waiting.pop()
            self.waiting -= len(data)
            position.received -= len(data)

    def accept(self, client: str, seq: int, data: bytes) -> bool:
        """Take input once, whatever of it is already known being dropped; whether any was new.

        Raises:
            SequenceGap: bytes before ``seq`` are missing.
            BufferError: the client sent more than its window while the shell does not read.
        """
        position = self._positions.get(client)
        if position is None:
            position = self._positions[client] = Position()
        fresh = position.accept(seq, data)
        if position.received - position.written > MAX_WAITING:
            position.received -= len(fresh)
            raise BufferError(f"more than {MAX_WAITING} input bytes wait for the shell")
        if not fresh:
            return False
        if self._waiting and self._waiting[-1][0] is position:
            self._waiting[-1][1].extend(fresh)
        else:
            self._waiting.append((position, bytearray(fresh)))
        self.waiting += len(fresh)
        return True

    def next(self) -> bytearray:
        """What the terminal is to be given next; empty when nothing waits."""
        return self._waiting[0][1] if self._waiting else bytearray()

    def wrote(self, count: int) -> None:
        """The terminal has taken the first ``count`` bytes of :meth:`next`."""
        position, data = self._waiting[0]
        position.written += count
        self.waiting -= count
        del data[:count]
        if not data:
            self._waiting.popleft()

    def abandon(self) -> None:
        """The terminal has hung up: what waited counts as taken, for it is not to be sent again."""
        for position, data in self._waiting:
            position.written += len(data)
        self._waiting.clear()
        self.waiting = 0
