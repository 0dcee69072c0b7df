"""A snapshot makes another terminal the same: what it shows, and what it will show next."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from terminals.protocol.messages import MAX_SNAPSHOT
from terminals.screens.emulator import HISTORY_LINES, Emulator, ScreenTooLarge

from tests.support.tiers import examples

COLS, ROWS = 24, 6
JUNK = b"\x1b[?1049h junk \x1b[?25l\x1b[3;4r\x1b[?6h\x1b[?1000h\x1b[?7l\x1b[1;35m\x1b(0 junk"
"""What the terminal of somebody who comes back may be in: anything."""

text = st.text(st.sampled_from("ab \u20ac\u4e2d\U0001f600"), min_size=1, max_size=40).map(str.encode)
number = st.integers(1, 9)
sequences = st.one_of(
    text,
    st.just(b"\r\n"),
    st.sampled_from([b"\r", b"\n", b"\b", b"\t", b"\x1b7", b"\x1b8", b"\x1bM", b"\x1bD"]),
    st.builds(lambda row, col: b"\x1b[%d;%dH" % (row, col), number, number),
    st.builds(lambda a, b: b"\x1b[%d;%dr" % (min(a, b, 5), max(a, b)), number, number),
    st.builds(lambda n, what: b"\x1b[%d%c" % (n, what), number, st.sampled_from(b"ABCDGLMPXST@")),
    st.builds(lambda n: b"\x1b[%dJ" % n, st.integers(0, 2)),
    st.builds(lambda n: b"\x1b[%dK" % n, st.integers(0, 2)),
    st.builds(lambda n: b"\x1b[%dm" % n, st.sampled_from([0, 1, 3, 4, 7, 31, 42, 95])),
    st.sampled_from([b"\x1b[38;5;200m", b"\x1b[48;2;1;2;3m", b"\x1b]0;title\x07", b"\x1b(0", b"\x1b(B"]),
    st.builds(
        lambda mode, on: b"\x1b[?%d%c" % (mode, b"lh"[on]),
        st.sampled_from([1, 6, 7, 25, 1000, 1002, 1006, 2004]),
        st.booleans(),
    ),
    st.sampled_from([b"\x1b[?1049h", b"\x1b[?1049l", b"\x1b[4h", b"\x1b[4l"]),
)

programs = st.lists(sequences, max_size=40).map(b"".join)


MODES = (1, 6, 7, 25, 1000, 1002, 1003, 1006, 2004)


def looks(emulator: Emulator) -> tuple:
    """What a person sees, and what decides how the next output is taken."""
    terminal = emulator._terminal
    lines = terminal.text().split("\n")
    cells = []
    for row in range(ROWS):
        for col in range(COLS):
            style = terminal.style(col, row)
            blank = row >= len(lines) or not lines[row][col : col + 1].strip()
            # Of a cell without a character only what shows makes a difference.
            shown = ("bg",) if blank else style
            cells.append({name: style[name] for name in shown})
    private = [terminal.mode(mode) for mode in MODES]
    alternate = terminal.get("active_screen", "GhosttyTerminalScreen")
    return (
        [line.rstrip() for line in "\n".join(lines).rstrip().split("\n")],
        terminal.cursor,
        cells,
        private,
        terminal.mode(4, True),
        alternate,
    )


def restored(original: Emulator) -> Emulator:
    other = Emulator(COLS, ROWS)
    other.feed(JUNK)
    other.feed(original.snapshot())
    return other


@settings(max_examples=examples(200), derandomize=True)
@given(before=programs, cut=st.integers(0, 12), after=programs)
@example(
    before=b"one\r\n$ vim\x1b[?1049h\x1b[2;5r\x1b[?6h\x1b[2;3Hedit", cut=0, after=b"\r\n\r\n\x1b[?1049lback"
)
@example(before=b"abc \x1b[38;5;200mdef", cut=9, after=b"ghi")
@example(before="abc \u20ac".encode(), cut=2, after=b"d")
def test_a_snapshot_taken_anywhere_restores_and_goes_on_the_same(before, cut, after):
    # Cut off somewhere inside the last sequence: its rest comes after the snapshot.
    at = max(0, len(before) - cut)
    original = Emulator(COLS, ROWS)
    original.feed(before[:at])
    first = looks(original)
    assert looks(original) == first  # looking changes nothing
    other = restored(original)
    assert looks(other) == first
    for emulator in (original, other):
        emulator.feed(before[at:])
        emulator.feed(after)
    assert looks(other) == looks(original)


def test_a_program_that_leaves_the_alternate_screen_finds_the_one_beneath():
    original = Emulator(COLS, ROWS)
    original.feed(b"before\r\n$ vim\x1b[?1049h\x1b[2J\x1b[Hall mine")
    other = restored(original)
    assert other._terminal.text().rstrip() == "all mine"
    other.feed(b"\x1b[?1049l!")
    assert other._terminal.text().rstrip() == "before\n$ vim!"


def test_lines_above_the_screen_come_along_but_not_without_end():
    original = Emulator(COLS, ROWS)
    original.feed(b"".join(b"line %d\r\n" % number for number in range(20_000)))
    other = restored(original)
    lines = other._terminal.contents().split("\n")
    assert lines[-2:] == ["line 19998", "line 19999"] or "line 19999" in lines[-3:]
    assert len(original.snapshot()) < 1 << 16
    assert len([line for line in lines if line.startswith("line")]) >= HISTORY_LINES // 2


@pytest.mark.parametrize("size", [(1, 1), (200, 60), (1000, 1000)])
def test_any_size_that_the_protocol_allows(size):
    emulator = Emulator(*size)
    emulator.feed(b"hello\r\n" * 10)
    emulator.resize(80, 24)
    emulator.resize(*size)
    assert emulator.snapshot()


@settings(max_examples=examples(200), derandomize=True)
@given(st.binary(max_size=400))
def test_no_output_of_a_shell_breaks_it(data):
    emulator = Emulator(COLS, ROWS)
    emulator.feed(data)
    assert emulator.snapshot()


@pytest.mark.parametrize("size", [(COLS, ROWS), (400, 200)])
def test_what_was_erased_in_a_colour_is_so_again_and_costs_little(size):
    cols, rows = size
    original, other = Emulator(*size), Emulator(*size)
    original.feed(
        b"\x1b[42m\x1b[2J\x1b[3;4H\x1b[48;2;1;2;3m\x1b[5X\x1b[0m\x1b[5;1H\x1b[2Kplain\x1b[44m\x1b[K"
    )
    snapshot = original.snapshot()
    other.feed(snapshot)
    for row in (0, 1, 2, 3, 4, 5, rows - 1):
        for col in (*range(12), cols - 1):
            colours = [emulator._terminal.style(col, row)["bg"] for emulator in (original, other)]
            assert colours[0] == colours[1], (row, col)
    # A row is said by what changes in it, not cell by cell.
    assert len(snapshot) < 40 * rows + 1000


def colourful(cols: int, lines: int) -> bytes:
    """Each cell in a colour of its own, before and behind."""
    return b"\r\n".join(
        b"".join(
            b"\x1b[38;2;%d;%d;%d;48;2;%d;%d;%dmx" % (line % 256, col % 256, 101, 255, col % 256, line % 256)
            for col in range(100, 100 + cols)
        )
        for line in range(100, 100 + lines)
    )


def test_what_is_too_much_is_shown_with_fewer_lines_above():
    emulator = Emulator(200, 50)
    emulator.feed(colourful(200, 230) + b"\x1b[0m\r\nlast line")
    whole = emulator._painted(HISTORY_LINES)
    snapshot = emulator.snapshot()
    assert len(snapshot) <= MAX_SNAPSHOT < len(whole)
    other = Emulator(200, 50)
    other.feed(snapshot)
    assert other._terminal.text() == emulator._terminal.text()
    kept = other._terminal.get("scrollback_rows", "size_t")
    assert 0 < kept < emulator._terminal.get("scrollback_rows", "size_t")
    # The last of them, not the first.
    total = emulator._terminal.get("scrollback_rows", "size_t")
    above, shown = emulator._format("history", total), other._format("history", kept)
    assert above.endswith(shown[-2000:])


def test_a_screen_that_is_too_large_without_any_is_none():
    emulator = Emulator(300, 160)
    emulator.feed(colourful(300, 160))
    with pytest.raises(ScreenTooLarge):
        emulator.snapshot()
    emulator.feed(b"\x1b[2J\x1b[Hsmall again")
    assert b"small again" in emulator.snapshot()


def test_lines_above_the_screen_come_along_under_an_alternate_screen_too():
    emulator = Emulator(40, 6)
    emulator.feed(b"".join(b"line %d\r\n" % number for number in range(100)) + b"\x1b[?1049h\x1b[2Jvim")
    other = Emulator(40, 6)
    other.feed(emulator.snapshot() + b"\x1b[?1049l")
    assert b"line 20" in other._format("history", other._terminal.get("scrollback_rows", "size_t"))
