"""Asking a Swarm through managers of which some answer, and what it may have."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from rollout.build.hosts import Answer, LocalHost
from rollout.errors import EngineError
from rollout.swarm import cluster
from rollout.swarm.cluster import Node, Swarm

NO_LEADER = "Error response from daemon: rpc error: code = Unknown desc = The swarm does not have a leader."
LOST = (
    "Error response from daemon: rpc error: code = Unknown desc = raft: failed to process the request: node"
    " lost leader status"
)
NO_MANAGER = (
    "Error response from daemon: This node is not a swarm manager. Worker nodes can't be used to view"
)


class Managers:
    """Hosts that answer what they were told to, in turn; the last answer again and again."""

    def __init__(self, **answers: list[Answer]) -> None:
        self.answers = answers
        self.asked: list[tuple[str, tuple[str, ...]]] = []

    def ask(self, host: str, words: Sequence[str]) -> Answer:
        self.asked.append((host, tuple(words)))
        left = self.answers[host]
        return left.pop(0) if len(left) > 1 else left[0]


def ok(output: str = "") -> Answer:
    return Answer(0, output, "")


def no(errors: str, status: int = 1) -> Answer:
    return Answer(status, "", errors)


def swarm(managers: Managers, project: str = "p-e") -> Swarm:
    return Swarm(project, list(managers.answers), managers.ask)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(cluster, "LEADER_POLL", 0.01)


@pytest.mark.parametrize(
    "answer", [no(NO_LEADER), no(LOST), no(NO_MANAGER), no("no route to host", 255), no("", 124)]
)
def test_the_next_manager_is_asked_where_one_cannot_answer_and_first_from_then_on(answer):
    managers = Managers(a=[answer], b=[ok("yes")], c=[ok("no")])
    asking = swarm(managers)
    assert asking.tell("docker", "node", "ls") == "yes"
    assert asking.tell("docker", "node", "ls") == "yes"
    assert [host for host, _ in managers.asked] == ["a", "b", "b"]


def test_an_election_is_waited_for():
    managers = Managers(a=[no(NO_LEADER), no(NO_LEADER), ok("yes")], b=[no("timed out", 255)])
    assert swarm(managers).tell("docker", "node", "ls") == "yes"


def test_without_a_majority_it_is_said_what_is_the_matter(monkeypatch):
    monkeypatch.setattr(cluster, "LEADER_SECONDS", 0.1)
    with pytest.raises(
        EngineError, match=r"no leader: none of 2 managers answers \(a: .*leader\.; b: gone\)"
    ):
        swarm(Managers(a=[no(NO_LEADER)], b=[no("gone", 255)])).tell("docker", "node", "ls")


def test_what_is_refused_is_not_asked_of_others():
    managers = Managers(a=[no("Error response from daemon: invalid mount config")], b=[ok()])
    with pytest.raises(EngineError, match=r"^a: docker service create: Error response from daemon: invalid"):
        swarm(managers).tell("docker", "service", "create", "x")
    assert len(managers.asked) == 1


def spec(name: str, image: str = "sha256:1", project: str = "p-e", args=("worker",), source="p-e_run") -> str:
    labels = {cluster.PROJECT: project, cluster.GENERATION: "g1"} if project else {}
    container = {"Image": image, "Args": list(args), "Mounts": [{"Type": "volume", "Source": source}]}
    return json.dumps({"Name": name, "Labels": labels, "TaskTemplate": {"ContainerSpec": container}})


def test_a_service_that_was_made_before_its_answer_was_lost_is_the_one():
    """The leader was lost after it had made it: who asks again is told that the name is taken."""
    taken = no("Error response from daemon: rpc error: name conflicts with an existing object: p")
    managers = Managers(a=[taken, ok(spec("p-e-g1-worker-1"))])
    assert swarm(managers).create("p-e-g1-worker-1", "sha256:1", ("docker",)) is False
    managers = Managers(a=[taken, ok(spec("p-e-g1-worker-1", image="sha256:2"))])
    with pytest.raises(EngineError, match="is there already, and runs sha256:2, not sha256:1"):
        swarm(managers).create("p-e-g1-worker-1", "sha256:1", ("docker",))


def test_what_is_gone_already_is_removed():
    gone = no("Error: No such service: p-e-g1-web-1")
    managers = Managers(a=[ok(spec("p-e-g1-web-1", args=("web",))), gone])
    asking = swarm(managers)
    assert asking.remove(asking.ours()) == ["p-e-g1-web-1"]


@pytest.mark.parametrize(
    ("theirs", "what"),
    [
        (spec("x", project="", source="p-e_home"), "p-e_home"),
        (spec("x", project="", source="p-e_run"), "p-e_run"),
        (spec("x", args=("holder",)), "p-e_run"),
        (spec("x", args=("manager",), source=""), "manager"),
        (spec("x", args=(), source=""), "no command"),
    ],
)
def test_what_holds_shells_is_not_a_swarm_s(theirs, what):
    with pytest.raises(EngineError, match=rf"runs the service x \({what}\).*docker service rm x$"):
        swarm(Managers(a=[ok("\n".join([spec("p-e-g1-worker-1"), theirs]))])).ours()


def test_what_others_run_there_is_theirs():
    said = [spec("p-e-g1-worker-1"), spec("db", project="", source="db_data"), spec("o", project="p-other")]
    said[2] = said[2].replace("p-e_run", "p-other_run")
    managers = Managers(a=[ok("\n".join(said))])
    assert [service.name for service in swarm(managers).ours()] == ["p-e-g1-worker-1"]


def node(**labels: str) -> dict[str, Any]:
    return {"ID": "n1", "Spec": {"Role": "manager", "Labels": labels}, "Status": {"State": "ready"}}


def test_only_labels_that_are_otherwise_are_set():
    managers = Managers(a=[ok(json.dumps(node(**{"terminals.p-e.host": "eu-1", "region": "eu"}))), ok()])
    asking = swarm(managers)
    (found,) = asking.nodes()
    assert found == Node("n1", "eu-1", {"terminals.p-e.host": "eu-1", "region": "eu"}, True, "ready")
    assert asking.label(found, {"region": "eu", "other": None}) is False
    assert len(managers.asked) == 1
    assert asking.label(found, {"region": None, "terminals.p-e": "yes"}) is True
    words = ("docker", "node", "update", "--label-rm", "region", "--label-add", "terminals.p-e=yes", "n1")
    assert managers.asked[-1] == ("a", words)


def test_what_the_swarm_could_not_start_is_said_with_its_reason():
    said = "vm: No such image: sha256:1\nvm: No such image: sha256:1\nvm: \n"
    managers = Managers(a=[ok(spec("p-e-g1-worker-1")), ok(said)])
    assert swarm(managers).why_not("g1") == "; the Swarm says: vm: No such image: sha256:1"
    assert swarm(Managers(a=[ok("")])).why_not("g1") == ""
    assert swarm(Managers(a=[no("nonsense")])).why_not("g1") == ""


def test_a_change_that_another_one_has_overtaken_is_made_to_what_is_there_now():
    before, after = node(**{"terminals.p-e.g1": "away"}), node()
    overtaken = no("Error response from daemon: rpc error: code = Unknown desc = update out of sequence")
    managers = Managers(a=[ok(json.dumps(before)), overtaken, ok(json.dumps(after)), ok()])
    asking = swarm(managers)
    (found,) = asking.nodes()
    assert asking.label(found, {"terminals.p-e.g1": None, "x": "y"}) is True
    assert managers.asked[-1][1] == ("docker", "node", "update", "--label-add", "x=y", "n1")


DOCKER = """#!/bin/sh
case "$1 $2" in
    "service ls"|"node ls") {ls} ;;
    "service inspect"|"node inspect") shift 4; for id; do printf '%s\\n' "$SPEC"; done ;;
esac
"""


@pytest.fixture
def real(tmp_path, monkeypatch):
    """A manager that is this machine, whose `docker` does what it is told to."""
    program = tmp_path / "docker"
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")

    def made(ls: str) -> Swarm:
        program.write_text(DOCKER.format(ls=ls))
        program.chmod(0o755)
        return Swarm("p-e", ["a"], lambda host, words: LocalHost().run(words))

    return made


def test_who_cannot_list_them_does_not_say_that_there_are_none(real, monkeypatch):
    """It would be taken for an empty Swarm: what runs would be led away from everywhere."""
    monkeypatch.setattr(cluster, "LEADER_SECONDS", 0.05)
    usage = "See the usage. " * 40
    failing = real(f"echo '{NO_LEADER} {usage}' >&2; exit 1")
    for ask in (failing.services, failing.nodes, failing.ours):
        with pytest.raises(EngineError, match="the Swarm has no leader"):
            ask()


def test_what_is_listed_is_looked_at(real, monkeypatch):
    monkeypatch.setenv("SPEC", spec("p-e-g1-web-1", args=("web",)))
    assert [service.name for service in real("echo 1").ours()] == ["p-e-g1-web-1"]
    assert real("exit 0").services() == []


def test_an_order_that_was_carried_out_before_its_leader_was_lost_is_not_refused_the_second_time():
    before, after = node(**{"terminals.p-e.g1": "away"}), node()
    again = no("Error: key terminals.p-e.g1 doesn't exist in node's labels")
    managers = Managers(
        a=[ok(json.dumps(before)), no(LOST), again, ok(json.dumps(after))], b=[no(NO_MANAGER)]
    )
    asking = swarm(managers)
    (found,) = asking.nodes()
    assert asking.label(found, {"terminals.p-e.g1": None}) is True
    assert "inspect" in managers.asked[-1][1][-1], "it is so already"
