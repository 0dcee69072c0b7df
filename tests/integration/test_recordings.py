"""Sessions are recorded to the byte, whoever is killed, and nobody is recorded without being told."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from terminals.client import Terminal

from tests.support.casts import Cast, cast_at
from tests.support.stack import Stack, runs, until

BASH = ["env", "TERM=dumb", "bash", "--norc", "--noprofile"]
PROFILES = {"system": {"command": BASH, "record": True}, "claude": {"command": BASH}}


@pytest.fixture
def stack() -> Iterator[Stack]:
    """Shells of ``system`` are recorded, those of ``claude`` on somebody's wish."""
    stack = Stack(profiles=PROFILES, ring_bytes=1 << 16, stable_seconds=0, recordings={"lost_seconds": 10})
    try:
        stack.start_generation("g1", weight=100)
        yield stack
    finally:
        stack.close()


def recorder(stack: Stack) -> int:
    """The process that records now."""
    children = Path(f"/proc/{stack.processes['manager'].pid}/task").glob("*/children")
    for pid in " ".join(path.read_text() for path in children).split():
        with contextlib.suppress(OSError):
            if b"terminals.recordings.recorder" in Path(f"/proc/{pid}/cmdline").read_bytes():
                return int(pid)
    return 0


def recording_of(stack: Stack, terminal: Terminal) -> dict[str, Any]:
    found = [item for item in stack.admin("recordings")["items"] if item["session"] == terminal.session]
    assert len(found) == 1
    return found[0]


def file_of(stack: Stack, recording: dict[str, Any]) -> Path:
    return Path(stack.settings["state_dir"]) / "recordings" / f"{recording['id']}.cast"


def ended(stack: Stack, terminal: Terminal) -> Cast:
    """What was recorded of a session, once its end is."""
    until(lambda: recording_of(stack, terminal)["state"] == "ended", "the end being recorded")
    return cast_at(file_of(stack, recording_of(stack, terminal)))


def grows(stack: Stack, terminal: Terminal, text: bytearray) -> None:
    """Wait until more is recorded."""
    before = recording_of(stack, terminal)["bytes"]
    until(lambda: text.extend(terminal.read(0.02)) or recording_of(stack, terminal)["bytes"] > before, "more")


def test_what_was_recorded_is_what_was_seen_through_twenty_killed_recorders(stack):
    """And one that stands still, and a manager that is killed, and another one in whose place one is put."""
    terminal = stack.terminal()
    terminal.open()
    # Characters of three bytes, which no batch's end may cut, and much more than the 64 KiB of the ring.
    loop = 'i=0; until [ -e %s ]; do i=$((i+1)); echo "$i \u20ac\u20ac\u20ac\u20ac"; done; exit 7\n'
    terminal.send((f"stty -echo; {loop}" % (stack.root / "enough")).encode())
    text = bytearray(terminal.expect("[0-9] \u20ac".encode()))
    assert b"[this session is recorded]" in text
    killed = set()
    while len(killed) < 20:
        grows(stack, terminal, text)
        killed.add(pid := recorder(stack))
        os.kill(pid, signal.SIGKILL)
        until(lambda: text.extend(terminal.read(0.02)) or recorder(stack) not in (0, pid), "another recorder")
    grows(stack, terminal, text)
    os.kill(still := recorder(stack), signal.SIGSTOP)
    until(lambda: text.extend(terminal.read(0.02)) or recorder(stack) not in (0, still), "one that moves")
    grows(stack, terminal, text)
    stack.kill("manager")
    stack.start_manager()
    grows(stack, terminal, text)
    assert stack.replace_manager() == 0
    grows(stack, terminal, text)
    (stack.root / "enough").touch()
    until(lambda: text.extend(terminal.read(0.1)) or terminal.exit_status is not None, "the shell's end")
    text += terminal.read()
    cast = ended(stack, terminal)
    assert cast.text == text.decode(errors="replace")
    assert len(text) > 1 << 17
    assert (cast.of("m"), cast.of("x")) == ([], ["7"])
    until(lambda: not any(map(runs, killed | {still})), "all of them being gone")
