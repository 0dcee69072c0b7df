"""Screens of other hosts' sessions: what is taken, what is kept, and what never leaves its folder."""

from __future__ import annotations

import os
import shutil
import zlib
from pathlib import Path

import pytest
from msgspec.structs import replace
from terminals.cluster import lastscreens
from terminals.cluster.lastscreens import (
    MAX_COPY,
    SETTLED_SECONDS,
    LastScreens,
    NotKept,
    ScreenCopy,
    packed,
    unpacked,
)
from terminals.control.framing import pack
from terminals.protocol.ids import new_session_id
from terminals.protocol.messages import MAX_LAST_SCREEN

SESSION = "session_1795985416113_bbbb09xxonp0rug8gkqwa"
OTHER = "session_1795985416468_bbbb0ruaa2cuvi1lmbh9p"


def screen(session: str = SESSION, at: float = 1.0) -> ScreenCopy:
    return ScreenCopy(id=session, user="ada", profile="system", epoch="e", output=7, at=at, cols=80, rows=24)


def everything(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_what_is_taken_is_found_and_what_comes_later_takes_its_place(tmp_path):
    kept = LastScreens(tmp_path)
    assert kept.find("bbbb", SESSION) is None
    kept.take("bbbb", packed(screen(), b"words"))
    kept.take("bbbb", packed(screen(OTHER), b"x" * MAX_LAST_SCREEN))
    kept.take("bbbb", packed(screen(at=2.0), b"other words"))
    assert kept.find("bbbb", SESSION) == (screen(at=2.0), b"other words")
    assert kept.find("cccc", SESSION) is None
    (folder,) = (tmp_path / "screens").iterdir()
    assert folder.stat().st_mode & 0o777 == 0o700
    assert everything(tmp_path) == sorted(f"screens/bbbb/{name}" for name in (SESSION, OTHER))


BOMB = zlib.compress(bytes(MAX_LAST_SCREEN + 1))


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "no screen"),
        (b"\n", "no screen"),
        (b"{}\n" + zlib.compress(b""), "no screen"),
        (pack(screen()) + b"\nplain", "no screen"),
        (packed(screen(), b"words")[:-1], "cut"),
        (packed(screen(), b"words") + b"more", "cut"),
        (packed(replace(screen(), user="u" * MAX_COPY), b""), "at most"),
        (packed(replace(screen(), cols=0), b""), "no terminal has 0 columns"),
        (packed(replace(screen(), rows=1001), b""), "no terminal has"),
        (pack(screen()) + b"\n" + BOMB, "more than 65536 bytes"),
        (packed(screen("../../../etc/passwd"), b""), "no session's id"),
        (packed(screen(""), b""), "no session's id"),
        (packed(screen(SESSION + ".new"), b""), "no session's id"),
        (packed(screen("old-name"), b""), "no session's id"),
    ],
    ids=lambda value: value if isinstance(value, str) else "body",
)
def test_what_is_no_screen_of_a_session_is_not_taken(tmp_path, body, words):
    with pytest.raises(NotKept, match=words):
        LastScreens(tmp_path).take("bbbb", body)
    assert everything(tmp_path) == []


@pytest.mark.parametrize("tag", ["..", "", "bbb", "../x", "BBBB"])
def test_who_has_no_tag_has_no_folder(tmp_path, tag):
    with pytest.raises(NotKept):
        LastScreens(tmp_path).take(tag, packed(screen(), b""))
    assert LastScreens(tmp_path).find(tag, SESSION) is None
    assert everything(tmp_path) == []


def test_of_one_host_so_many_are_kept_and_each_of_those_is_renewed(tmp_path, monkeypatch):
    monkeypatch.setattr(lastscreens, "MAX_SCREENS", 2)
    kept = LastScreens(tmp_path)
    for session in (SESSION, OTHER):
        kept.take("bbbb", packed(screen(session), b""))
    with pytest.raises(NotKept, match="2 screens of this host"):
        kept.take("bbbb", packed(screen(new_session_id("bbbb").value), b""))
    kept.take("bbbb", packed(screen(OTHER), b"new"))
    kept.take("cccc", packed(screen(new_session_id("cccc").value), b""))
    assert kept.find("bbbb", OTHER) == (screen(OTHER), b"new")


def test_the_disk_of_this_host_s_own_shells_is_not_filled(tmp_path, monkeypatch):
    kept = LastScreens(tmp_path)
    monkeypatch.setattr(lastscreens, "MIN_FREE", shutil.disk_usage(tmp_path).total)
    with pytest.raises(NotKept, match="hardly any room"):
        kept.take("bbbb", packed(screen(), b""))
    assert everything(tmp_path) == []


def aged(path: Path) -> None:
    """Of a time before what was said last."""
    os.utime(path, (path.stat().st_atime, path.stat().st_mtime - SETTLED_SECONDS - 1))


def test_what_has_ended_is_forgotten_what_is_missing_is_said_and_what_is_new_stays(tmp_path):
    kept = LastScreens(tmp_path)
    for tag, session in (("bbbb", SESSION), ("bbbb", OTHER), ("cccc", OTHER)):
        kept.take(tag, packed(screen(session), b""))
    folder = tmp_path / "screens" / "bbbb"
    left, written = folder / f"{OTHER}.new1", folder / f"{SESSION}.new7"
    for path in (left, written):
        path.write_bytes(b"half of it")
    assert kept.only("bbbb", {SESSION, "another"}) == ["another"]
    assert len(everything(folder)) == 4, "they may have begun since that was said"
    for path in (folder / OTHER, folder / SESSION, left):
        aged(path)
    assert kept.only("bbbb", {SESSION}) == []
    assert everything(tmp_path / "screens") == [f"bbbb/{SESSION}", f"bbbb/{written.name}", f"cccc/{OTHER}"]
    assert kept.tags() == ["bbbb", "cccc"]
    kept.drop("bbbb")
    assert kept.only("bbbb", {SESSION}) == [SESSION]
    assert kept.only("..", set()) == []
    kept.drop("..")
    assert kept.tags() == ["cccc"]
    kept.of_these_only(["bbbb", "cccc"])
    assert everything(tmp_path / "screens") == [f"cccc/{OTHER}"]
    kept.of_these_only([])
    assert kept.tags() == everything(tmp_path / "screens") == []
    LastScreens(tmp_path / "nothing").of_these_only([])


def test_what_cannot_be_written_leaves_what_was_there(tmp_path, monkeypatch):
    kept = LastScreens(tmp_path)
    kept.take("bbbb", packed(screen(), b"words"))

    def full(path: Path, data: bytes) -> int:
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY))
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        kept.take("bbbb", packed(screen(), b"other words"))
    assert kept.find("bbbb", SESSION) == (screen(), b"words")
    assert everything(tmp_path) == [f"screens/bbbb/{SESSION}"]


def test_a_file_that_was_damaged_is_no_screen(tmp_path):
    kept = LastScreens(tmp_path)
    kept.take("bbbb", packed(screen(), b"words"))
    path = tmp_path / "screens" / "bbbb" / SESSION
    path.write_bytes(path.read_bytes()[:-2])
    assert kept.find("bbbb", SESSION) is None
    assert unpacked(packed(screen(), b"")) == (screen(), b"")
