"""A host is emptied by waiting: no session begins there, those that are there end by themselves."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading

import pytest
from terminals.client import ConnectError

from rollout.errors import ExitCode
from tests.support.project import TwoStages
from tests.support.stack import until


@pytest.fixture
def project(stack, tmp_path):
    """Two environments, of which the first has what the stack is as its host; both call it ``local``."""
    project = TwoStages(tmp_path)
    (tmp_path / "dev" / "run").mkdir(parents=True)
    (tmp_path / "dev" / "run" / "manager.sock").symlink_to(stack.socket)
    yield project
    project.close()


def state(stack) -> str:
    return stack.admin("hosts")["items"][0]["state"]


def test_it_waits_for_the_last_session_and_takes_nothing_new(stack, project):
    with stack.terminal() as somebody:
        done = []
        thread = threading.Thread(target=lambda: done.append(project.run("drain", "local", "--env", "dev")))
        thread.start()
        somebody.expect(b"this host is being emptied; please end this session when you can")
        with pytest.raises(ConnectError, match="its state is draining"):
            stack.terminal().open(0.5)
        project.run("status", "dev")
        assert "draining, no session begins there: rollout undrain local --env dev" in project.said
        assert thread.is_alive()
        somebody.send(b"exit\n")
        until(lambda: somebody.pump(0.05) or somebody.exit_status is not None, "the end of the shell")
        thread.join(60)
    assert done == [ExitCode.DONE], project.said
    assert "local: 1 live session\n" in project.said
    assert "local of dev is draining, with no live session" in project.said

    assert project.run("undrain", "local", "--env", "dev") == ExitCode.DONE, project.said
    assert state(stack) == "ready"
    with stack.terminal() as anew:
        anew.close(kill=True)
    database = project.folder / "state" / "ledger.db"
    assert database.exists()


def test_another_s_word_to_the_contrary_is_heard_and_left(stack, project):
    with stack.terminal():
        done = []
        thread = threading.Thread(target=lambda: done.append(project.run("drain", "local", "--env", "dev")))
        thread.start()
        until(lambda: state(stack) == "draining", "the word at the host")
        stack.admin("host-state", state="ready")
        thread.join(60)
        assert done == [ExitCode.REFUSED], project.said
        assert "local: somebody has sessions begin there again" in project.said
        assert state(stack) == "ready"


def test_at_the_deadline_it_says_how_many_are_left_and_ends_none(stack, project):
    with stack.terminal(), stack.terminal() as somebody:
        assert project.run("drain", "local", "--env", "dev", "--deadline", "1s") == ExitCode.REFUSED
        assert "rollout: local: 2 live sessions left at the deadline; nothing was ended" in project.said
        somebody.send(b"echo here-$((1+1))\n")
        somebody.expect(b"here-2")
        left = project.json("drain", "local", "--env", "dev", "--no-wait")
        assert left == {"env": "dev", "host": "local", "state": "draining", "sessions": 2}


@pytest.mark.slow("a command more; that the host stays so is in the first tier")
def test_left_by_ctrl_c_it_goes_on_and_says_how_to_take_it_back(stack, project):
    with stack.terminal() as somebody:
        command = [sys.executable, "-m", "rollout", "drain", "local", "--env", "dev", "--message", ""]
        process = subprocess.Popen(command, cwd=project.folder, stderr=subprocess.PIPE, text=True)
        until(lambda: state(stack) == "draining", "the word at the host")
        assert process.stderr is not None
        assert process.stderr.readline() == "local: 1 live session\n"
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=60)[1]
        assert process.returncode == ExitCode.INTERRUPTED
        assert "take that back with: rollout undrain local --env dev" in said
        assert state(stack) == "draining"
        assert b"emptied" not in somebody.read(0.2)


def test_what_cannot_be_is_one_line_and_changes_nothing(stack, project):
    dev = ("local", "--env", "dev")
    for words, code, text in (
        (
            ("drain", "local"),
            ExitCode.USAGE,
            "dev and staging have a host 'local' each; say which: --env NAME",
        ),
        (("drain", "nowhere"), ExitCode.USAGE, "no environment has a host 'nowhere'; known: local"),
        (("undrain", "eu-1", *dev[1:]), ExitCode.USAGE, "dev has no host 'eu-1'; its hosts: local"),
        (("drain", *dev, "--deadline", "noon"), ExitCode.USAGE, "--deadline: a time of day"),
        (("drain", "local", "--env", "staging"), ExitCode.ENGINE, "no session manager at"),
    ):
        assert project.run(*words) == code, project.said
        assert text in project.said
        assert project.said.count("\n") == 1
    assert state(stack) == "ready"
