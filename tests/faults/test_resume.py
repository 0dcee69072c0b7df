"""A rollout killed with SIGKILL at every journaled step, and resumed, ends in one consistent state.

Every point is killed twice over: right after a step's beginning was journaled, and right before its
end is, when its action is done but nobody has written so. Each resumption is killed at the next
point, so that one rollout dies at all of them; after every death the environment has to be whole.
"""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from rollout.errors import ExitCode
from rollout.ledger import Ledger
from tests.support.project import TwoStages
from tests.support.stack import until

pytestmark = [pytest.mark.rollout, pytest.mark.slow("a rollout killed at each of its steps")]

KILLER = str(Path(__file__).with_name("killer.py"))


class Resumed(TwoStages):
    """A rollout command that may kill itself."""

    def die(self, *arguments: str, at: str) -> int:
        """Run rollout, which kills itself at that entry of the journal (step:phase)."""
        return self.run(*arguments, program=(KILLER, at))


@pytest.fixture(scope="module")
def project() -> Iterator[Resumed]:
    with Resumed.deployed() as project:
        assert project.run("promote", "staging", "--wait") == 0, project.said
        yield project


def points(project: Resumed, *directions: str) -> list[str]:
    """Every entry that a rollout would journal, in order."""
    plan = project.json("promote", "staging", "--plan")
    return [
        f"{step['name']}:{phase}" for way in directions for step in plan[way] for phase in ("begin", "end")
    ]


def whole(project: Resumed) -> None:
    """Whatever happened: all traffic goes somewhere, and somebody is there to take it."""
    weights = project.weights("staging")
    assert sum(weights.values()) == 100
    assert all(project.generations("staging")[name]["workers"] for name in weights)


def die_everywhere(project: Resumed, where: list[str]) -> int:
    """Begin a promotion, let it be killed at every point in turn, and then let it end."""
    somebody = project.resident("staging")
    command = ("promote", "staging")
    for point in where:
        assert project.die(*command, at=point) == -9, f"not killed at {point}: {project.said}"
        command = ("resume", "staging")
        whole(project)
    code = project.run(*command)
    somebody.leave()
    return code


def test_promotion_killed_at_every_step_is_resumed_to_its_end(project):
    before = project.weights("staging")
    where = points(project, "forward")
    assert len(where) == 20
    assert die_everywhere(project, where) == ExitCode.DONE, project.said
    record = project.json("history", "staging")[0]
    assert record["state"] == "promoted"
    assert project.weights("staging") == {record["generation"]: 100}
    assert record["generation"] not in before
    assert record["figures"]["bytes_lost"] == record["figures"]["commands_twice"] == 0
    status = project.json("status", "staging")[0]
    assert status["unfinished"] is None
    assert status["current"]["generation"] == record["generation"]


def test_rollback_killed_at_every_step_is_resumed_to_its_end(project):
    before = project.weights("staging")
    project.configure(memory="1MB")  # a gate that no build can pass
    where = points(project, "backward")
    assert len(where) == 12
    try:
        assert die_everywhere(project, where) == ExitCode.GATE_FAILED, project.said
        record = project.json("history", "staging")[0]
        assert record["state"] == "rolled-back"
        assert "generation.memory_bytes" in record["reason"]
        assert project.weights("staging") == before
        bad = project.generations("staging")[record["generation"]]
        assert (bad["workers"], bad["web"], bad["attached"]) == (0, 0, 0)
    finally:
        project.configure(memory="500MB")


def test_killed_while_a_playbook_runs_it_is_resumed_too(project):
    # Read before the start: read after it, the history may already have the new rollout as its last.
    number = project.json("history", "dev")[0]["number"]
    process = subprocess.Popen(
        [sys.executable, "-m", "rollout", "deploy", "dev"],
        cwd=project.folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    until(
        lambda: (project.folder / "dev" / "conf" / "programs" / f"g{number + 1}.conf").exists(), "the start"
    )
    process.kill()
    process.wait()
    assert project.run("resume", "dev") == 0, project.said
    assert list(project.weights("dev").values()) == [100]


def test_second_operator_gets_one_line_and_rollback_by_hand_needs_no_version(project):
    before = project.json("status", "dev")[0]["current"]
    process = subprocess.Popen(
        [sys.executable, "-m", "rollout", "deploy", "dev"],
        cwd=project.folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    until(lambda: project.json("status", "dev")[0]["unfinished"], "the rollout beginning")
    assert project.run("deploy", "dev") == ExitCode.LOCKED
    assert "is held by" in project.said
    assert process.wait(200) == 0
    somebody = project.resident("dev")
    # Whoever still runs needs no files.
    builds = project.folder / "state" / "builds"
    aside = builds.rename(builds.with_name("aside"))
    try:
        assert project.run("rollback", "dev") == 0, project.said
    finally:
        aside.rename(builds)
    assert project.weights("dev") == {before["generation"]: 100}
    somebody.leave()
    assert project.json("status", "dev")[0]["current"]["build"] == before["build"]


def test_checks_by_hand_are_judged_and_recorded(project):
    before = alone(project)
    assert project.run("validate") == 0, project.said
    assert "15/15 passed" in project.said
    assert project.run("smoke", "dev") == 0, project.said
    assert "8/8 passed" in project.said
    assert project.run("loadtest", "dev", "--users", "4", "--seconds", "5") == 0, project.said
    assert "bytes lost: 0" in project.said
    report = project.json("report", "dev")
    assert report["decision"] == "go"
    assert alone(project) - before == Counter({("smoke", 1): 8, ("validate", 1): 15})


def alone(project: Resumed) -> Counter[tuple[str, int]]:
    """How many checks of each suite, with each outcome, belong to no rollout."""
    with Ledger(f"sqlite:///{project.folder}/state/ledger.db") as ledger, ledger.engine.connect() as db:
        return Counter(map(tuple, db.exec_driver_sql("select suite, ok from checks where rollout is null")))


def test_failed_checks_by_hand_have_their_own_exit_code(project):
    token = project.folder / "dev" / "run" / "token"
    right = token.read_text()
    token.write_text("wrong\n")  # the workers know the right one since they started
    try:
        assert project.run("smoke", "dev") == ExitCode.CHECKS_FAILED
        assert "7 of 8 failed" in project.said
    finally:
        token.write_text(right)
