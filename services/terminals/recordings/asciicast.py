"""asciicast version 3, without I/O: a header, events, and marks that say how far a recording has come.

A recording grows by *batches*: lines of events, and last a comment that says which output offset they
reach, the batch's *mark*. So whoever finds a recording whose writer was killed cuts off what follows the
last mark, and goes on exactly from that byte. Players pass over marks: the format has comments, lines that
begin with ``#``. Output cannot look like one, for in an event a line break is written as an escape.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from typing import Final, Literal

import msgspec

from terminals.control.framing import BadPacket, Record, pack, reader

MOST_OUTPUT: Final = 1 << 16
"""Output bytes in a batch; each is written as six at the most."""
TAIL: Final = 1 << 20
"""The last mark of a recording is within so many bytes of its end."""
MOST_HEADER: Final = 1 << 12
_MARK = re.compile(rb"^# offset (\d+) elapsed (\d+) size (\d+)x(\d+)(?: (end|full))?\n", re.MULTILINE)
_decoder = codecs.getincrementaldecoder("utf-8")


class About(Record, omit_defaults=True):
    """Whose recording it is; players do not ask for it."""

    session: str
    user: str = ""
    profile: str = ""
    required: bool = False
    """Its profile is recorded, and not somebody's wish."""


class Term(Record, omit_defaults=True):
    """The terminal at the beginning."""

    cols: int
    rows: int
    type: str = ""


class Header(Record, omit_defaults=True):
    """The first line."""

    version: Literal[3] = msgspec.field(default_factory=lambda: 3)  # a default would be omitted
    term: Term
    timestamp: int
    """Unix seconds."""
    title: str = ""
    terminals: About

    def encode(self) -> bytes:
        """The line.

        Raises:
            BadPacket: with text that is none.
        """
        return pack(self) + b"\n"


_read_header = reader(Header)


def read_header(start: bytes) -> Header | None:
    """The header of a recording that begins so; ``None`` where it is none of ours."""
    line, newline, _ = start.partition(b"\n")
    try:
        return _read_header(line) if newline else None
    except BadPacket:
        return None


@dataclass(frozen=True, slots=True)
class Mark:
    """Where a recording stands after a batch."""

    offset: int
    """Output before it is recorded, or said not to be."""
    elapsed: int = 0
    """Microseconds from the recording's beginning to its latest event."""
    size: tuple[int, int] = (80, 24)
    """Columns and rows."""
    state: Literal["", "end", "full"] = ""
    """``end``: the shell has ended; ``full``: the recording has its limit. Nothing follows either."""

    def encode(self) -> bytes:
        """The line."""
        cols, rows = self.size
        state = f" {self.state}" if self.state else ""
        return f"# offset {self.offset} elapsed {self.elapsed} size {cols}x{rows}{state}\n".encode()


def last_mark(tail: bytes) -> tuple[Mark, int] | None:
    """The last mark in the end of a recording, and where in it that ends; ``None``: there is none."""
    found: re.Match[bytes] | None = None
    for match in _MARK.finditer(tail):
        found = match
    if found is None:
        return None
    offset, elapsed, cols, rows, state = found.groups(b"")
    mark = Mark(int(offset), int(elapsed), (int(cols), int(rows)), state.decode())  # type: ignore[arg-type]
    return mark, found.end()


def decoded(data: bytes, *, final: bool = False) -> tuple[str, int]:
    """Output as text, and how many bytes of it that is: the beginning of a character at its end is left for
    the rest to come, unless there is none (``final``). What is no UTF-8 becomes U+FFFD."""
    decoder = _decoder("replace")
    text = decoder.decode(data, final)
    left, _ = decoder.getstate()
    return text, len(data) - len(left)


class Batch:
    """Lines to be written at once, from where the recording stands."""

    def __init__(self, mark: Mark) -> None:
        self._lines: list[bytes] = []
        self._offset, self._elapsed, self._size = mark.offset, mark.elapsed, mark.size

    @property
    def empty(self) -> bool:
        """Whether it has no events."""
        return not self._lines

    def output(self, at: int, text: str, offset: int) -> None:
        """Output that reaches ``offset``; ``at``: microseconds since the beginning of the recording."""
        if text:
            self._event(at, b"o", text)
        self._offset = offset

    def resize(self, at: int, cols: int, rows: int) -> None:
        """The terminal has this size, which is no event where it has had it before."""
        if (cols, rows) != self._size:
            self._event(at, b"r", f"{cols}x{rows}")
            self._size = cols, rows

    def gap(self, at: int, offset: int) -> None:
        """Output up to ``offset`` was not recorded, and says so."""
        self.note(at, f"{offset - self._offset} bytes were not recorded")
        self._offset = offset

    def note(self, at: int, text: str) -> None:
        """A mark for people."""
        self._event(at, b"m", text)

    def exit(self, at: int, status: int) -> None:
        """The shell has ended; a negative status is a signal, for which shells say 128 and its number."""
        self._event(at, b"x", str(status if status >= 0 else 128 - status))

    def close(self, state: Literal["", "end", "full"] = "") -> tuple[bytes, Mark]:
        """All of it, and where the recording stands then."""
        mark = Mark(self._offset, self._elapsed, self._size, state)
        return b"".join(self._lines) + mark.encode(), mark

    def _event(self, at: int, code: bytes, text: str) -> None:
        at = max(at, self._elapsed)
        seconds, micros = divmod(at - self._elapsed, 1_000_000)
        self._elapsed = at
        interval = f"{seconds}.{micros:06d}".rstrip("0") + ("0" if micros == 0 else "")
        self._lines.append(b'[%b, "%b", %b]\n' % (interval.encode(), code, msgspec.json.encode(text)))
