"""Hosts that are nodes of a Swarm: who manages it, and every mistake in one line."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rollout.config import load
from rollout.errors import ConfigError
from tests.unit.config.test_peers import ALONE, written


def hosts(number: int, **more: dict[str, Any]) -> dict[str, Any]:
    return {
        f"h{index}": {"root": "/srv/t", "address": f"192.0.2.{index}", **more.get(f"h{index}", {})}
        for index in range(1, number + 1)
    }


def environment(folder, named: dict[str, Any], **changes: Any):
    said = {"engine": "swarm", "hosts": named, "listen": ALONE, "authority": None, **changes}
    return load(written(folder, **said)).environment("e")


@pytest.mark.parametrize(
    ("named", "managers"),
    [
        (hosts(1), ("h1",)),
        (hosts(2), ("h1",)),
        (hosts(3), ("h1", "h2", "h3")),
        (hosts(6), ("h1", "h2", "h3")),
        (hosts(4, h1={"swarm": "worker"}), ("h2", "h3", "h4")),
        (hosts(3, h1={"swarm": "worker"}), ("h2",)),
        (hosts(3, h3={"swarm": "manager"}), ("h3",)),
    ],
)
def test_the_first_three_manage_it_or_those_that_are_said_to(tmp_path, named, managers):
    assert environment(tmp_path, named).swarm_managers == managers


@pytest.mark.parametrize(("number", "left"), [(3, ("h2", "h3")), (4, ("h2", "h3"))])
def test_one_that_is_lost_manages_nothing_and_no_other_takes_its_place(tmp_path, number, left):
    found = environment(tmp_path, hosts(number, h1={"lost": True}))
    assert found.swarm_managers == left
    assert found.without_lost().swarm_managers == left


def test_a_machine_is_not_both_a_node_of_a_swarm_and_none(tmp_path):
    path = written(tmp_path, engine="swarm", hosts=hosts(1), listen=ALONE, authority=None)
    said = json.loads(path.read_text())
    theirs = {"h9": {"root": "/srv/other", "address": "192.0.2.1", "ssh": "h1"}}
    said["environments"]["f"] = {**said["environments"]["e"], "engine": "docker", "hosts": theirs}
    path.write_text(json.dumps(said))
    with pytest.raises(ConfigError, match=r"f\.hosts\.h9: is a host of e, too, with engine swarm: a node"):
        load(path)


TWO = {"swarm": "manager"}


@pytest.mark.parametrize(
    ("named", "changes", "said"),
    [
        (
            hosts(2, h1=TWO),
            {"engine": "docker"},
            "h1.swarm: the engine docker has no Swarm; use engine: swarm",
        ),
        (hosts(2, h1=TWO, h2=TWO), {}, "2 managers of a Swarm survive no more losses than 1"),
        (hosts(1, h1={"swarm": "worker"}), {}, "none manages the Swarm; make one, or three"),
        (hosts(2, h2={"address": None}), {}, "h2: has no address, at which other nodes of the Swarm"),
        (hosts(2, h2={"address": "h2.example.org"}), {}, "h2.address: h2.example.org: nodes of a Swarm know"),
        (hosts(1, h1={"swarm": "leader"}), {}, "h1.swarm: "),
        (
            hosts(1),
            {"gates": [{"metric": "docker.restarts", "op": "==", "threshold": 0}]},
            "a Swarm makes containers anew, and docker.restarts would always be 0",
        ),
    ],
)
def test_what_could_never_work_is_said_at_its_place(tmp_path, named, changes, said):
    with pytest.raises(ConfigError) as refused:
        environment(tmp_path, named, **changes)
    assert said in str(refused.value)
