"""Holder and session manager in two PID namespaces, as in two containers: neither sees the other."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import stack
from tests.support.stack import PATIENCE, Stack, runs, until

pytestmark = pytest.mark.skipif(
    os.getuid() != 0 or shutil.which("unshare") is None, reason="needs root and unshare"
)


@pytest.fixture
def apart(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stack]:
    monkeypatch.setattr(stack, "TERMINALS", ["unshare", "--pid", "--fork", "--kill-child", *stack.TERMINALS])
    running = Stack(stable_seconds=0)
    try:
        running.start_generation("g1", weight=100)
        yield running
    finally:
        running.kill("holder")  # unshare does not mind SIGTERM
        running.close()


def process(running: Stack, name: str) -> int:
    """The service itself: what the test started is unshare."""
    pid = running.processes[name].pid
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text())


def test_a_killed_manager_is_followed_by_one_with_every_session(apart):
    with apart.terminal() as terminal:
        terminal.send(b"x=kept; echo it-is-$x\n")
        terminal.expect(rb"it-is-kept")
        os.kill(process(apart, "manager"), signal.SIGKILL)
        apart.processes.pop("manager").wait(PATIENCE)
        apart.start_manager()
        terminal.send(b"echo still-$x\n")
        terminal.expect(rb"still-kept")
    assert apart.status()["holder"]["number"] == 2


@pytest.mark.slow("waits until a hanging manager is given up")
def test_one_that_hangs_is_waited_for_until_somebody_else_kills_it(apart):
    with apart.terminal() as terminal:
        terminal.send(b"x=kept; echo it-is-$x\n")
        terminal.expect(rb"it-is-kept")
        hung = process(apart, "manager")
        os.kill(hung, signal.SIGSTOP)
        apart.processes["hung"] = apart.processes.pop("manager")
        apart._spawn("manager", "manager", "--config", str(apart.root / "manager.json"))
        until(lambda: "cannot be killed from here" in apart.log("holder"), "the holder's word")
        assert runs(hung)
        os.kill(hung, signal.SIGKILL)
        until(apart._answers, "the second manager")
        terminal.send(b"echo still-$x\n")
        terminal.expect(rb"still-kept")


def test_with_the_holder_s_namespace_all_shells_end_and_the_manager_makes_room_for_the_next(apart):
    with apart.terminal() as terminal:
        terminal.send(b"echo it-$((1+1))\n")
        terminal.expect(rb"it-2")
        apart.kill("holder")
        assert apart.processes.pop("manager").wait(PATIENCE) == 0
    apart.start_holder()
    apart.start_manager()
    apart.admin("weights", weights={"g1": 100})
    with apart.terminal() as terminal:
        terminal.send(b"echo again-$((1+1))\n")
        terminal.expect(rb"again-2")
