"""What a child does in a session's folder: done twice, killed in between, or with somebody in the way."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from terminals.manager import filechild
from terminals.manager.filechild import finish, open_part, remove

PART = ".upload-transfer-1.part"


class Open:
    """A folder with a part file that is open."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.where, self.file = open_part(str(folder), 0, PART)

    def names(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir())

    def finish(self, name: str = "a.txt") -> str:
        return finish(self.where, self.file, name, PART)

    def close(self) -> None:
        os.close(self.where)
        os.close(self.file)


@pytest.fixture
def part(tmp_path) -> Iterator[Open]:
    found = Open(tmp_path)
    os.write(found.file, b"content")
    yield found
    found.close()


@pytest.fixture(params=["links", "no links"])
def links(request, monkeypatch):
    """With hard links, and on a file system that has none."""
    if request.param == "no links":

        def none(*_: object, **__: object) -> None:
            raise OSError(1, "Operation not permitted")

        monkeypatch.setattr(filechild.os, "link", none)


def test_it_gets_the_name_and_the_mode_that_new_files_have(part, links):
    assert part.finish() == "a.txt"
    assert part.names() == ["a.txt"]
    found = (part.folder / "a.txt").stat()
    mask = os.umask(0o022)
    os.umask(mask)
    assert stat.S_IMODE(found.st_mode) == 0o666 & ~mask
    assert (part.folder / "a.txt").read_text() == "content"


def test_done_twice_it_is_there_once(part, links):
    """As where a session manager is killed before it has heard that it is done."""
    assert [part.finish(), part.finish()] == ["a.txt", "a.txt"]
    assert part.names() == ["a.txt"]


def test_killed_between_the_two_names_it_is_there_once(part):
    os.link(part.folder / PART, part.folder / "a.txt")
    assert part.finish() == "a.txt"
    assert part.names() == ["a.txt"]


def test_done_twice_under_another_name_it_is_there_once(part, links):
    (part.folder / "a.txt").write_text("mine")
    assert [part.finish(), part.finish()] == ["a (1).txt", "a (1).txt"]
    assert part.names() == ["a (1).txt", "a.txt"]
    assert (part.folder / "a.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("taken", "name"), [("a", "a (1)"), (".bashrc", ".bashrc (1)"), ("a.tar.gz", "a.tar (1).gz")]
)
def test_a_number_goes_before_the_suffix(part, taken, name):
    (part.folder / taken).touch()
    assert part.finish(taken) == name


def test_somebody_who_is_faster_loses_nothing(part, links, monkeypatch):
    """Between the look and the taking of a name."""
    look, first = filechild._lstat, []

    def late(where: int, name: str) -> os.stat_result | None:
        found = look(where, name)
        if name == "a.txt" and not first:
            first.append(name)
            (part.folder / name).write_text("mine")
            return None
        return found

    monkeypatch.setattr(filechild, "_lstat", late)
    assert part.finish() == "a (1).txt"
    assert (part.folder / "a.txt").read_text() == "mine"


def test_opened_again_it_is_what_it_was(part):
    again = Open(part.folder)
    assert os.pread(again.file, 100, 0) == b"content"
    again.close()


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to("/dev/null")])
def test_what_is_no_file_is_not_opened(tmp_path, make):
    make(tmp_path / PART)
    with pytest.raises(OSError):
        open_part(str(tmp_path), 0, PART)


def test_a_link_is_not_followed(tmp_path):
    (tmp_path / "precious").write_text("precious")
    (tmp_path / PART).symlink_to("precious")
    with pytest.raises(OSError, match="symbolic links"):
        open_part(str(tmp_path), 0, PART)


def test_a_file_with_another_name_is_not_opened(tmp_path):
    (tmp_path / "precious").write_text("precious")
    os.link(tmp_path / "precious", tmp_path / PART)
    with pytest.raises(FileExistsError, match="something else is in its place"):
        open_part(str(tmp_path), 0, PART)


def test_what_has_taken_the_place_of_a_part_file_is_not_removed(part):
    (part.folder / PART).unlink()
    (part.folder / PART).write_text("mine")
    remove(part.where, part.file, PART)
    assert (part.folder / PART).read_text() == "mine"


def test_a_part_file_that_somebody_has_removed_gets_no_name(part):
    (part.folder / PART).unlink()
    with pytest.raises(FileNotFoundError):
        part.finish()
    assert part.names() == []
