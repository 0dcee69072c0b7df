"""Who may let a build go on, who is told, and that the way back was rehearsed first."""

from __future__ import annotations

import os
import pwd
import tempfile
from pathlib import Path

import pytest

from rollout.errors import ExitCode
from rollout.ledger import Ledger
from tests.support.project import PROFILES, Project
from tests.support.webhook import Webhook

pytestmark = [pytest.mark.rollout, pytest.mark.slow("eight promotions, each with its conditions")]


class Team(Project):
    """Dev and staging; staging wants two people's yes and a rehearsal, and tells a webhook."""

    def __init__(self, folder: Path, webhook: Webhook) -> None:
        super().__init__(folder)
        self.webhook = webhook
        self.configure()

    def configure(self, *, memory: str = "500MB", soak: str = "100ms", approvals: int = 0, **staging) -> None:
        gate = {"metric": "generation.memory_bytes", "op": "<"}
        common = {"profiles": PROFILES, "canary": [{"weight": 100, "hold": "1s"}], "max_hold": "30s"}
        dev = {
            **common,
            "hosts": {"local": {"root": "dev"}},
            "listen": self.listen("dev"),
            "gates": [{**gate, "threshold": "500MB"}],
            "soak": soak,
        }
        after = {
            **common,
            "after": "dev",
            "hosts": {"local": {"root": "staging"}},
            "listen": self.listen("staging"),
            "gates": [{**gate, "threshold": memory}],
            "notify": ["team"],
            "approvals": approvals,
            **staging,
        }
        self.write(
            {"dev": dev, "staging": after}, notify={"team": {"url": f"json://{self.webhook.address}/"}}
        )

    def events(self, kind: str) -> list:
        with Ledger(f"sqlite:///{self.folder}/state/ledger.db") as ledger:
            return ledger.events("staging", kind=kind)

    def titles(self) -> list[str]:
        return [message["title"] for message in self.webhook.received]


@pytest.fixture(scope="module")
def team():
    with Webhook() as webhook, tempfile.TemporaryDirectory(prefix="rollout-") as folder:
        team = Team(Path(folder), webhook)
        try:
            assert team.run("build") == 0, team.said
            assert team.run("deploy", "dev") == 0, team.said
            assert team.run("promote", "staging", "--wait") == 0, team.said
            yield team
        finally:
            team.close()


def test_a_promotion_is_told_of_and_recorded(team):
    assert any("was promoted" in title for title in team.titles())
    event = team.events("notification")[0]
    assert (event.data["to"], event.data["ok"]) == ("team", True)
    assert (team.folder / "state" / "dashboard").exists()


def test_a_soak_that_is_not_over_is_refused_waited_for_or_overridden(team):
    team.configure(soak="1h")
    assert team.run("promote", "staging") == ExitCode.REFUSED
    assert "of the required 1 h" in team.said
    assert team.run("promote", "staging", "--override", "it cannot wait") == ExitCode.USAGE
    assert team.run("promote", "staging", "--override", " ", "--name", "Ada") == ExitCode.USAGE
    args = ("promote", "staging", "--override", "it cannot wait", "--name", "Ada Lovelace")
    assert team.run(*args) == 0, team.said
    (override,) = team.events("override")
    assert override.by == "Ada Lovelace"
    assert override.data["reason"] == "it cannot wait"
    assert "of the required 1 h" in override.data["refused"][0]
    report = team.json("report", "staging")
    assert override.rollout == report["rollout"]["id"]
    assert team.run("deploy", "dev") == 0, team.said
    team.configure(soak="20s")
    assert team.run("promote", "staging", "--wait") == 0, team.said
    assert "waiting:" in team.said
    deployed, promoted = team.json("history", "dev")[0], team.json("history", "staging")[0]
    assert promoted["started"] - deployed["ended"] >= 20


def test_two_people_have_to_say_yes(team, monkeypatch):
    monkeypatch.setenv("LOGNAME", "mallory")
    team.configure(approvals=2)
    assert team.run("promote", "staging", "--override", "hurry", "--name", "Ada") == ExitCode.REFUSED
    assert "rollout approve staging" in team.said
    assert team.run("approve", "staging", "--note", "looks good") == 0, team.said
    assert "1 of 2" in team.said
    assert team.run("approve", "staging") == ExitCode.REFUSED
    assert "already" in team.said
    (first,) = team.events("approval")
    assert first.by.partition("@")[0] == pwd.getpwuid(os.getuid()).pw_name  # whatever LOGNAME says
    with Ledger(f"sqlite:///{team.folder}/state/ledger.db") as ledger:  # what the other's machine would write
        ledger.add_event("staging", "approval", by="bob@elsewhere", **first.data)
    assert team.run("promote", "staging") == 0, team.said
    team.configure()


def test_a_rehearsal_moves_everybody_there_and_back(team):
    team.configure(rehearsal="1h")
    assert team.run("promote", "staging") == ExitCode.REFUSED
    assert "rollout rehearse staging" in team.said
    before = team.weights("staging")
    somebody = team.resident("staging")
    assert team.run("rehearse", "staging") == 0, team.said
    record = team.json("history", "staging")[0]
    assert (record["kind"], record["state"]) == ("rehearsal", "rehearsed")
    assert record["figures"]["sessions_moved"] == record["figures"]["sessions_returned"] == 1
    assert record["figures"]["sessions_severed"] == 0
    assert record["figures"]["verdict_to_rolled_back_s"] > 0
    assert team.weights("staging") == before
    somebody.leave()
    steps = [event.data["step"] for event in team.events("plan-step") if event.rollout == record["id"]]
    assert steps == ["stop", "revert", "preserve", "verify", "communicate", "dashboard", "incident"]
    assert "rehearsed" in team.titles()[-1]
    assert team.run("promote", "staging") == 0, team.said


def test_a_bad_build_goes_back_by_the_documented_plan(team):
    team.configure(memory="1MB")
    assert team.run("promote", "staging") == ExitCode.GATE_FAILED
    record = team.json("history", "staging")[0]
    steps = [event for event in team.events("plan-step") if event.rollout == record["id"]]
    assert [event.data["step"] for event in steps] == [
        "stop", "revert", "preserve", "verify", "communicate", "dashboard", "incident",
    ]  # fmt: skip
    assert all(event.data["ok"] for event in steps)
    assert "was taken back" in team.titles()[-1]
    number = record["number"]
    text = (team.folder / "state" / "runs" / "staging" / str(number) / "incident.md").read_text()
    assert "generation.memory_bytes" in text
    assert "| communicate |" in text
    assert "n=1" in text


def test_who_cannot_be_told_is_recorded_and_stops_nothing(team):
    team.configure()
    assert team.run("promote", "staging") == 0, team.said  # that there is a build before
    text = (team.folder / "rollout.yaml").read_text()
    # Nobody listens there.
    (team.folder / "rollout.yaml").write_text(text.replace(team.webhook.address, "127.0.0.1:1"))
    assert team.run("rollback", "staging", "--reason", "people complain") == 0, team.said
    event = team.events("notification")[-1]
    assert not event.data["ok"]
    record = team.json("history", "staging")[0]
    steps = {e.data["step"]: e.data["ok"] for e in team.events("plan-step") if e.rollout == record["id"]}
    assert [name for name, ok in steps.items() if not ok] == ["communicate"]
    assert record["figures"]["why"] == "people complain"
    text = (team.folder / "state" / "runs" / "staging" / str(record["number"]) / "incident.md").read_text()
    assert "people complain" in text
