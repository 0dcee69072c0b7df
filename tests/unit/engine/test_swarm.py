"""Which nodes a generation is brought to, by what a Swarm says of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rollout.build.hosts import Answer
from rollout.config import load
from rollout.engine import swarm
from rollout.engine.swarm import SwarmEngine
from rollout.errors import EngineError
from tests.unit.config import test_peers
from tests.unit.config.test_peers import written

LISTEN = {name: port for name, port in test_peers.LISTEN.items() if name != "peers"}
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
        config = load(written(tmp_path, engine="swarm", hosts=HOSTS, listen=LISTEN, authority=None))
        return SwarmEngine(config, config.environment("e"))

    return made


def test_a_new_leader_hears_of_nodes_after_a_while(engine):
    found = engine({"a": "ready", "b": "unknown"}, {"a": "ready", "b": "ready"})._nodes(["a", "b"])
    assert {host: node.id for host, node in found.items()} == {"a": "n-a", "b": "n-b"}


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
