"""A soak that a real monitor watches: promoted on its records, taken back on them, with and without us."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from rollout.errors import ExitCode
from rollout.ledger import Ledger
from tests.support.project import PROFILES, Project, source_of
from tests.support.stack import until

pytestmark = [pytest.mark.rollout, pytest.mark.slow("soaks that are watched while they last")]


class Watched(Project):
    """Dev has a monitor that looks each second, and staging comes after it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.versions = 1
        self.configure()

    def configure(self, *, takeback: bool = False, soak: str = "4s") -> None:
        common = {
            "profiles": PROFILES,
            "canary": [{"weight": 100, "hold": "1s"}],
            "gates": [{"metric": "generation.memory_bytes", "op": "<", "threshold": "500MB"}],
            "max_hold": "30s",
            "rollback_window": "1h",
        }
        down = {"name": "down", "severity": "critical", "metric": "up", "op": "==", "threshold": 0}
        alert = {**down, "profile": "system", "for": "1s"}
        dev = {
            **common,
            "hosts": {"local": {"root": "dev"}},
            "listen": self.listen("dev"),
            "soak": soak,
            "monitor": {"every": "1s", "timeout": "2s", "alerts": [alert]},
            "soak_gates": [
                {"metric": "monitor.critical_alerts", "op": "==", "threshold": 0},
                {"metric": "monitor.reuse_rate", "op": ">", "threshold": 0.3},
            ],
            "takeback": takeback,
        }
        staging = {
            **common,
            "after": "dev",
            "hosts": {"local": {"root": "staging"}},
            "listen": self.listen("staging"),
        }
        self.write({"dev": dev, "staging": staging})

    def another_build(self) -> None:
        """Deploy a build that has not served yet: it is what is gone back from."""
        self.versions += 1
        source = source_of(f"0.{self.versions}.0", self.folder)
        assert self.run("build", "--source", str(source)) == 0, self.said
        assert self.run("deploy", "dev") == 0, self.said

    def break_workers(self, generation: str) -> None:
        """The build's workers end, and nobody starts them again."""
        root = self.folder / "dev"
        command = [root / "base" / "venv" / "bin" / "supervisorctl", "-c", root / "conf" / "supervisord.conf"]
        subprocess.run([*command, "stop", f"worker-{generation}:*"], check=True, capture_output=True)


@pytest.fixture(scope="module")
def project():
    with Watched.deployed() as project:
        yield project


def test_promoted_on_what_the_monitor_saw(project):
    project.configure(soak="1h")
    if project.versions > 1:  # what serves again was gone back to while an alert was on, which counts
        project.another_build()
    assert project.run("promote", "staging") == ExitCode.REFUSED
    assert "was observed in dev for" in project.said
    (status,) = project.json("status", "dev")
    assert 0 <= status["soaked"] < status["soak"] == 3600
    until(lambda: project.json("status", "dev")[0]["soaked"] > status["soaked"], "more of the soak")
    assert project.run("status", "dev") == 0
    assert "soaked" in project.said
    project.configure(soak="4s")
    assert project.run("promote", "staging", "--wait") == 0, project.said
    record = project.json("history", "staging")[0]
    with Ledger(f"sqlite:///{project.folder}/state/ledger.db") as ledger:
        criteria = ledger.verdicts(record["id"], "criteria")
        verdicts = {result.gate: result.verdict for _, result in criteria}
        evidence = [item for item in ledger.evidence(record["id"]) if item.source == "monitor"]
    assert verdicts == {"monitor.critical_alerts": "pass", "monitor.reuse_rate": "pass"}
    assert {item.labels["environment"] for item in evidence} == {"dev"}
    assert all(item.n > 0 for item in evidence)
    soak = project.json("soak", "dev", "--once")
    assert soak["observed"] >= 4
    assert soak["done"]
    assert project.run("status", "dev") == 0
    assert "soaked" not in project.said
    assert project.json("report", "dev")["decision"].startswith("go")


def test_a_build_that_fails_its_soak_is_taken_back(project):
    before = project.weights("dev")
    project.configure(soak="1h")
    project.another_build()
    bad = project.json("history", "dev")[0]
    project.break_workers(bad["generation"])
    assert project.run("soak", "dev") == ExitCode.GATE_FAILED, project.said
    assert "monitor.critical_alerts" in project.said
    assert project.weights("dev") == before
    (serving,) = (entry for entry in project.generations("dev").values() if entry["weight"])
    assert serving["retire_at"] is None, "it was to end with its rollback window, and serves everybody now"
    record = project.json("history", "dev")[0]
    assert (record["kind"], record["state"]) == ("rollback", "promoted")
    assert "monitor.critical_alerts" in record["figures"]["why"]
    report = project.json("report", "dev", "--rollout", str(bad["number"]))
    assert "fail" in {row["verdict"] for row in report["criteria"]}
    assert report["decision"].startswith("no-go")


def test_a_host_takes_a_bad_build_back_when_nobody_else_is_there(project):
    project.configure(takeback=True, soak="1h")
    before = project.weights("dev")
    project.another_build()
    record = project.json("history", "dev")[0]
    somebody = project.resident("dev")
    project.break_workers(record["generation"])
    until(lambda: project.weights("dev") == before, "the host going back by itself")
    somebody.leave()
    assert project.run("status", "dev") == 0
    assert "monitor@" in project.said
    assert project.run("deploy", "dev") == ExitCode.REFUSED
    assert "rollout adopt dev" in project.said
    assert project.run("adopt", "dev") == 0, project.said
    adopted = project.json("history", "dev")[0]
    assert adopted["kind"] == "rollback"
    assert project.json("status", "dev")[0]["current"]["generation"] in before
