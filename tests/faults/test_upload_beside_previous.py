"""Uploads in a rollout: the release before this one, which knows no files, is beside them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from terminals.client import TransferRefused
from terminals.protocol.backoff import Backoff
from terminals.protocol.transfer import TransferError

from tests.faults.test_previous_release import previous
from tests.support.stack import Stack, until

__all__ = ["previous"]

SHELL = ["env", "TERM=dumb", "bash", "--norc", "--noprofile"]


@pytest.fixture
def stack(previous: Path) -> Iterator[Stack]:
    """A holder and a generation g0 of the release before, and of this one a session manager and g1."""
    files = {"upload": True, "download": True}
    stack = Stack(
        code={"holder": previous},
        profiles={"system": {"command": SHELL, "files": files}, "claude": {"command": SHELL}},
    )
    try:
        stack.start_generation("g1", weight=100)
        stack.code["worker"] = previous
        stack.start_generation("g0")
        yield stack
    finally:
        stack.close()


def shift(stack: Stack, to: str) -> None:
    stack.admin("weights", weights={name: 100 if name == to else 0 for name in ("g0", "g1")})
    stack.admin("move", to=to, share=100, batch=10, interval=0.01, deadline=5.0)


@pytest.mark.slow("processes of two releases; the conversations of vectors.json have what a client does")
def test_an_upload_waits_while_a_server_serves_that_knows_none(stack, tmp_path):
    source, there = tmp_path / "x", tmp_path / "there"
    source.write_bytes(random.Random(1).randbytes(16 << 20))
    there.mkdir()
    with stack.terminal(backoff=Backoff(base=0.01, cap=0.1), stable_after=0) as terminal:
        terminal.send(f"cd {there}; PS1=; stty -echo; echo in-$((1+1))\n".encode())
        terminal.expect(rb"in-2\r?\n")
        upload = terminal.files.upload(source)
        until(lambda: terminal.pump(0.05) or upload.over or upload.done > 2 << 20, "a part of it")
        assert not upload.over, upload.error
        shift(stack, "g0")
        until(lambda: terminal.pump(0.05) or terminal.attached.generation == "g0", "taken back")
        assert terminal.attached.files is None
        terminal.send(b"echo there-$((1+1))\n")
        terminal.expect(rb"there-2")
        with pytest.raises(TransferRefused, match=TransferError.FORBIDDEN):
            terminal.upload(source)
        assert not upload.over
        shift(stack, "g1")
        terminal.wait_for(upload, 120)
    assert (there / "x").read_bytes() == source.read_bytes()
