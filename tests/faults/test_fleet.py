"""An environment of several hosts: in batches, the canary's host first; a bad build reaches no other."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest

from rollout.errors import ExitCode
from tests.support.project import PROFILES, Project

pytestmark = [pytest.mark.rollout, pytest.mark.slow("an environment of three hosts, promoted and taken back")]

HOSTS = ("one", "two", "three")


class Fleet(Project):
    """A project whose staging has three hosts, each with its own ports on this machine."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.configure()

    def configure(self, *, memory: str = "500MB") -> None:
        common = {"profiles": PROFILES, "rollback_window": "1h", "max_hold": "60s"}
        gates = [
            {"metric": "load.bytes_lost", "op": "==", "threshold": 0},
            {"metric": "load.commands_twice", "op": "==", "threshold": 0, "each": "host"},
            {"metric": "generation.loops", "op": "==", "threshold": 0},
            {"metric": "generation.memory_bytes", "op": "<", "threshold": memory},
        ]
        dev = {
            **common,
            "hosts": {"local": {"root": "dev"}},
            "listen": self.listen("dev"),
            "gates": [{"metric": "generation.memory_bytes", "op": "<", "threshold": "500MB"}],
            "canary": [{"weight": 100, "hold": "1s"}],
            "soak": "100ms",
        }
        staging = {
            **common,
            "after": "dev",
            "hosts": {name: {"root": name, "listen": self.listen(name)} for name in HOSTS},
            "listen": self.listen(HOSTS[0]),
            "batches": [1, "100%"],
            "canary": [{"weight": 50, "hold": "1s"}, {"weight": 100, "hold": "1s"}],
            "load": {"users": 6, "spawn_rate": 6, "cut_every": "3s"},
            "gates": gates,
        }
        self.write({"dev": dev, "staging": staging})


@pytest.fixture(scope="module")
def fleet():
    with tempfile.TemporaryDirectory(prefix="rollout-") as folder:
        fleet = Fleet(Path(folder))
        try:
            assert fleet.run("build") == 0, fleet.said
            assert fleet.run("deploy", "dev") == 0, fleet.said
            assert fleet.run("promote", "staging", "--wait") == 0, fleet.said
            yield fleet
        finally:
            fleet.close()


def steps(fleet: Fleet) -> list[str]:
    report = fleet.json("report", "staging")
    return [entry["step"] for entry in report["timeline"] if entry["phase"] == "begin"]


def test_the_canarys_host_first_and_the_others_after_its_gates(fleet):
    assert fleet.run("promote", "staging") == 0, fleet.said
    assert steps(fleet) == [
        "install-b1", "start-b1", "load", "shift-50-b1", "watch-50-b1", "shift-100-b1", "watch-100-b1",
        "install-b2", "start-b2", "shift-50-b2", "watch-50-b2", "shift-100-b2", "watch-100-b2",
        "gate", "finish",
    ]  # fmt: skip
    record = fleet.json("history", "staging")[0]
    for host in HOSTS:
        assert fleet.generations(host)[record["generation"]]["weight"] == 100
        assert fleet.generations(host)[record["generation"]]["attaches"] > 0
    figures = record["figures"]
    assert figures["bytes_lost"] == figures["bytes_doubled"] == figures["commands_twice"] == 0
    assert figures["sessions_severed"] == 0
    assert figures["sessions_moved"] > 0
    judged = {entry["step"]: entry["reason"] for entry in verdicts(fleet, "load.commands_twice")}
    assert set(judged) >= {"watch-100-b1", "gate"}, judged
    assert "at each of 1 host, the worst of them one" in judged["watch-100-b1"]
    assert "at each of 3 hosts" in judged["gate"]
    samples = next((fleet.folder / "state" / "runs" / "staging").glob("*/load-*/samples.jsonl")).read_text()
    assert {json.loads(line)["host"] for line in samples.splitlines()} == set(HOSTS)


def verdicts(fleet: Fleet, gate: str) -> list[dict]:
    return [entry for entry in fleet.json("report", "staging")["gates"] if entry["gate"] == gate]


def test_a_bad_build_is_taken_back_where_it_was_and_never_sent_to_the_others(fleet):
    before = fleet.json("history", "staging")[0]["generation"]
    fleet.configure(memory="1MB")  # a gate that no build can pass
    try:
        assert fleet.run("promote", "staging") == ExitCode.GATE_FAILED, fleet.said
    finally:
        fleet.configure()
    record = fleet.json("history", "staging")[0]
    assert record["state"] == "rolled-back"
    assert record["figures"]["bytes_lost"] == record["figures"]["sessions_severed"] == 0
    assert not any(step.endswith("-b2") for step in steps(fleet))
    for host in HOSTS:
        assert fleet.generations(host)[before]["weight"] == 100
    bad = fleet.generations("one")[record["generation"]]
    assert (bad["weight"], bad["workers"], bad["attached"]) == (0, 0, 0)
    for host in ("two", "three"):
        assert record["generation"] not in fleet.generations(host)


def test_a_rollback_by_hand_returns_all_hosts_at_once(fleet):
    assert fleet.run("promote", "staging") == 0, fleet.said
    record = fleet.json("status", "staging")[0]["current"]
    assert fleet.run("rollback", "staging") == 0, fleet.said
    for host in HOSTS:
        assert fleet.generations(host)[record["previous_generation"]]["weight"] == 100
