"""Asked to end, or met by what nobody expects, a rollout is taken back: one consistent state, the right exit
code, and the ledger says why. Asked twice, it stops where it is and says what is left to do."""

from __future__ import annotations

import itertools
import os
import pwd
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rollout.errors import ExitCode
from rollout.ledger import Ledger, State
from tests.support.project import TwoStages
from tests.support.stack import until

pytestmark = pytest.mark.rollout

KILLER = str(Path(__file__).with_name("killer.py"))
SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")
STEPS = (
    *("install", "start", "shift-50", "watch-50", "shift-100", "watch-100"),
    *("checks", "gate", "finish"),
)
ENDS = ("start", "shift-50", "watch-100", "finish")
"""Of the others what comes next is at its beginning, as far as anybody could tell."""


@pytest.fixture(scope="module")
def project() -> Iterator[TwoStages]:
    with TwoStages.deployed() as project:
        yield project


class Before:
    """What serves before a rollout, and somebody in a live shell of it."""

    def __init__(self, project: TwoStages) -> None:
        self._project = project
        self._current = project.json("status", "dev")[0]["current"]
        self._weights = project.weights("dev")
        self._somebody = project.resident("dev")

    def is_back(self, reason: str) -> None:
        """All of it is as it was, and the ledger says why."""
        project = self._project
        assert project.weights("dev") == self._weights
        status = project.json("status", "dev")[0]
        assert (status["unfinished"], status["current"]) == (None, self._current)
        record = project.json("history", "dev")[0]
        assert (record["state"], record["kind"]) == ("rolled-back", "deploy")
        assert reason in record["reason"]
        bad = project.generations("dev").get(record["generation"], {"workers": 0, "web": 0, "attached": 0})
        assert (bad["workers"], bad["web"], bad["attached"]) == (0, 0, 0)
        self._somebody.leave()


def begin(project: TwoStages, *, hold: str) -> subprocess.Popen[str]:
    """Deploy the build once more, in a session of its own."""
    canary = [{"weight": 50, "hold": hold}, {"weight": 100, "hold": "1s"}]
    project.configure(canary=canary, max_hold=hold)
    return subprocess.Popen(
        [sys.executable, "-m", "rollout", "deploy", "dev"],
        cwd=project.folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=heard,
        env={**os.environ, "PYTHONFAULTHANDLER": "1"},
    )


@contextmanager
def where_it_is(process: subprocess.Popen[str]) -> Iterator[None]:
    """Of a rollout that does not do what it was told, say what it was at; and leave none behind."""
    try:
        yield
    except BaseException:
        process.send_signal(signal.SIGABRT)
        print(process.communicate()[1], file=sys.stderr)
        raise


def heard() -> None:
    """Whoever runs the tests may have this signal ignored, as nohup does, and so would the rollout."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def held(project: TwoStages, process: subprocess.Popen[str]) -> None:
    """Wait until it is watched with half of the traffic."""

    def half() -> bool:
        assert process.poll() is None, process.communicate()[1]
        return sorted(project.weights("dev").values()) == [50, 50]

    until(half, "half of the traffic", 200)


@pytest.mark.slow("a rollout more; one that is asked twice is in the first tier")
def test_hung_up_in_a_hold_it_is_taken_back(project):
    before = Before(project)
    process = begin(project, hold="10m")
    held(project, process)
    process.send_signal(signal.SIGHUP)
    said = process.communicate(timeout=300)[1]
    assert process.returncode == ExitCode.INTERRUPTED, said
    assert "stopped by SIGHUP" in said
    assert "already, as g" in said
    before.is_back("stopped by SIGHUP")
    # The way back has not waited for Ansible: it took less than half of what a playbook takes here.
    steps = {step["step"]: step for step in project.json("report", "dev")["rollback"]["steps"]}
    turned = project.json("history", "dev")[0]["figures"]["verdict_to_turned_s"]
    assert 0 < turned < steps["rollback-stop"]["seconds"] / 2


@pytest.mark.slow("a rollout more, of the same kind as those of the first tier")
def test_asked_in_a_playbook_it_is_taken_back(project):
    before = Before(project)
    number = project.json("history", "dev")[0]["number"]
    process = begin(project, hold="10m")
    programs = project.folder / "dev" / "conf" / "programs" / f"g{number + 1}.conf"
    until(programs.exists, "the start", 200)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=300)[1]
    assert process.returncode == ExitCode.INTERRUPTED, said
    before.is_back("stopped by SIGINT")
    assert not pids_of(process.pid), "something that it had started is left"


def pids_of(session: int) -> list[int]:
    """Processes of a session."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            found.append(int(path.parent.name))
    return found


@pytest.mark.slow("a rollout more, of the same kind as those of the first tier")
def test_a_pipe_that_nobody_reads_is_nothing_to_a_rollout(project):
    """As with ``| head``, and with a terminal that is gone."""
    project.configure()
    process = subprocess.Popen(
        [sys.executable, "-m", "rollout", "deploy", "dev"],
        cwd=project.folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    assert process.stderr is not None
    process.stderr.close()
    assert process.wait(300) == ExitCode.DONE
    assert project.json("history", "dev")[0]["state"] == "promoted"


def test_asked_twice_it_stops_where_it_is_and_says_what_is_left(project):
    before = Before(project)
    process = begin(project, hold="10m")
    held(project, process)
    process.send_signal(signal.SIGTERM)
    # Read from the ledger itself: a command that prints it takes longer than the way back may.
    with where_it_is(process), Ledger(f"sqlite:///{project.folder}/state/ledger.db") as ledger:
        until(lambda: ledger.rollouts("dev")[0].state is State.ROLLING_BACK, "the way back")
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=300)[1]
    assert process.returncode == ExitCode.ROLLBACK_FAILED, said
    assert "left to do: rollback-" in said
    assert "rollout resume dev" in said
    assert project.json("history", "dev")[0]["state"] == "rollback-failed"
    project.configure()
    assert project.run("resume", "dev") == ExitCode.INTERRUPTED, project.said
    before.is_back("stopped by SIGTERM")


@pytest.mark.slow("a rollout more; tests/e2e/test_dashboard.py cancels one, too")
def test_another_terminal_has_it_taken_back(project):
    before = Before(project)
    process = begin(project, hold="10m")
    held(project, process)
    assert project.run("cancel", "dev") == ExitCode.DONE, project.said
    assert "told whoever carries it out" in project.said
    said = process.communicate(timeout=300)[1]
    assert process.returncode == ExitCode.INTERRUPTED, said
    before.is_back(f"stopped by {pwd.getpwuid(os.getuid()).pw_name}@")
    assert project.run("cancel", "dev") == ExitCode.REFUSED
    assert "no unfinished rollout" in project.said


@pytest.mark.slow("a rollout more, of the same kind as those of the first tier")
def test_what_nobody_carries_out_any_more_is_taken_back_by_whoever_cancels_it(project):
    before = Before(project)
    process = begin(project, hold="10m")
    held(project, process)
    process.kill()
    process.communicate()
    assert project.run("cancel", "dev") == ExitCode.DONE, project.said
    before.is_back(f"stopped by {pwd.getpwuid(os.getuid()).pw_name}@")


@pytest.mark.slow("a rollout more, of the same kind as those of the first tier")
def test_a_word_that_comes_while_it_is_taken_back_anyway_is_let_pass_once(project):
    before = Before(project)
    project.configure(gates=[{"metric": "generation.memory_bytes", "op": "<", "threshold": "1MB"}])
    code = project.run("deploy", "dev", program=(KILLER, "rollback-shift:begin=SIGINT"))
    project.configure()
    assert code == ExitCode.GATE_FAILED, project.said
    assert "it is being taken back already" in project.said
    before.is_back("generation.memory_bytes")


@pytest.mark.slow("a rollout more, of the same kind as those of the first tier")
def test_what_nobody_expects_takes_it_back(project):
    before = Before(project)
    project.configure()
    # A file in the place of the folder of its results, which a full disk and another's folder do as well.
    number = project.json("history", "dev")[0]["number"]
    runs = project.folder / "state" / "runs" / "dev"
    runs.mkdir(parents=True, exist_ok=True)
    (runs / str(number + 1)).write_text("")
    code = project.run("deploy", "dev", program=(KILLER, "watch-50:begin=OSError"))
    assert code == ExitCode.INTERNAL, project.said
    before.is_back("OSError: an injected one")


@pytest.mark.slow("a rollout more, of the same kind as those of the first tier")
def test_results_that_cannot_be_written_are_no_verdict(project):
    project.configure()
    number = project.json("history", "dev")[0]["number"]
    (project.folder / "state" / "runs" / "dev" / str(number + 1)).write_text("")
    assert project.run("deploy", "dev") == ExitCode.DONE, project.said
    assert "Error" in project.said


@pytest.mark.slow("a rollout for each of its steps")
@pytest.mark.parametrize(
    ("point", "what"),
    [
        *zip(
            (*(f"{step}:begin" for step in STEPS), *(f"{step}:end" for step in ENDS)),
            itertools.cycle(SIGNALS),
            strict=False,
        ),
        *((f"{step}:begin", "OSError") for step in STEPS[::2]),
        ("finish:end", "OSError"),
    ],
)
def test_at_every_step(project, point, what):
    before = Before(project)
    project.configure()
    code = project.run("deploy", "dev", program=(KILLER, f"{point}={what}"))
    assert code == (ExitCode.INTERNAL if what == "OSError" else ExitCode.INTERRUPTED), project.said
    before.is_back("an injected one" if what == "OSError" else f"stopped by {what}")


@pytest.mark.slow("a way back that fails at each of its steps")
def test_a_way_back_that_meets_what_nobody_expects_is_gone_on_with(project):
    before = Before(project)
    project.configure(gates=[{"metric": "generation.memory_bytes", "op": "<", "threshold": "1MB"}])
    command = ("deploy", "dev")
    steps = [step["name"] for step in project.json("deploy", "dev", "--plan")["backward"]]
    for step, phase in itertools.product(steps, ("begin", "end")):
        code = project.run(*command, program=(KILLER, f"{step}:{phase}=OSError"))
        assert code == ExitCode.ROLLBACK_FAILED, project.said
        assert "an injected one" in project.said
        command = ("resume", "dev")
    assert project.run(*command) == ExitCode.GATE_FAILED, project.said
    project.configure()
    before.is_back("generation.memory_bytes")
