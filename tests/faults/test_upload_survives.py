"""An upload goes on through everything that may be replaced or killed, and is there once, whole."""

from __future__ import annotations

import hashlib
import random
import signal
from pathlib import Path

import pytest

from tests.support.files import enter
from tests.support.stack import Stack, running, until

MEGABYTE = 1 << 20
FILES = {"upload": True, "download": True, "max_bytes": 1 << 31}
SHELL = ["env", "TERM=dumb", "bash", "--norc", "--noprofile"]


@pytest.fixture
def stack():
    """Two generations, of which all are served by one."""
    with running(
        "g1",
        "g2",
        profiles={"system": {"command": SHELL, "files": FILES}, "claude": {"command": SHELL}},
        breaker_threshold=1000,
    ) as stack:
        yield stack


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "there"
    folder.mkdir()
    return folder


def material(path: Path, megabytes: int) -> tuple[Path, str]:
    """A file without a pattern, and its digest."""
    block, digest = random.Random(1).randbytes(MEGABYTE), hashlib.sha256()
    with path.open("wb") as file:
        for number in range(megabytes):
            piece = b"%08d" % number + block[8:]
            digest.update(piece)
            file.write(piece)
    return path, digest.hexdigest()


def digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def kill_worker(stack: Stack) -> None:
    stack.kill("worker-g1")
    stack.start("worker", "g1")


def restart_worker(stack: Stack) -> None:
    stack.kill("worker-g1", signal.SIGTERM)
    stack.start("worker", "g1")


def replace_manager(stack: Stack) -> None:
    assert stack.replace_manager() == 0


def kill_manager(stack: Stack) -> None:
    stack.kill("manager")
    stack.start_manager()


def shift(stack: Stack) -> None:
    """As a release does: all traffic to the other generation, and live sessions after it."""
    stack.admin("weights", weights={"g1": 0, "g2": 100})
    stack.admin("move", to="g2", share=100, batch=10, interval=0.01, deadline=5.0)


def cut(stack: Stack) -> None:
    """The network is lost: see below."""


@pytest.mark.parametrize(
    ("megabytes", "ends"),
    [
        (16, [kill_worker, kill_manager, shift]),
        pytest.param(
            64,
            [kill_worker, restart_worker, replace_manager, kill_worker, kill_manager, shift, cut],
            marks=pytest.mark.slow("the same, with everything else that can happen"),
        ),
    ],
)
def test_it_arrives_whole_whatever_is_killed_or_replaced(stack, folder, tmp_path, megabytes, ends):
    source, digest = material(tmp_path / "image.iso", megabytes)
    terminal = enter(stack, folder)
    upload = terminal.files.upload(source)
    for number, end in enumerate(ends, 1):
        share = megabytes * MEGABYTE * number // (len(ends) + 1)
        until(lambda share=share: terminal.pump(0.05) or upload.done >= share, f"{share} bytes")
        assert not upload.over, "it was faster than what was to disturb it"
        # Where the shell goes meanwhile is nothing to an upload that has begun.
        terminal.send(f"cd {tmp_path}; echo away-{number}-$((1+1))\n".encode())
        terminal.expect(f"away-{number}-2".encode())
        had = upload.done
        terminal.cut() if end is cut else end(stack)
        until(lambda had=had: terminal.pump(0.05) or upload.done > had, f"it goes on after {end.__name__}")
    terminal.wait_for(upload, 120)
    assert upload.name == "image.iso"
    assert [path.name for path in folder.iterdir()] == ["image.iso"]
    assert digest_of(folder / "image.iso") == digest
    assert terminal.stats.reconnects >= len(ends)
    assert terminal.attached.generation == "g2"
    terminal.close(kill=True)
