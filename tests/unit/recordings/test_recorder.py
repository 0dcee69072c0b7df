"""What a recorder writes is what was printed, whatever that is, and wherever the recorder is killed."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from terminals.manager.ring import Ring, RingReader, Word
from terminals.recordings import asciicast
from terminals.recordings.asciicast import About, Header, Mark, Term, last_mark, read_header
from terminals.recordings.packets import Begin
from terminals.recordings.recorder import Full, Recording

from tests.support.casts import Cast, cast_at
from tests.support.tiers import examples

CAPACITY = 1 << 16
HEADER = Header(
    term=Term(cols=80, rows=24, type="xterm-256color"),
    timestamp=1_700_000_000,
    title="a title",
    terminals=About(session="session_1700000000000_abcdefghi", user="ada", profile="system", required=True),
)


class Tape:
    """A ring, a file, and a clock that stands where it is put."""

    def __init__(self, folder: Path, *, start: int = 0, limit: int = 0) -> None:
        self.ring = Ring.create(folder / "a.ring", CAPACITY)
        self.path = folder / "a.cast"
        self.now = 100.0
        self.begin = Begin(key="a", header=HEADER, since=100.0, start=start, limit=limit)

    def recording(self) -> Recording:
        """By another recorder."""
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND
        return Recording(
            self.begin, os.open(self.path, flags), RingReader(self.ring.share()), lambda: self.now
        )

    def advance(self, recording: Recording) -> None:
        """Have it take all there is."""
        recording.advance(self.ring.head, ended=bool(self.ring.words[Word.ENDED]))

    def go_on(self) -> None:
        """Have another recorder take all there is."""
        recording = self.recording()
        self.advance(recording)
        recording.close()

    def record(self) -> Cast:
        """What has been recorded then."""
        self.go_on()
        return cast_at(self.path)


@pytest.fixture
def tape(tmp_path) -> Tape:
    return Tape(tmp_path)


def test_a_recording_from_its_header_to_the_shells_end(tape):
    tape.ring.append(b"$ ")
    recording = tape.recording()
    tape.advance(recording)
    tape.now = 101.5
    tape.ring.append("d\x1b[1m\xe9\r\n\u2028# offset 9\n".encode())
    tape.advance(recording)
    recording.resize(tape.ring.head, 100, 30)
    tape.now = 103.0
    tape.ring.append(b"bye")
    tape.ring.end(-9)
    tape.advance(recording)
    assert recording.said.ended
    recording.close()
    cast = cast_at(tape.path)
    assert cast.header == {
        "version": 3,
        "term": {"cols": 80, "rows": 24, "type": "xterm-256color"},
        "timestamp": 1_700_000_000,
        "title": "a title",
        "terminals": {
            "session": "session_1700000000000_abcdefghi",
            "user": "ada",
            "profile": "system",
            "required": True,
        },
    }
    assert cast.events == [
        (0.0, "o", "$ "),
        (1.5, "o", "d\x1b[1m\xe9\r\n\u2028# offset 9\n"),
        (3.0, "r", "100x30"),
        (3.0, "o", "bye"),
        (3.0, "x", "137"),
    ]


def test_what_is_over_is_not_written_to_again(tape):
    tape.ring.end(0)
    tape.record()
    before = tape.path.read_bytes()
    assert tape.record().of("x") == ["0"]
    assert tape.path.read_bytes() == before


def test_intervals_add_up_to_the_time_that_has_passed(tape):
    """Each is rounded to a microsecond, from where the one before was rounded to."""
    recording = tape.recording()
    for count in range(1, 4000):
        tape.now = 100 + count / 3000
        tape.ring.append(b"x")
        tape.advance(recording)
    recording.close()
    assert cast_at(tape.path).events[-1][0] == pytest.approx(3999 / 3000, abs=2e-6)


def test_a_size_that_it_has_already_is_no_event(tape):
    recording = tape.recording()
    for size in ((80, 24), (90, 24), (90, 24), (80, 24)):
        recording.resize(tape.ring.head, *size)
    tape.ring.append(b"x")
    tape.advance(recording)
    recording.close()
    assert cast_at(tape.path).of("r") == ["90x24", "80x24"]


def test_a_size_of_the_last_moment_comes_before_the_end(tape):
    recording = tape.recording()
    tape.ring.append(b"bye")
    recording.resize(tape.ring.head, 90, 30)
    tape.ring.end(0)
    tape.advance(recording)
    recording.close()
    assert [code for _, code, _ in cast_at(tape.path).events] == ["o", "r", "x"]


def test_a_size_in_the_middle_of_a_character(tape):
    recording = tape.recording()
    tape.ring.append("\u20ac".encode()[:2])
    tape.advance(recording)
    recording.resize(tape.ring.head, 90, 30)
    tape.advance(recording)
    tape.ring.append("\u20ac!".encode()[2:])
    tape.advance(recording)
    recording.close()
    assert [(code, data) for _, code, data in cast_at(tape.path).events] == [("r", "90x30"), ("o", "\u20ac!")]


def test_what_was_overwritten_is_said_to_be_missing(tape):
    tape.ring.append(b"first")
    tape.record()
    for _ in range(3):
        tape.ring.append(b"y" * (CAPACITY // 2))
    cast = tape.record()
    assert cast.of("m") == [f"{CAPACITY // 2} bytes were not recorded"]
    assert cast.text == "first" + "y" * CAPACITY


def test_a_character_across_the_end_of_the_ring(tape):
    """The last thing that the ring has room for, so that nothing can come to help."""
    tape.ring.append(b"x" * (CAPACITY - 2))
    tape.record()
    tape.ring.append("\u20ac".encode() * 21845)
    assert tape.record().text == "x" * (CAPACITY - 2) + "\u20ac" * 21845


def test_one_that_begins_later_has_nothing_of_before(tmp_path):
    tape = Tape(tmp_path, start=5)
    tape.ring.append(b"past, now")
    cast = tape.record()
    assert (cast.text, cast.of("m")) == (" now", [])


def test_one_that_is_gone_on_with_says_what_it_left_out(tape):
    tape.ring.append(b"first")
    tape.record()
    tape.ring.append(b"left out")
    tape.begin = Begin(key="a", header=HEADER, since=100.0, start=tape.ring.head, limit=0)
    tape.ring.append(b"again")
    cast = tape.record()
    assert (cast.text, cast.of("m")) == ("firstagain", ["8 bytes were not recorded"])


def test_a_recording_ends_at_its_limit_and_stays_so(tmp_path):
    tape = Tape(tmp_path, limit=20_000)
    recording = tape.recording()
    for _ in range(10):
        tape.ring.append(b"z" * 4000)
        with_room = tape.path.stat().st_size if tape.path.exists() else 0
        if with_room + 4100 > 20_000:
            break
        tape.advance(recording)
    with pytest.raises(Full):
        tape.advance(recording)
    recording.close()
    cast = cast_at(tape.path)
    assert cast.of("m") == ["it has the size that one recording may have"]
    assert 12_000 <= len(cast.text) < 20_000
    before = tape.path.read_bytes()
    with pytest.raises(Full):
        tape.record()
    assert tape.path.read_bytes() == before


def test_a_file_that_another_recorder_has_is_left_to_it(tape):
    other = os.open(tape.path, os.O_RDWR | os.O_CREAT)
    fcntl.flock(other, fcntl.LOCK_EX)
    recording = tape.recording()
    tape.ring.append(b"x")
    with pytest.raises(OSError, match="another recorder"):
        tape.advance(recording)
    assert tape.path.read_bytes() == b""
    os.close(other)
    tape.advance(recording)
    assert cast_at(tape.path).text == "x"


def test_what_is_no_recording_is_not_touched(tape):
    tape.path.write_bytes(b"somebody's own\n" * 1000)
    recording = tape.recording()
    with pytest.raises(OSError, match="no recording"):
        tape.advance(recording)
    assert tape.path.read_bytes() == b"somebody's own\n" * 1000


def test_a_disk_without_room_leaves_it_where_it_was(tape, monkeypatch):
    """Part of a batch goes out, and then nothing: the next try begins with cutting that off."""
    tape.ring.append(b"before")
    recording = tape.recording()
    tape.advance(recording)
    real, room = os.write, [7]

    def full(fd: int, data: bytes) -> int:
        if not room:
            raise OSError(28, "No space left on device")
        return real(fd, bytes(data)[: room.pop()])

    monkeypatch.setattr(os, "write", full)
    tape.ring.append(b", after")
    for _ in range(2):
        with pytest.raises(OSError, match="No space"):
            tape.advance(recording)
    monkeypatch.undo()
    tape.advance(recording)
    recording.close()
    cast = cast_at(tape.path)
    assert (cast.text, cast.of("m")) == ("before, after", [])


@settings(max_examples=examples(100), deadline=None)
@given(
    chunks=st.lists(st.binary(max_size=40) | st.text(max_size=12).map(str.encode), max_size=12),
    kills=st.data(),
    ended=st.booleans(),
)
@example(chunks=["\u20ac".encode()[:1], "\u20ac".encode()[1:], b"\xff\xe2\x82"], kills=None, ended=True)
def test_any_bytes_in_any_pieces_with_any_kills_are_one_text(tmp_path_factory, chunks, kills, ended):
    """A recorder that is killed has written any part of its last batch, be it nothing."""
    tape = Tape(tmp_path_factory.mktemp("tape"))
    acknowledged = 0
    for number, chunk in enumerate(chunks):
        tape.now += 0.5
        tape.ring.append(chunk)
        if ended and number == len(chunks) - 1:
            tape.ring.end(3)
        tape.go_on()
        size = tape.path.stat().st_size
        if kills is not None and kills.draw(st.booleans()):
            os.truncate(tape.path, kills.draw(st.integers(acknowledged, size)))
        else:
            acknowledged = size
    if ended:
        tape.ring.end(3)
    cast = tape.record()
    whole = b"".join(chunks)
    expected = whole.decode(errors="replace")
    if not ended:  # the beginning of a character waits for its end
        expected, _ = asciicast.decoded(whole)
    assert cast.text == expected
    assert cast.of("x") == (["3"] if ended else [])
    assert cast.of("m") == []
    tape.ring.remove()


def test_a_mark_is_found_in_what_a_large_batch_leaves_to_be_read(tape):
    """The worst: a whole batch of what takes six bytes each."""
    tape.ring.append(bytes(CAPACITY))
    cast = tape.record()
    assert cast.text == "\0" * CAPACITY
    assert tape.path.stat().st_size < asciicast.TAIL
    assert tape.record() == cast


@pytest.mark.parametrize(
    "tail", [b"", b"# offset 1", b'[0, "o", "# offset 1 elapsed 1 size 1x1"]\n', b"# offset 1 elapsed 2\n"]
)
def test_what_is_no_mark(tail):
    assert last_mark(tail) is None


@pytest.mark.parametrize("state", ["", "end", "full"])
def test_a_mark_says_where_a_recording_stands(state):
    mark = Mark(7, 8, (9, 10), state)
    assert last_mark(b"x\n" + Mark(1).encode() + mark.encode() + b"torn") == (
        mark,
        len(b"x\n" + Mark(1).encode() + mark.encode()),
    )


@pytest.mark.parametrize("start", [b"", b"{}\n", b'{"version":2}\n', HEADER.encode()[:-1], b"\xff\n"])
def test_what_is_no_header_of_ours(start):
    assert read_header(start) is None


def test_a_header_is_read_as_it_was_written():
    assert read_header(HEADER.encode() + b"more") == HEADER
