"""A rollout killed with SIGKILL at every journaled step, and resumed, ends in one consistent state.

Every point is killed twice over: right after a step's beginning was journaled, and right before its
end is, when its action is done but nobody has written so. Each resumption is killed at the next
point, so that one rollout dies at all of them; after every death the environment has to be whole.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from terminals.client import Terminal
from terminals.control.channel import admin

from rollout.errors import ExitCode
from rollout.ledger import Ledger
from tests.support.ports import free_ports
from tests.support.stack import until

ROOT = Path(__file__).parents[2]
CONFIG = """
version: 1
project: terminals
source: {services}
state: state
environments:
  dev:
    hosts: {{local: {{root: dev}}}}
    listen: {{host: 127.0.0.1, system: {system}, claude: {claude}, web: {web}}}
    profiles: {{system: {{command: [/bin/bash, --norc, --noprofile]}}, claude: {{command: [claude]}}}}
    canary: [{{weight: 50, hold: 1s}}, {{weight: 100, hold: 1s}}]
    checks: [smoke]
    gates:
      - {{metric: smoke.pass_ratio, op: ">=", threshold: 1}}
      - {{metric: generation.memory_bytes, op: "<", threshold: 500MB}}
    max_hold: 20s
    soak: 1s
    rollback_window: 1h
  staging:
    after: dev
    hosts: {{local: {{root: staging}}}}
    listen: {{host: 127.0.0.1, system: {system2}, claude: {claude2}, web: {web2}}}
    profiles: {{system: {{command: [/bin/bash, --norc, --noprofile]}}, claude: {{command: [claude]}}}}
    canary: [{{weight: 50, hold: 1s}}, {{weight: 100, hold: 1s}}]
    checks: [smoke]
    load: {{users: 4, spawn_rate: 4, cut_every: 3s}}
    gates:
      - {{metric: smoke.pass_ratio, op: ">=", threshold: 1}}
      - {{metric: load.bytes_lost, op: "==", threshold: 0}}
      - {{metric: load.commands_twice, op: "==", threshold: 0}}
      - {{metric: generation.memory_bytes, op: "<", threshold: {memory}}}
    max_hold: 30s
    rollback_window: 1h
"""


class Project:
    """A configured project in a short folder, with the rollout command."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports = free_ports(6)
        self.configure(memory="500MB")

    def configure(self, *, memory: str) -> None:
        names = dict(zip(("system", "claude", "web", "system2", "claude2", "web2"), self.ports, strict=True))
        (self.folder / "rollout.yaml").write_text(
            CONFIG.format(services=ROOT / "services", memory=memory, **names)
        )

    def run(self, *arguments: str, die_at: str = "") -> int:
        """Run rollout; with ``die_at`` it kills itself at that entry of the journal (step:phase)."""
        program = [sys.executable, str(Path(__file__).with_name("killer.py")), die_at]
        done = subprocess.run(
            [*program, *arguments], cwd=self.folder, capture_output=True, text=True, timeout=280
        )
        self.said = done.stdout + done.stderr
        assert "Traceback" not in done.stderr, done.stderr
        return done.returncode

    def json(self, *arguments: str) -> Any:
        command = [sys.executable, "-m", "rollout", *arguments, "--output", "json"]
        return json.loads(subprocess.check_output(command, cwd=self.folder, text=True))

    def manager(self, env: str = "dev") -> dict[str, Any]:
        return admin(str(self.folder / env / "run" / "manager.sock"), "status")

    def weights(self, env: str = "dev") -> dict[str, int]:
        entries = self.manager(env)["generations"]
        return {entry["name"]: entry["weight"] for entry in entries if entry["weight"]}

    def token(self, env: str) -> str:
        return (self.folder / env / "run" / "token").read_text().strip()


@pytest.fixture(scope="module")
def project() -> Iterator[Project]:
    with tempfile.TemporaryDirectory(prefix="rollout-") as folder:
        project = Project(Path(folder))
        try:
            assert project.run("build") == 0, project.said
            assert project.run("deploy", "dev") == 0, project.said
            time.sleep(1.1)  # dev's soak window
            assert project.run("promote", "staging") == 0, project.said
            yield project
        finally:
            project.configure(memory="500MB")
            for env in ("dev", "staging"):
                project.run("teardown", env, "--yes")


class Resident:
    """Somebody in a live shell all the while, in a thread of its own."""

    def __init__(self, project: Project, env: str) -> None:
        port = project.ports[0 if env == "dev" else 3]
        self.terminal = Terminal(f"ws://127.0.0.1:{port}/", token=project.token(env))
        self.terminal.open()
        self.terminal.send(b"PS1=; kept=41; echo ready-$((1+1))\n")
        self.terminal.expect(rb"ready-2\r\n")
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._live)
        self._thread.start()

    def _live(self) -> None:
        while not self._stop.is_set():
            self.terminal.pump(0.05)

    def leave(self) -> None:
        self._stop.set()
        self._thread.join()
        self.terminal.send(b"echo kept-$((kept+1))\n")
        self.terminal.expect(rb"kept-42", timeout=20)
        assert self.terminal.stats.skipped == 0
        self.terminal.close(kill=True)


def points(project: Project, *directions: str) -> list[str]:
    """Every entry that a rollout would journal, in order."""
    plan = project.json("promote", "staging", "--plan")
    return [
        f"{step['name']}:{phase}" for way in directions for step in plan[way] for phase in ("begin", "end")
    ]


def whole(project: Project) -> None:
    """Whatever happened: all traffic goes somewhere, and somebody is there to take it."""
    weights = project.weights("staging")
    assert sum(weights.values()) == 100
    workers = {entry["name"]: entry["workers"] for entry in project.manager("staging")["generations"]}
    assert all(workers[name] for name in weights)


def die_everywhere(project: Project, where: list[str]) -> int:
    """Begin a promotion, let it be killed at every point in turn, and then let it end."""
    resident = Resident(project, "staging")
    command = ("promote", "staging")
    for point in where:
        assert project.run(*command, die_at=point) == -9, f"not killed at {point}: {project.said}"
        command = ("resume", "staging")
        whole(project)
    code = project.run(*command)
    resident.leave()
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
    assert len(where) == 8
    try:
        assert die_everywhere(project, where) == ExitCode.GATE_FAILED, project.said
        record = project.json("history", "staging")[0]
        assert record["state"] == "rolled-back"
        assert "generation.memory_bytes" in record["reason"]
        assert project.weights("staging") == before
        bad = next(
            entry
            for entry in project.manager("staging")["generations"]
            if entry["name"] == record["generation"]
        )
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
    assert list(project.weights().values()) == [100]


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
    resident = Resident(project, "dev")
    assert project.run("rollback", "dev") == 0, project.said
    assert project.weights() == {before["generation"]: 100}
    resident.leave()
    assert project.json("status", "dev")[0]["current"]["build"] == before["build"]


def test_checks_by_hand_are_judged_and_recorded(project):
    assert project.run("validate") == 0, project.said
    assert "15/15 passed" in project.said
    assert project.run("smoke", "dev") == 0, project.said
    assert "8/8 passed" in project.said
    assert project.run("loadtest", "dev", "--users", "4", "--seconds", "5") == 0, project.said
    assert "bytes lost: 0" in project.said
    report = project.json("report", "dev")
    assert report["decision"] == "go"
    with Ledger(f"sqlite:///{project.folder}/state/ledger.db") as ledger, ledger.engine.connect() as db:
        alone = db.exec_driver_sql(
            "select suite, count(*), sum(ok) from checks where rollout is null group by suite"
        )
        assert sorted(map(tuple, alone)) == [("smoke", 8, 8), ("validate", 15, 15)]


def test_failed_checks_by_hand_have_their_own_exit_code(project):
    token = project.folder / "dev" / "run" / "token"
    right = token.read_text()
    token.write_text("wrong\n")  # the workers know the right one since they started
    try:
        assert project.run("smoke", "dev") == ExitCode.CHECKS_FAILED
        assert "7 of 8 failed" in project.said
    finally:
        token.write_text(right)
