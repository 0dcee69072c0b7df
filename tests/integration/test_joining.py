"""A host that comes to an environment, or back to it, gets what the others serve before anything else."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from terminals.client import Terminal

from rollout.errors import ExitCode
from tests.support.project import PROFILES, Project
from tests.support.resident import Resident

pytestmark = [pytest.mark.rollout, pytest.mark.in_order, pytest.mark.slow("two hosts, and five rollouts")]

SMOKE = {"metric": "smoke.pass_ratio", "op": ">=", "threshold": 1}


class Growing(Project):
    """An environment whose hosts are those that are named, each with ports of its own on this machine."""

    may_break = True  # one of its hosts is killed

    def hosts(self, *names: str, profiles: dict = PROFILES, lost: str = "") -> None:
        def host(name: str) -> dict:
            return {"root": name, "listen": self.listen(name), **({"lost": True} if name == lost else {})}

        dev = {
            "hosts": {name: host(name) for name in names},
            "listen": self.listen(names[0]),
            "profiles": profiles,
            "canary": [{"weight": 50, "hold": "1s"}, {"weight": 100, "hold": "1s"}],
            "checks": ["smoke"],
            "gates": [SMOKE],
            "rollback_window": "1h",
        }
        self.write({"dev": dev})

    def serving(self, host: str) -> dict[str, int]:
        """The generations that have traffic."""
        found = self.generations(host)
        return {name: entry["weight"] for name, entry in found.items() if entry["weight"]}

    def terminal(self, host: str) -> Terminal:
        token = (self.folder / host / "run" / "token").read_text().strip()
        return Terminal(f"ws://127.0.0.1:{self.listen(host)['system']}/", token=token)


@pytest.fixture(scope="module")
def project() -> Iterator[Growing]:
    with tempfile.TemporaryDirectory(prefix="rollout-") as folder:
        project = Growing(Path(folder))
        try:
            project.hosts("one")
            assert project.run("build") == 0, project.said
            assert project.run("deploy", "dev") == 0, project.said
            assert project.run("deploy", "dev") == 0, project.said
            yield project
        finally:
            project.close()


def test_with_a_host_that_is_new_nothing_begins_until_it_has_what_serves(project):
    project.hosts("one", "two")
    for command in ("deploy", "rehearse"):
        assert project.run(command, "dev") == ExitCode.REFUSED, project.said
        assert "two: not on g2, which serves on the others; bring it there first" in project.said
    assert project.serving("one") == {"g2": 100}
    assert not (project.folder / "two").exists()
    assert project.run("status", "dev") == 0
    assert "where the host is new: rollout apply dev" in project.said


def test_it_gets_it_and_the_other_is_left_alone(project):
    somebody = Resident(project.terminal("one"))
    plan = project.json("apply", "dev", "--plan")
    assert [(step["name"], list(step["hosts"])) for step in plan["forward"]][:3] == [
        ("install", ["two"]),
        ("join-start", ["two"]),
        ("join", ["two"]),
    ]
    assert project.run("apply", "dev") == 0, project.said
    assert (project.serving("one"), project.serving("two")) == ({"g2": 100}, {"g2": 100})
    assert project.run("apply", "dev") == 0
    assert "what runs is what is declared" in project.said
    assert project.json("history", "dev")[0]["state"] == "applied"
    assert project.json("status", "dev")[0]["current"]["generation"] == "g2"
    somebody.leave()


def test_then_both_go_on_together_and_back(project):
    assert project.run("deploy", "dev") == 0, project.said
    generation = project.json("status", "dev")[0]["current"]["generation"]
    assert project.serving("two") == {generation: 100}
    assert project.run("rollback", "dev") == 0, project.said
    assert (project.serving("one"), project.serving("two")) == ({"g2": 100}, {"g2": 100})


def test_a_build_comes_to_one_that_is_being_emptied_too(project):
    assert project.run("drain", "two", "--no-wait", "--message", "") == 0, project.said
    assert project.run("deploy", "dev") == 0, project.said
    generation = project.json("status", "dev")[0]["current"]["generation"]
    assert project.serving("two") == {generation: 100}
    assert project.json("status", "dev")[0]["hosts"]["two"]["host_state"] == "draining"
    assert project.run("undrain", "two") == 0, project.said
    assert project.run("rollback", "dev") == 0, project.said


def test_one_that_was_away_comes_back_with_its_shells_to_what_the_others_serve_by_then(project):
    somebody = Resident(project.terminal("two"))
    project.hosts("one", "two", lost="two")  # the other is away: nothing waits for it
    assert project.run("deploy", "dev") == 0, project.said
    assert "without two: stated to be lost, in rollout.yaml" in project.said
    told = [entry["text"] for entry in project.json("report", "dev")["timeline"] if "two" in entry["text"]]
    assert any("without two: stated to be lost, says" in text for text in told), told
    assert project.run("status", "dev") == 0
    assert "stated to be lost" in project.said
    assert project.run("logs", "dev", "--host", "two") == ExitCode.USAGE
    assert "two is stated to be lost; take lost: true away" in project.said
    current = project.json("status", "dev")[0]["current"]["generation"]
    project.hosts("one", "two")
    assert project.run("deploy", "dev") == ExitCode.REFUSED, project.said
    assert f"two: not on {current}, which serves on the others" in project.said
    assert project.run("status", "dev") == 0
    assert f"{current} does not serve there: rollout apply dev" in " ".join(project.said.split())
    assert "rollout adopt" not in project.said
    assert project.run("apply", "dev") == 0, project.said
    assert project.serving("two") == {current: 100}
    # What served there is what the others would go back to: it is kept there as well, and gone back to.
    assert project.generations("two")["g2"]["workers"]
    assert project.run("rollback", "dev") == 0, project.said
    assert (project.serving("one"), project.serving("two")) == ({"g2": 100}, {"g2": 100})
    somebody.leave()


def test_what_was_to_end_there_stays_where_it_serves_again(project):
    """On both it was a way back for an hour; one of them went back to it while the other was away."""
    assert project.run("deploy", "dev") == 0, project.said
    assert project.generations("two")["g2"]["retire_at"]
    project.hosts("one")
    assert project.run("rollback", "dev") == 0, project.said
    project.hosts("one", "two")
    assert project.run("apply", "dev") == 0, project.said
    for host in ("one", "two"):
        assert project.serving(host) == {"g2": 100}
        assert project.generations(host)["g2"]["retire_at"] is None


def test_where_it_does_not_pass_the_others_are_left_alone_and_it_says_what_stays(project):
    before = project.serving("one")
    (generation,) = before
    project.hosts("one", "two", "three", profiles={**PROFILES, "system": {"command": ["/bin/false"]}})
    assert project.run("apply", "dev") == ExitCode.ENGINE, project.said
    assert f"{generation} stays on three; out of use by: rollout drain three" in project.said
    assert (project.serving("one"), project.serving("two")) == (before, before)
    assert project.json("history", "dev")[0]["state"] == "rolled-back"
    project.hosts("one", "two", "three")
    assert project.run("apply", "dev") == 0, project.said
    assert project.serving("three") == before
