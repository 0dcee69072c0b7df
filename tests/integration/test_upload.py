"""Files that are dropped on a terminal, on a real stack of processes."""

from __future__ import annotations

import hashlib
import json
import random
from pathlib import Path

import pytest
from terminals.client import Terminal, TransferRefused
from terminals.protocol.backoff import Backoff
from terminals.protocol.transfer import TransferError

from tests.support.stack import TOKEN, Stack, until

FILES = {"upload": True, "download": True, "max_bytes": 1 << 31, "at_once": 3}
SHELL = ["env", "TERM=dumb", "bash", "--norc", "--noprofile"]
KIB = 1 << 10


@pytest.fixture(scope="module")
def stack():
    stack = Stack(
        profiles={
            "system": {"command": SHELL, "files": FILES},
            "claude": {"command": SHELL},
        },
    )
    try:
        stack.start_generation("g1", weight=100)
        yield stack
    finally:
        stack.close()


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "where the shell is"
    folder.mkdir()
    return folder


@pytest.fixture
def terminal(stack, folder):
    with enter(stack, folder) as terminal:
        yield terminal


def enter(stack: Stack, folder: Path) -> Terminal:
    """A terminal whose shell is in a folder."""
    terminal = stack.terminal(backoff=Backoff(base=0.01, cap=0.1), stable_after=0)
    terminal.open()
    terminal.send(f"cd '{folder}'; PS1=; stty -echo; echo in-$((1+1))\n".encode())
    terminal.expect(rb"in-2\r?\n")
    return terminal


def material(path: Path, size: int) -> Path:
    """A file without a pattern."""
    path.write_bytes(random.Random(size).randbytes(size))
    return path


def test_a_file_is_put_where_the_shell_is(terminal, folder, tmp_path):
    source = material(tmp_path / "notes.txt", 300 * KIB + 7)
    assert terminal.upload(source) == "notes.txt"
    assert (folder / "notes.txt").read_bytes() == source.read_bytes()
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]
