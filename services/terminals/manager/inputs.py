"""What the clients of a session have typed: how far each has come, and what waits for the shell.

A client keeps what it has typed until the shell's terminal has taken it, and is told of that
position (``written``) at every attach. What was received beyond it only waits here, and may be
given back at any time, for its client still has it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import msgspec

from terminals.control.framing import reader
from terminals.manager.ring import SLOTS, slot_of
from terminals.protocol.resume import Receiver, anew, is_anew, typed_bytes

MAX_WAITING: Final = 1 << 18
"""Input bytes of one client that may wait for a shell that does not read; the same again of all others."""
REMEMBERED_CLIENTS = 1 << 14
"""Clients whose position a session remembers: those that typed, the latest to attach. Some 4 MB of memory
at the most; who attaches once a minute with an id of its own, and types, comes there in eleven days."""


_read_client: Callable[[bytes], tuple[str, int]] = reader(tuple[str, int])
"""A client's id and position."""


@dataclass(slots=True)
class Position(Receiver):
    """How far a client has come: of what was ``received``, the terminal has taken ``written``.

    ``sent`` is how far it has come on its present connection, what it sends again included:
    clients count on it that no acknowledgement is ahead of that.
    """

    written: int = 0
    sent: int = 0
    number: int = 0
    """The client's, in its session; never 0."""
    slot: int | None = None
    """Where in the ring's header its position is, in which only those of the latest to type are."""


class Inputs:
    """Positions by client, and the bytes that wait, in the order in which they came.

    They are nobody's to see: this is no dataclass, so that no log ever shows them.

    What the next session manager has to know is kept where this one's end does not reach it: the positions
    that change in ``words``, the ring's header; the others, and who the clients are, by
    ``keep(fields)``, a field for each client: ``c<number>``, its id and position.
    """

    __slots__ = ("_keep", "_last", "_positions", "_slots", "_waiting", "_words", "forgotten", "waiting")

    def __init__(
        self,
        words: memoryview,
        keep: Callable[[dict[str, object]], None] = lambda fields: None,
        kept: Mapping[str, msgspec.Raw] | None = None,
    ) -> None:
        self._words = words
        self._keep = keep
        self._positions: dict[str, Position] = {}  # the latest to attach last
        self._slots: dict[int, Position] = {}  # the latest to type last
        self.forgotten = False
        """There have been more clients than are remembered."""
        self._waiting: list[tuple[Position, bytearray]] = []  # a few at the most
        self.waiting = 0
        """Bytes that the terminal has not taken yet."""
        self._last = 0
        if kept is not None:
            self._restore(kept)

    def _restore(self, kept: Mapping[str, msgspec.Raw]) -> None:
        self.forgotten = "forgotten" in kept
        clients = {
            int(name[1:]): _read_client(bytes(value)) for name, value in kept.items() if name[1:].isdigit()
        }
        for number, (client, written) in sorted(clients.items()):
            self._positions[client] = Position(written, written, written, number)
        by_number = {position.number: position for position in self._positions.values()}
        for slot in range(SLOTS):
            if position := by_number.get(self._words[slot_of(slot)]):
                written = self._words[slot_of(slot) + 1]
                position.received = position.written = position.sent = written
                position.slot = slot
                self._slots[slot] = position
        self._last = max(by_number, default=0)

    @property
    def typed(self) -> int:
        """Input bytes of all remembered clients that the terminal has taken."""
        return sum(typed_bytes(position.written) for position in self._positions.values())

    def written(self, client: str) -> int:
        """How many input bytes of ``client`` the terminal has taken, ever."""
        position = self._positions.get(client)
        return position.written if position else 0

    def acknowledged(self, client: str) -> int:
        """How many of them it may be told of, it having sent them on its present connection."""
        position = self._positions.get(client)
        return min(position.written, position.sent) if position else 0

    def begin(self, client: str, *, returning: bool) -> bool:
        """From now on ``client`` types; returns whether its position is known, and else begins it anew.

        ``returning``: it has been attached before. Who has not is at its beginning. One that was told to
        begin anew, and has not typed since, is told so again: it may not have heard it.
        """
        # Whoever typed until now may have left more than is held for all of them.
        while self.waiting > MAX_WAITING:
            last, data = self._waiting.pop()
            self.waiting -= len(data)
            last.received -= len(data)
        if position := self._positions.pop(client, None):
            self._positions[client] = position
            position.sent = position.written
            return not (returning and is_anew(position.received))
        if returning and self.forgotten:
            start = anew(self._last + 1)
            self._remember(client, Position(start, start, start))
            return False
        return True

    def accept(self, client: str, seq: int, data: bytes) -> bool:
        """Take input once, whatever of it is already known being dropped; whether any was new.

        Raises:
            SequenceGap: bytes before ``seq`` are missing.
            BufferError: the client sent more than its window while the shell does not read.
        """
        position = self._positions.get(client)
        if position is None:
            position = self._remember(client, Position())
        fresh = position.accept(seq, data)
        if position.received - position.written > MAX_WAITING:
            position.received -= len(fresh)
            raise BufferError(f"more than {MAX_WAITING} input bytes wait for the shell")
        position.sent = max(position.sent, seq + len(data))
        if not fresh:
            return False
        if self._waiting and self._waiting[-1][0] is position:
            self._waiting[-1][1].extend(fresh)
        else:
            self._waiting.append((position, bytearray(fresh)))
        self.waiting += len(fresh)
        return True

    def _remember(self, client: str, position: Position) -> Position:
        self._last = position.number = self._last + 1
        self._positions[client] = position
        self._keep({f"c{position.number}": [client, position.written]})
        while len(self._positions) > REMEMBERED_CLIENTS:
            oldest = self._positions.pop(next(iter(self._positions)))
            if not self.forgotten:
                self.forgotten = True
                self._keep({"forgotten": True})
            if oldest.slot is not None:
                self._words[slot_of(oldest.slot)] = 0
                del self._slots[oldest.slot]
                oldest.slot = None  # what it has left waiting may still be taken
            self._keep({f"c{oldest.number}": None})
        return position

    def next(self) -> bytearray:
        """What the terminal is to be given next; empty when nothing waits."""
        return self._waiting[0][1] if self._waiting else bytearray()

    def place(self) -> tuple[int, int]:
        """Whose :meth:`next` is: the slot of its position in the ring's header, and that position."""
        position, _ = self._waiting[0]
        slot = position.slot
        if slot is None:
            slot = self._free_slot()
            at = slot_of(slot)
            self._words[at] = 0  # nobody's, until it is whole
            self._words[at + 1] = position.written
            self._words[at] = position.number
            position.slot = slot
            self._slots[slot] = position
        elif len(self._slots) > 1:
            self._slots[slot] = self._slots.pop(slot)
        return slot, position.written

    def _free_slot(self) -> int:
        if len(self._slots) < SLOTS:
            return next(slot for slot in range(SLOTS) if slot not in self._slots)
        slot, oldest = next(iter(self._slots.items()))
        oldest.slot = None
        del self._slots[slot]
        self._keep_position(oldest)
        return slot

    def _keep_position(self, position: Position) -> None:
        if position.slot is not None:
            self._words[slot_of(position.slot) + 1] = position.written
            return
        for client, known in self._positions.items():
            if known is position:  # and not forgotten
                self._keep({f"c{position.number}": [client, position.written]})

    def wrote(self, count: int) -> None:
        """The terminal has taken the first ``count`` bytes of :meth:`next`, and the slot says so."""
        position, data = self._waiting[0]
        position.written += count
        self.waiting -= count
        del data[:count]
        if not data:
            self._waiting.pop(0)

    def abandon(self) -> None:
        """The terminal has hung up: what waited counts as taken, for it is not to be sent again."""
        for position, data in self._waiting:
            position.written += len(data)
            self._keep_position(position)
        self._waiting.clear()
        self.waiting = 0
