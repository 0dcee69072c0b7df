"""Files that are dropped on a terminal, on a real stack of processes."""

from __future__ import annotations

import json
import os
import pwd
import stat
import statistics
import time
from pathlib import Path

import pytest
from terminals.client import Terminal, TransferRefused
from terminals.protocol.transfer import PIECE, WINDOW, TransferError

from tests.support.disk import small_disk
from tests.support.files import enter, material
from tests.support.stack import Stack, running, until

FILES = {"upload": True, "download": True, "max_bytes": 1 << 31, "at_once": 3}
SHELL = ["env", "TERM=dumb", "bash", "--norc", "--noprofile"]
KIB = 1 << 10


@pytest.fixture(scope="module")
def stack():
    with running(
        profiles={
            "system": {"command": SHELL, "files": FILES},
            "claude": {"command": SHELL},
        }
    ) as stack:
        yield stack


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "where the shell is"
    folder.mkdir()
    return folder


@pytest.fixture
def terminal(stack, folder):
    with enter(stack, folder) as terminal:
        yield terminal


def test_a_file_is_put_where_the_shell_is(terminal, folder, tmp_path):
    source = material(tmp_path / "notes.txt", 300 * KIB + 7)
    assert terminal.upload(source) == "notes.txt"
    assert (folder / "notes.txt").read_bytes() == source.read_bytes()
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]


def test_a_file_of_no_bytes_is_put_there_too(terminal, folder, tmp_path):
    assert terminal.upload(material(tmp_path / "empty", 0)) == "empty"
    assert (folder / "empty").read_bytes() == b""


def test_nothing_is_ever_overwritten(terminal, folder, tmp_path):
    (folder / "notes.txt").write_text("mine")
    (folder / "notes (1).txt").symlink_to("/etc/hostname")
    source = material(tmp_path / "notes.txt", 10)
    assert terminal.upload(source) == "notes (2).txt"
    assert (folder / "notes.txt").read_text() == "mine"
    assert (folder / "notes (2).txt").read_bytes() == source.read_bytes()


@pytest.mark.parametrize(
    ("name", "there"),
    [
        ("../../escape", "escape"),
        ("/etc/passwd", "passwd"),
        ("..", "upload"),
        ("a\0b\nc\x1b[2J", "abc[2J"),
        ("C:\\Users\\me\\report.pdf", "report.pdf"),
        ("x" * 4000 + ".txt", "x" * 196 + ".txt"),
        ("harmless\u202ecod.exe", "harmlesscod.exe"),
        ("-rf", "-rf"),
    ],
)
def test_a_name_is_no_path(terminal, folder, tmp_path, name, there):
    assert terminal.upload(material(tmp_path / "x", 5), name) == there
    assert [path.name for path in folder.iterdir()] == [there]


@pytest.mark.parametrize("kind", ["symlink", "fifo", "device"])
def test_what_lies_in_the_part_files_place_is_not_followed(terminal, folder, tmp_path, kind):
    part = folder / ".upload-transfer-1.part"
    target = tmp_path / "precious"
    target.write_text("precious")
    if kind == "symlink":
        part.symlink_to(target)
    elif kind == "fifo":
        os.mkfifo(part)
    else:
        part.symlink_to("/dev/full")
    with pytest.raises(TransferRefused) as refused:
        terminal.upload(material(tmp_path / "x", 5), transfer_id="transfer-1")
    assert refused.value.code == TransferError.NOT_WRITABLE
    assert target.read_text() == "precious"


def test_a_folder_that_is_not_the_accounts_is_a_clear_error(terminal, tmp_path):
    terminal.send(b"cd /proc; echo there-$((1+1))\n")
    terminal.expect(rb"there-2")
    with pytest.raises(TransferRefused, match="the folder there: "):
        terminal.upload(material(tmp_path / "x", 5))


def test_watchers_upload_nothing(stack, terminal, tmp_path):
    watcher = stack.terminal(session=terminal.session, watch=True)
    watcher.open()
    assert watcher.attached.files is None
    with pytest.raises(TransferRefused, match=TransferError.FORBIDDEN):
        watcher.upload(material(tmp_path / "x", 5))
    # And one that asks all the same is told the same.
    channel = 200
    said = {
        "type": "upload",
        "channel": channel,
        "terminal": 0,
        "transfer": "transfer-1",
        "name": "x",
        "bytes": 5,
    }
    told = asked(watcher, said)
    assert (told["type"], told["channel"], told["code"]) == ("failed", channel, TransferError.GONE)
    watcher.close()


def asked(terminal: Terminal, message: dict[str, object]) -> dict[str, object]:
    """Say something that no client of ours would, and what is answered."""
    link = terminal._link
    assert link is not None
    link.send(json.dumps(message).encode(), text=True)
    while True:
        for answer in link.receive(20.0):
            if isinstance(answer, str) and (told := json.loads(answer)).get("channel") == message["channel"]:
                return told


def test_a_profile_that_does_not_allow_it_takes_no_file(stack, tmp_path):
    with stack.terminal("claude") as terminal:
        assert terminal.attached.files is None
        told = asked(
            terminal,
            {
                "type": "upload",
                "channel": 9,
                "terminal": 0,
                "transfer": "transfer-1",
                "name": "x",
                "bytes": 5,
            },
        )
        assert told["code"] == TransferError.FORBIDDEN


def test_more_bytes_than_are_allowed_are_refused_by_the_server_too(terminal, tmp_path):
    said = {"type": "upload", "channel": 9, "terminal": 0, "transfer": "transfer-1", "name": "x"}
    told = asked(terminal, {**said, "bytes": (1 << 31) + 1})
    assert told["code"] == TransferError.TOO_LARGE


def test_more_at_once_than_are_allowed_are_refused_by_the_server_too(terminal, folder):
    for number in range(3):
        said = {"type": "upload", "channel": 9 + number, "terminal": 0, "name": "x", "bytes": 5}
        assert asked(terminal, {**said, "transfer": f"transfer-{number}"})["type"] == "uploading"
    told = asked(terminal, {**said, "channel": 99, "transfer": "transfer-9"})
    assert told["code"] == TransferError.TOO_MANY


def test_what_is_cancelled_leaves_nothing(terminal, folder, tmp_path):
    upload = terminal.files.upload(material(tmp_path / "x", 8 << 20))
    until(lambda: terminal.pump(0.1) or upload.done, "some of it is there")
    assert [path.name for path in folder.iterdir()] == [f".upload-{upload.id}.part"]
    terminal.files.cancel(upload.id)
    until(lambda: not [*folder.iterdir()], "nothing is there")


def test_a_session_that_ends_leaves_no_half_of_a_file(stack, folder, tmp_path):
    terminal = enter(stack, folder)
    upload = terminal.files.upload(material(tmp_path / "x", 8 << 20))
    until(lambda: terminal.pump(0.1) or upload.done, "some of it is there")
    terminal.close(kill=True)
    until(lambda: not [*folder.iterdir()], "nothing is there")


def test_a_new_client_goes_on_where_another_was(stack, terminal, folder, tmp_path):
    source = material(tmp_path / "x", 8 << 20)
    upload = terminal.files.upload(source, transfer_id="transfer-1")
    until(lambda: terminal.pump(0.1) or upload.done > 1 << 20, "some of it is there")
    second = stack.terminal(session=terminal.session)
    second.open()
    again = second.files.upload(source, transfer_id="transfer-1")
    second.pump(5.0)
    until(lambda: second.pump(0.1) or again.done, "it goes on")
    assert again.done >= 1 << 20, "it has begun anew"
    second.wait_for(again, 60)
    assert (folder / "x").read_bytes() == source.read_bytes()
    second.close()


def test_an_upload_that_its_client_has_not_heard_of_is_there_once(stack, terminal, folder, tmp_path):
    source = material(tmp_path / "x", 300 * KIB)
    terminal.upload(source, transfer_id="transfer-1")
    second = stack.terminal(session=terminal.session)
    second.open()
    assert second.upload(source, transfer_id="transfer-1") == "x"
    assert [path.name for path in folder.iterdir()] == ["x"]
    second.close()


def test_a_file_that_has_changed_on_its_way_is_kept_nowhere(terminal, folder, tmp_path):
    source = material(tmp_path / "x", 4 << 20)
    upload = terminal.files.upload(source)
    until(lambda: terminal.pump(0.1) or upload.done, "some of it is there")
    with source.open("r+b") as file:
        file.write(b"other")
    with pytest.raises(TransferRefused, match=TransferError.CHECKSUM):
        terminal.wait_for(upload, 60)
    until(lambda: not [*folder.iterdir()], "nothing is there")


def test_typing_waits_behind_no_more_of_an_upload_than_a_window(terminal, tmp_path):
    """On the same connection: about as long as a window takes at the speed of that upload."""

    def echo(count: int) -> float:
        taken = []
        for number in range(count):
            began = time.perf_counter()
            terminal.send(f"echo x{number}-$((1+1))\n".encode())
            terminal.expect(f"x{number}-2\r?\n".encode())
            taken.append(time.perf_counter() - began)
        return statistics.median(taken)

    alone = echo(20)
    source = tmp_path / "x"
    with source.open("wb") as file:
        file.truncate(1 << 30)
    upload = terminal.files.upload(source)
    until(lambda: terminal.pump(0.1) or upload.done, "some of it is there")
    had, began = upload.done, time.perf_counter()
    beside = echo(10)
    speed = (upload.done - had) / (time.perf_counter() - began)
    assert not upload.over
    assert beside < 4 * (alone + (WINDOW + PIECE) / speed)
    terminal.files.cancel(upload.id)


@pytest.fixture
def disk(folder):
    with small_disk(folder, 2) as disk:
        yield disk


def test_a_full_disk_is_a_clear_error_and_nothing_is_left_on_it(disk, terminal, folder, tmp_path):
    with pytest.raises(TransferRefused, match="No space left on device") as refused:
        terminal.upload(material(tmp_path / "x", 4 << 20))
    assert refused.value.code == TransferError.NO_ROOM
    until(lambda: not [*folder.iterdir()], "nothing is there")
    assert terminal.upload(material(tmp_path / "x", 1 << 20)) == "x"


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
def test_what_is_uploaded_to_another_accounts_shell_is_its_own(tmp_path):
    account = pwd.getpwnam("nobody")
    stack = Stack(
        profiles={"system": {"command": SHELL, "files": FILES, "user": "nobody", "cwd": "/"}},
        listeners={name: {"host": "127.0.0.1", "port": 0} for name in ("system", "web")},
    )
    try:
        stack.root.chmod(0o711)
        stack.start_generation("g1", weight=100)
        folder = stack.root / "there"
        folder.mkdir()
        os.chown(folder, account.pw_uid, -1)
        with enter(stack, folder) as terminal:
            assert terminal.upload(material(tmp_path / "x", 300 * KIB)) == "x"
            found = (folder / "x").stat()
            assert (found.st_uid, found.st_size) == (account.pw_uid, 300 * KIB)
            folder.chmod(0o555)
            with pytest.raises(TransferRefused, match="Permission denied"):
                terminal.upload(material(tmp_path / "y", 5))
            # Nobody else gets at what is beside the socket that it comes to.
            assert stat.S_IMODE(stack.root.joinpath("run").stat().st_mode) == 0o711
            assert stat.S_IMODE(Path(stack.socket).stat().st_mode) & 0o077 == 0
    finally:
        stack.close()
