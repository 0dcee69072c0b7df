"""One session's screen, kept by Ghostty's terminal emulator, and painting it elsewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import groupby
from typing import Any, Final

from pyghostty import Terminal
from pyghostty._ffi import check, ffi, lib
from pyghostty.core import init_sized

from terminals.protocol.messages import MAX_SNAPSHOT

HISTORY_LINES: Final = 200
"""Lines above the screen that a snapshot brings along."""
_CONTINUATION: Final = 1 << 16
"""Longest unfinished escape sequence that is carried along."""
_CANCEL: Final = b"\x18"
_PRIVATE_MODES: Final = (1, 5, 7, 12, 25, 45, 66, 1000, 1002, 1003, 1004, 1005, 1006, 1015, 1016, 2004)
"""DEC private modes that a program may have changed and that last. Origin mode (6) goes with the
scrolling region, the alternate screen (47, 1047, 1049) with its content."""
_ON_AT_FIRST: Final = frozenset({7, 25})
_ORIGIN: Final = 6
_RESET: Final = (
    b"\x1b[?1049l\x1b[!p\x1b[r\x1b[0m\x1b(B\x0f\x1b[?6l\x1b[4l\x1b[20l\x1b[0 q\x1b[>4;0m\x1b[<99u"
    + b"".join(b"\x1b[?%d%c" % (mode, b"lh"[mode in _ON_AT_FIRST]) for mode in _PRIVATE_MODES)
    + b"\x1b[H\x1b[2J"
)
"""Brings any terminal, whatever a program had made of it, to a blank screen. Not RIS: that would
also throw away the lines that its person can scroll back to."""
_BLANK_ALTERNATE: Final = b"\x1b[?1049h\x1b[0m\x1b(B\x1b[r\x1b[?6l\x1b[2J\x1b[H"


class ScreenTooLarge(Exception):
    """What it would take to paint the screen is more than a client is sent."""


class Emulator:
    """Follows a shell's output. Sizes are character cells."""

    def __init__(self, cols: int, rows: int) -> None:
        self._terminal = Terminal(cols, rows, scrollback=HISTORY_LINES)
        self._held = b""
        """The beginning of a character, until its rest is there."""
        limit = ffi.new("size_t*", _CONTINUATION)
        check(lib.ghostty_terminal_set(self._raw, lib.GHOSTTY_TERMINAL_OPT_CONTINUATION_MAX_BYTES, limit), "")

    def feed(self, data: bytes) -> None:
        """Take output of the shell."""
        data = self._held + data
        whole = _whole_characters(data)
        self._terminal.feed(data[:whole])
        self._held = data[whole:]

    def resize(self, cols: int, rows: int) -> None:
        """The shell's terminal has another size from here on."""
        if (cols, rows) != self._terminal.size:
            self._terminal.resize(cols, rows)

    def interrupted(self) -> None:
        """Output is missing from here on: what follows is not the rest of a sequence that has begun."""
        self._held = b""
        self._terminal.feed(_CANCEL)

    def close(self) -> None:
        """Give the memory back."""
        self._terminal.close()

    def snapshot(self, most: int = MAX_SNAPSHOT) -> bytes:
        """Escape sequences that make any terminal show, and be in, the state of this one.

        The lines above the screen, the screen, under an alternate screen also the one that a
        program will return to, cursor, modes, and the beginning of an escape sequence whose
        rest is still to come. Where that is more than ``most`` bytes, fewer of the lines above.

        Raises:
            ScreenTooLarge: it is too much without any, too: a thousand columns, each in a colour of its own.
        """
        data = self._painted(HISTORY_LINES)
        if len(data) <= most:
            return data
        screen = self._painted(0)
        if len(screen) > most:
            raise ScreenTooLarge(f"{len(screen)} bytes")
        # As many as would fit if all were alike; to paint is work, and so is to find out how long each is.
        lines = HISTORY_LINES * (most - len(screen)) // (len(data) - len(screen))
        while lines and len(data := self._painted(lines)) > most:
            lines //= 2
        return data if lines else screen

    def _painted(self, lines: int) -> bytes:
        unfinished = self._continuation()
        if unfinished:
            self._terminal.feed(_CANCEL)
        parts = [_RESET]
        alternate = self._terminal.get("active_screen", "GhosttyTerminalScreen")
        if alternate:
            parts += self._beneath(lines)
        else:
            parts += [self._history(lines), self._screen()]
        parts += [self._modes(), unfinished, self._held]
        if unfinished:
            self._terminal.feed(unfinished)
        return b"".join(parts)

    @property
    def _raw(self) -> Any:
        return self._terminal._t[0]

    def _beneath(self, lines: int) -> list[bytes]:
        """The primary screen with the cursor it will have again, and above it the alternate one."""
        above, state = self._screen(), self._state()
        # Mode 47 switches without clearing; what it does to the cursor is put back afterwards.
        self._terminal.feed(b"\x1b[?47l\x1b8")
        beneath = [self._history(lines), self._cells(), self._state(), _BLANK_ALTERNATE, above]
        self._terminal.feed(b"\x1b[?47h\x1b[?6l" + state)
        return beneath

    def _history(self, lines: int) -> bytes:
        """The last so many of the lines above the screen."""
        count = self._terminal.get("scrollback_rows", "size_t")
        if not (count and lines):
            return b""
        # Line feeds push it out of the screen, so that what follows is painted on a blank one.
        above: bytes = self._format("history", count, first=max(0, count - lines))
        rows: int = self._terminal.size[1]
        return above + b"\x1b[0m" + b"\r\n" * rows + b"\x1b[H"

    def _screen(self) -> bytes:
        """The cells, the saved cursor, and the present one."""
        cells, now = self._cells(), self._state()
        self._terminal.feed(b"\x1b8")
        saved = self._state()
        self._terminal.feed(b"\x1b[?6l" + now)
        return cells + saved + b"\x1b7\x1b[?6l" + now

    def _cells(self) -> bytes:
        cells: bytes = self._format("active", self._terminal.size[1])
        return cells + self._backgrounds()

    def _backgrounds(self) -> bytes:
        """Erased cells in a colour, which the library's formatter leaves out."""
        painted: list[bytes] = []
        colours: dict[int, bytes] = {}
        for row, cells in enumerate(self._rows(), 1):
            kinds = set(cells)
            colours.update((cell, _background(cell)) for cell in kinds.difference(colours))
            if not any(colours[cell] for cell in kinds):
                continue
            col = 1
            for colour, run in groupby(map(colours.__getitem__, cells)):
                count = len(list(run))
                if colour:
                    painted.append(b"\x1b[%d;%dH%s\x1b[%dX" % (row, col, colour, count))
                col += count
        return b"".join([*painted, b"\x1b[0m"]) if painted else b""

    def _rows(self) -> Iterator[list[int]]:
        """The cells of each row of the screen, packed. A row a call: what each call costs is most of it."""
        state, rows = ffi.new("GhosttyRenderState*"), ffi.new("GhosttyRenderStateRowIterator*")
        check(lib.ghostty_render_state_new(ffi.NULL, state), "render state")
        try:
            check(lib.ghostty_render_state_row_iterator_new(ffi.NULL, rows), "rows")
            check(lib.ghostty_render_state_update(state[0], self._raw), "render state")
            check(
                lib.ghostty_render_state_get(state[0], lib.GHOSTTY_RENDER_STATE_DATA_ROW_ITERATOR, rows),
                "rows",
            )
            cells = ffi.new("GhosttyCellsView*")
            while lib.ghostty_render_state_row_iterator_next(rows[0]):
                check(
                    lib.ghostty_render_state_row_get(
                        rows[0], lib.GHOSTTY_RENDER_STATE_ROW_DATA_CELLS_RAW, cells
                    ),
                    "row",
                )
                yield ffi.unpack(cells.ptr, cells.len)
        finally:
            lib.ghostty_render_state_row_iterator_free(rows[0])
            lib.ghostty_render_state_free(state[0])

    def _state(self) -> bytes:
        """Scrolling region, origin, cursor, style and character sets, in an order that keeps each."""
        plain = self._format("active", 1)
        state = self._format("active", 1, state=True).removeprefix(plain)
        return _with_origin(state) if self._terminal.mode(_ORIGIN) else state

    def _modes(self) -> bytes:
        private = b"".join(
            b"\x1b[?%d%c" % (mode, b"lh"[self._terminal.mode(mode)])
            for mode in _PRIVATE_MODES
            if self._terminal.mode(mode) != (mode in _ON_AT_FIRST)
        )
        return private + b"".join(b"\x1b[%dh" % mode for mode in (4, 20) if self._terminal.mode(mode, True))

    def _continuation(self) -> bytes:
        return self._read(lambda *buffer: lib.ghostty_terminal_continuation_buf(self._raw, *buffer))

    def _format(self, area: str, rows: int, *, first: int = 0, state: bool = False) -> bytes:
        cols = self._terminal.size[0]
        selection = init_sized("GhosttySelection")
        selection.start = self._terminal.ref(0, first, area)[0]
        selection.end = self._terminal.ref(cols - 1, rows - 1, area)[0]
        options = init_sized("GhosttyFormatterTerminalOptions")
        options.emit = lib.GHOSTTY_FORMATTER_FORMAT_VT
        options.unwrap = True
        options.selection = selection
        options.extra.scrolling_region = state
        for name in ("cursor", "style", "hyperlink", "protection", "kitty_keyboard", "charsets"):
            setattr(options.extra.screen, name, state)
        formatter = ffi.new("GhosttyFormatter*")
        check(lib.ghostty_formatter_terminal_new(ffi.NULL, formatter, self._raw, options[0]), "formatter")
        try:
            return self._read(lambda *buffer: lib.ghostty_formatter_format_buf(formatter[0], *buffer))
        finally:
            lib.ghostty_formatter_free(formatter[0])

    @staticmethod
    def _read(call: Any) -> bytes:
        """What a function of the library that fills a buffer has to say."""
        length = ffi.new("size_t*")
        call(ffi.NULL, 0, length)
        buffer = ffi.new("uint8_t[]", max(1, length[0]))
        if length[0]:
            check(call(buffer, len(buffer), length), "reading")
        return bytes(ffi.buffer(buffer, length[0]))


def _background(cell: int) -> bytes:
    """The sequence that sets the colour of a cell that holds nothing else; empty for any other cell."""
    tag = ffi.new("GhosttyCellContentTag*")
    check(lib.ghostty_cell_get(cell, lib.GHOSTTY_CELL_DATA_CONTENT_TAG, tag), "content")
    if tag[0] == lib.GHOSTTY_CELL_CONTENT_BG_COLOR_PALETTE:
        index = ffi.new("uint8_t*")
        check(lib.ghostty_cell_get(cell, lib.GHOSTTY_CELL_DATA_COLOR_PALETTE, index), "colour")
        return b"\x1b[48;5;%dm" % index[0]
    if tag[0] == lib.GHOSTTY_CELL_CONTENT_BG_COLOR_RGB:
        rgb = ffi.new("GhosttyColorRgb*")
        check(lib.ghostty_cell_get(cell, lib.GHOSTTY_CELL_DATA_COLOR_RGB, rgb), "colour")
        return b"\x1b[48;2;%d;%d;%dm" % (rgb.r, rgb.g, rgb.b)
    return b""


def _whole_characters(data: bytes) -> int:
    """The length of ``data`` without a UTF-8 character that has begun at its end."""
    for back in range(1, min(3, len(data)) + 1):
        byte = data[-back]
        if byte >= 0xC0:
            length = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return len(data) - back if back < length else len(data)
        if byte < 0x80:
            break
    return len(data)


def _with_origin(state: bytes) -> bytes:
    """With origin mode on, rows count from the top of the scrolling region."""
    region = re.search(rb"\x1b\[(\d+);\d+r", state)
    top = int(region[1]) if region else 1
    return re.sub(
        rb"\x1b\[(\d+);(\d+)H",
        lambda place: b"\x1b[?6h\x1b[%d;%sH" % (max(1, int(place[1]) - top + 1), place[2]),
        state,
        count=1,
    )
