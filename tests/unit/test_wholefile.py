"""What was said to be written is there, whole, whenever the machine loses its power."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from terminals.wholefile import write_whole


@pytest.fixture
def done(monkeypatch):
    """What was done to the disk, in order."""
    done = []
    fsync, replace = os.fsync, Path.replace

    def synced(fd):
        done.append(("sync", Path(f"/proc/self/fd/{fd}").readlink().name))
        fsync(fd)

    def replaced(self, target):
        done.append(("rename", Path(target).name))
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", replaced)
    return done


def test_bytes_then_name_then_the_folder_that_the_name_is_in(tmp_path, done):
    path = tmp_path / "state" / "revoked.json"
    path.parent.mkdir()
    write_whole(path, b"old")
    done.clear()
    write_whole(path, b"new")
    assert done == [("sync", ".revoked.json.new"), ("rename", "revoked.json"), ("sync", "state")]
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_what_cannot_be_written_leaves_the_old_one_and_no_half(tmp_path, monkeypatch, step):
    path = tmp_path / "table"
    write_whole(path, b"old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(*((os, "fsync") if step == "fsync" else (Path, "replace")), full)
    with pytest.raises(OSError, match="No space left"):
        write_whole(path, b"new")
    assert [one.name for one in tmp_path.iterdir()] == ["table"]
    assert path.read_bytes() == b"old"
