"""Making a Swarm of hosts: what each engine is told, by what they say of themselves."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from rollout.build.hosts import Answer
from rollout.config import load
from rollout.errors import EngineError
from rollout.swarm import membership
from rollout.swarm.cluster import Swarm
from rollout.swarm.membership import HEARTBEAT_SECONDS, Membership
from tests.unit.config.test_peers import ALONE, written

INACTIVE = {"LocalNodeState": "inactive", "NodeID": "", "ControlAvailable": False}


@dataclass
class Engines:
    """What the engines of hosts say, and what they were told to change."""

    members: dict[str, dict[str, Any]]
    nodes: list[dict[str, Any]] = field(default_factory=list)
    told: list[tuple[str, str]] = field(default_factory=list)
    heartbeat: int = HEARTBEAT_SECONDS
    networks: bool = False
    refuse: str = "nothing"
    leaderless: int = 0
    """So often somebody wants to join while there is no leader."""

    def ask(self, host: str, words: Sequence[str]) -> Answer:
        said = " ".join(words)
        if self.refuse in said:
            return Answer(1, "", "no route to host")
        if "swarm join --token" in said and self.leaderless:
            self.leaderless -= 1
            return Answer(1, "", "rpc error: code = Unknown desc = The swarm does not have a leader.")
        if "swarm init" in said or "swarm join --token" in said:
            self._come(host, manager="init" in said or "SWMTKN-manager" in said)
        if "info --format {{json .Swarm}}" in said:
            return Answer(0, json.dumps(self.members[host]), "")
        if "Swarm.Cluster" in said:
            spec = {"Spec": {"Dispatcher": {"HeartbeatPeriod": self.heartbeat * 10**9}}}
            return Answer(0, json.dumps(spec), "")
        if "node inspect" in said:
            return Answer(0, "\n".join(map(json.dumps, self.nodes)), "")
        if "service inspect" in said:
            return Answer(0, "", "")
        if "network ls" in said:
            return Answer(0, "p-e-alone\np-e-alone-here\n" if self.networks else "bridge\n", "")
        self.told.append((host, said))
        if "join-token" in said:
            return Answer(0, f"SWMTKN-{words[-1]}\n", "")
        return Answer(0, "", "")

    def _come(self, host: str, *, manager: bool) -> None:
        self.members[host] = active(f"new-{host}", manager=manager)
        self.nodes.append(node(f"new-{host}", "manager" if manager else "worker"))


def active(name: str, *, manager: bool) -> dict[str, Any]:
    return {"LocalNodeState": "active", "NodeID": name, "ControlAvailable": manager}


def node(name: str, role: str, **labels: str) -> dict[str, Any]:
    return {"ID": name, "Spec": {"Role": role, "Labels": labels}, "Status": {"State": "ready"}}


def at_once(hosts: Sequence[str], act: Callable[[str], Any]) -> dict[str, Any]:
    return {host: act(host) for host in hosts}


def bring(folder: Path, engines: Engines, *, check: bool = False, **hosts: dict[str, Any]) -> list[str]:
    """Bring hosts into a Swarm; what was said to be done."""
    said = {name: {"root": "/srv/t", "address": f"192.0.2.{number}", **hosts.get(name, {})}
            for number, name in enumerate(engines.members, 1)}  # fmt: skip
    path = written(folder, engine="swarm", hosts=said, listen=ALONE, authority=None)
    environment = load(path).environment("e")
    told: list[str] = []
    swarm = Swarm("p-e", environment.swarm_managers, engines.ask)
    Membership(
        environment,
        swarm,
        at_once=at_once,
        ask=engines.ask,
        tell=lambda host, what: told.append(f"{host}: {what}"),
        check=check,
    ).bring()
    return told


def test_of_bare_hosts_a_swarm_is_made_whose_tokens_are_worth_nothing_afterwards(tmp_path):
    engines = Engines({name: dict(INACTIVE) for name in "abcd"})
    said = bring(tmp_path, engines, b={"region": "eu"})
    assert said[:4] == [
        "a: Make a Swarm",
        "b: Join the Swarm, as manager",
        "c: Join the Swarm, as manager",
        "d: Join the Swarm, as worker",
    ]
    told = [words for _, words in engines.told]
    assert "docker swarm init --advertise-addr 192.0.2.1 --dispatcher-heartbeat 300s" in told
    join = "docker swarm join --token SWMTKN-worker --advertise-addr 192.0.2.4 192.0.2.1:2377"
    assert ("d", join) in engines.told
    last = max(index for index, words in enumerate(told) if " join --token" in words)
    rotated = [words for words in told[last:] if "--rotate" in words]
    assert sorted(words.split()[-1] for words in rotated) == ["manager", "worker"]
    labels = [words for words in told if "node update" in words and "new-b" in words]
    (update,) = labels
    assert "terminals.p-e=yes" in update and "terminals.p-e.host=b" in update and "region=eu" in update


def settled(**labels: str) -> Engines:
    members = {name: active(f"node-{name}", manager=True) for name in "abc"}
    nodes = [
        node(f"node-{name}", "manager", **{"terminals.p-e": "yes", "terminals.p-e.host": name, **labels})
        for name in "abc"
    ]
    return Engines(members, nodes, networks=True)


def test_where_all_is_so_already_nothing_is_done(tmp_path):
    engines = settled()
    assert bring(tmp_path, engines) == []
    assert engines.told == []


def test_a_check_says_what_would_be_done_and_does_nothing(tmp_path):
    engines = Engines({name: dict(INACTIVE) for name in "abc"})
    said = bring(tmp_path, engines, check=True)
    assert "a: Make a Swarm" in said and "c: Join the Swarm, as manager" in said
    assert engines.told == []
    engines = settled(**{"terminals.p-e": "no"})
    engines.heartbeat = 5
    said = bring(tmp_path, engines, check=True)
    waits = "a: Have the Swarm wait for nodes it does not hear of"
    assert said == [waits, "a: Label the node", "b: Label the node", "c: Label the node"]
    assert engines.told == []


def test_a_host_of_another_swarm_is_not_taken_from_it(tmp_path):
    engines = settled()
    engines.members["c"] = active("a-node-of-theirs", manager=True)
    with pytest.raises(EngineError, match=r"^c: it is in a Swarm that e knows no manager of; if nothing"):
        bring(tmp_path, engines)
    assert engines.told == []


def test_a_manager_that_does_not_answer_makes_nobody_a_stranger(tmp_path):
    """Two hosts have one manager: who followed the advice for strangers would end what runs on the other."""
    engines = settled()
    del engines.members["c"]
    engines.members["a"] = {"LocalNodeState": ""}
    engines.members["b"] = active("node-b", manager=False)
    with pytest.raises(EngineError) as failed:
        bring(tmp_path, engines)
    assert failed.value.message.startswith("b: it is in a Swarm, and a, which may manage it, does not answer")
    assert "leave" not in failed.value.message
    assert engines.told == []


def test_one_that_was_set_up_anew_comes_back_and_what_it_was_is_forgotten(tmp_path):
    engines = settled()
    engines.members["c"] = dict(INACTIVE)
    said = bring(tmp_path, engines)
    assert said[0] == "c: Join the Swarm, as manager"
    assert said.count("a: Forget what c was before") == 2
    told = [words for _, words in engines.told]
    assert told.index("docker node demote node-c") < told.index("docker node rm --force node-c")


def test_who_manages_goes_only_where_that_is_said_and_after_another_has_come(tmp_path):
    engines = settled()
    assert bring(tmp_path, engines, b={"swarm": "manager"}) == [], "others may have made them managers"
    engines.nodes[1] = node("node-b", "worker", **engines.nodes[1]["Spec"]["Labels"])
    engines.members["b"] = active("node-b", manager=False)
    said = bring(tmp_path, engines, b={"swarm": "manager"}, a={"swarm": "worker"}, c={"swarm": "worker"})
    assert said == [
        "b: Make it a manager of the Swarm",
        "a: Make it a worker of the Swarm",
        "c: Make it a worker of the Swarm",
    ]


def test_tokens_are_worth_nothing_where_somebody_could_not_join_either(tmp_path):
    engines = Engines({name: dict(INACTIVE) for name in "ab"}, refuse="swarm join --token")
    with pytest.raises(EngineError, match=r"^b: Join the Swarm, as worker: no route"):
        bring(tmp_path, engines)
    assert any("--rotate --quiet worker" in words for _, words in engines.told)


def test_who_comes_during_an_election_waits_for_its_end(tmp_path, monkeypatch):
    monkeypatch.setattr(membership, "LEADER_POLL", 0.01)
    said = bring(tmp_path, Engines({name: dict(INACTIVE) for name in "ab"}, leaderless=3))
    assert said.count("b: Join the Swarm, as worker") == 1
    monkeypatch.setattr(membership, "LEADER_SECONDS", 0.05)
    with pytest.raises(EngineError, match=r"^b: Join the Swarm, as worker: .*does not have a leader"):
        bring(tmp_path, Engines({name: dict(INACTIVE) for name in "ab"}, leaderless=1000))


def test_a_region_that_is_not_said_is_not_taken_away(tmp_path):
    engines = settled(region="theirs")
    assert bring(tmp_path, engines) == []
