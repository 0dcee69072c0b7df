"""The unit that is offered for the holder, under a systemd that is process 1."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from terminals.client import Terminal

from tests.support.booted import StackUnderSystemd, Unit, booted
from tests.support.stack import until

pytestmark = [
    pytest.mark.slow("boots a systemd, in namespaces that only root may make"),
    pytest.mark.skipif(os.getuid() != 0, reason="only root may make namespaces"),
]


@pytest.fixture
def stack() -> Iterator[StackUnderSystemd]:
    with booted() as system:
        stack = StackUnderSystemd(system)
        try:
            stack.start_generation("g1", weight=100)
            yield stack
        finally:
            stack.close()


def holder(stack: StackUnderSystemd) -> Unit:
    unit = stack.processes["holder"]
    assert isinstance(unit, Unit)
    return unit


def still_there(shell: Terminal) -> None:
    shell.send(b"echo [still $mark]\n")
    shell.expect(rb"\[still 42\]")


def test_shells_outlive_all_that_is_ended_with_everything_it_started(stack: StackUnderSystemd) -> None:
    pid = holder(stack).pid
    with stack.terminal() as shell:
        shell.send(b"mark=42; cat /proc/self/cgroup\n")
        shell.expect(b"name=systemd:.*terminals-holder|0::.*terminals-holder")
        for name in ("manager", "worker-g1"):
            stack.kill(name)  # with all of its control group
        stack.start_manager()
        stack.start_generation("g1")
        still_there(shell)
        assert holder(stack).pid == pid


def test_another_target_is_no_reason_to_end_it(stack: StackUnderSystemd) -> None:
    with stack.terminal() as shell:
        shell.send(b"mark=42\n")
        pid = holder(stack).pid
        stack.booted.run("systemctl", "isolate", "other.target")
        assert stack.booted.show("other.target", "ActiveState") == "active"
        until(lambda: stack.processes["worker-g1"].poll() is not None, "the end of what is not needed there")
        assert holder(stack).pid == pid
        stack.start_manager()
        stack.start_generation("g1")
        still_there(shell)


def test_another_build_of_it_is_the_same_process_of_the_same_unit(stack: StackUnderSystemd) -> None:
    with stack.terminal() as shell:
        shell.send(b"mark=42\n")
        pid = holder(stack).pid
        stack.renew_holder_by_other_code("another")
        assert stack.status()["holder"]["pid"] == pid
        assert holder(stack).pid == pid
        assert holder(stack).poll() is None
        still_there(shell)


def test_killed_it_is_started_again(stack: StackUnderSystemd) -> None:
    first = holder(stack).pid
    stack.booted.run("systemctl", "kill", "--kill-who=main", "--signal=KILL", holder(stack).name)
    until(lambda: holder(stack).pid not in (0, first), "another holder")
    stack.kill("manager")
    stack.start_manager()
    until(lambda: stack.generation("g1").get("workers"), "the worker being back")
    with stack.terminal() as shell:
        shell.send(b"echo [$((6*7))]\n")
        shell.expect(rb"\[42\]")


def test_stopped_it_hangs_every_shell_up_and_leaves_nothing(stack: StackUnderSystemd) -> None:
    said = Path(stack.root, "said")
    with stack.terminal() as shell:
        trap = f"trap 'echo hung up >{said}; exit' HUP"  # of a script: a line editor takes the signal itself
        shell.send(f'exec sh -c "{trap}; echo [\\$((6*7))]; while :; do sleep 0.05; done"\n'.encode())
        shell.expect(rb"\[42\]")
        stack.booted.run("systemctl", "stop", holder(stack).name)
        assert said.read_text() == "hung up\n"
        assert holder(stack).poll() == 0
        stack.may_break = True
