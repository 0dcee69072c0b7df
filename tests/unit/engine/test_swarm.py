"""Which nodes a generation is brought to, by what a Swarm says of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rollout.build.hosts import Answer
from rollout.config import load
from rollout.engine import swarm
from rollout.engine.docker import DockerEngine
from rollout.engine.swarm import SwarmEngine
from rollout.errors import EngineError
from rollout.swarm.cluster import Labels, Node, Service
from rollout.swarm.membership import HEARTBEAT_SECONDS
from tests.unit.config.test_peers import ALONE, written

HOSTS = {name: {"root": "/srv/t", "address": f"192.0.2.{n}"} for n, name in enumerate("ab", 1)}


def node(host: str, state: str) -> str:
    labels = {"terminals.p-e": "yes", "terminals.p-e.host": host}
    return json.dumps(
        {"ID": f"n-{host}", "Spec": {"Role": "worker", "Labels": labels}, "Status": {"State": state}}
    )


@pytest.fixture
def engine(tmp_path: Path, monkeypatch):
    """Whose Swarm says one thing after the other, the last again and again."""
    monkeypatch.setattr(swarm, "HEARD_POLL", 0.01)

    def made(*said: dict[str, str]) -> SwarmEngine:
        answers = ["\n".join(node(host, state) for host, state in each.items()) for each in said]

        def answer(self, name, words):
            return Answer(0, answers.pop(0) if len(answers) > 1 else answers[0], "")

        monkeypatch.setattr(SwarmEngine, "_answer", answer)
        config = load(written(tmp_path, engine="swarm", hosts=HOSTS, listen=ALONE, authority=None))
        return SwarmEngine(config, config.environment("e"))

    return made


def test_a_new_leader_hears_of_nodes_after_a_while(engine):
    found = engine({"a": "ready", "b": "unknown"}, {"a": "ready", "b": "ready"})._nodes(["a", "b"])
    assert {host: node.id for host, node in found.items()} == {"a": "n-a", "b": "n-b"}


def test_that_it_is_waited_for_is_said_once(engine, monkeypatch):
    told = []
    monkeypatch.setattr(SwarmEngine, "_tell", lambda self, host, what, detail: told.append((host, what)))
    unknown = {"a": "ready", "b": "unknown"}
    engine(unknown, unknown, unknown, {"a": "ready", "b": "ready"})._nodes(["a", "b"])
    assert told == [("b", "Wait for the node to be heard of by the Swarm's new leader")]
    assert swarm.HEARD_SECONDS > HEARTBEAT_SECONDS, "whose manager went without a word comes at its next one"


def test_a_session_manager_that_says_nothing_keeps_its_host_from_nothing(engine):
    """What serves there would be led away from under the people."""
    asking = engine({"a": "ready", "b": "ready"})
    assert asking._strange({"g1", "g2"}, None) == {}
    assert asking._strange({"g1", "g2"}, {"generations": [{"name": "g2"}]}) == {"terminals.p-e.g1": "away"}


def test_others_are_not_waited_for(engine):
    assert list(engine({"a": "ready", "b": "unknown"})._nodes(["a"])) == ["a"]


@pytest.mark.parametrize(
    "said", [{"a": "ready"}, {"a": "ready", "b": "down"}, {"a": "ready", "b": "unknown"}]
)
def test_one_that_is_none_is_said_and_what_to_do(engine, said, monkeypatch):
    monkeypatch.setattr(swarm, "HEARD_SECONDS", 0.05)
    with pytest.raises(
        EngineError, match=r"^b is no node of the Swarm of e, or it does not hear of it; look at"
    ):
        engine(said)._nodes(["a", "b"])


class Remembered:
    """A Swarm with services of two generations, and what it is told."""

    def __init__(self, nodes: list[Node]) -> None:
        self.labels, self._nodes = Labels("p-e"), nodes
        self.told: list[tuple[str, ...]] = []

    def ours(self) -> list[Service]:
        return [Service(f"p-e-{g}-worker-1", "p-e", g, "sha256:1", ("worker",), ()) for g in ("g1", "g2")]

    def nodes(self) -> list[Node]:
        return self._nodes

    def label(self, node: Node, labels: dict) -> bool:
        self.told += [("label", node.host, key, str(value)) for key, value in labels.items()]
        return True

    def remove(self, services) -> list[str]:
        names = [service.name for service in services]
        self.told += [("remove", name) for name in names]
        return names


def at(host: str, **labels: str) -> Node:
    return Node(f"n-{host}", host, {"terminals.p-e": "yes", **labels}, False, "ready")


def generations(**states: str) -> dict:
    return {"generations": [{"name": name, "state": state} for name, state in states.items()]}


def reaping(engine, nodes: list[Node], **status) -> list[tuple[str, ...]]:
    made = engine({})
    made._swarm = Remembered(nodes)
    made._reap(status)
    return made._swarm.told


def test_what_has_retired_everywhere_is_removed_and_nothing_else(engine):
    nodes = [at("a"), at("b", **{"terminals.p-e.g1": "away"})]
    old = generations(g1="retired", g2="active")
    told = reaping(engine, nodes, a=old, b=generations(g2="active"))
    assert told[0] == ("remove", "p-e-g1-worker-1")
    assert {entry[:2] for entry in told[1:]} == {("label", "a"), ("label", "b")}
    assert all(entry[2:] == ("terminals.p-e.g1", "None") for entry in told[1:])
    assert reaping(engine, nodes, a=old, b=generations(g1="active", g2="active")) == []


def test_while_somebody_says_nothing_nothing_is_removed(engine):
    assert reaping(engine, [at("a")], a=generations(g1="retired"), b=None) == []


def test_of_a_host_that_is_lost_nothing_is_taken(engine):
    """It may be cut off from us alone, with people at work on what we have left behind."""
    said = generations(g1="retired", g2="active")
    nodes = [at("a"), at("b"), at("lost-1")]
    told = reaping(engine, nodes, a=said, b=said)
    assert told == [("label", host, "terminals.p-e.g1", "away") for host in "ab"]
    there = [at("a"), at("b"), at("lost-1", **{"terminals.p-e.g1": "away"})]
    assert reaping(engine, there, a=said, b=said)[0] == ("remove", "p-e-g1-worker-1")


def test_without_a_leader_what_was_told_to_stop_is_left_and_said(engine, monkeypatch):
    made = engine({})
    told: list[str] = []
    monkeypatch.setattr(DockerEngine, "stop", lambda self, generation, **rest: told.append(generation))
    monkeypatch.setattr(made, "on_event", lambda event: told.append(f"{event.task}: {event.detail}"))

    def nobody() -> list[Node]:
        raise EngineError("the Swarm has no leader")

    monkeypatch.setattr(made._swarm, "nodes", nobody)
    made.stop("g2", fence=1, hosts=["a", "b"])
    assert told == ["g2", "Leave its services to the next start: the Swarm has no leader"]
