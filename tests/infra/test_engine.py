"""The engine of the host, and its clock."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

CLOCK_SECONDS = 5.0


@pytest.fixture(scope="module")
def engine(ask: Any) -> dict[str, Any]:
    return json.loads(ask("docker", "info", "--format", "{{json .}}"))


def test_engine_answers(engine, saw):
    assert engine.get("ServerVersion"), f"no engine: {engine.get('ServerErrors')}"
    saw(f"Docker {engine['ServerVersion']}, {engine['Driver']}")


def test_containers_outlive_the_engine(engine, expected, saw):
    if expected["swarm_network"]:
        saw("not on a node of a Swarm: empty the host before its engine is restarted")
        return
    assert engine["LiveRestoreEnabled"] is True, "live-restore is off; set it with: rollout provision"
    saw("live-restore is on")


def test_engine_is_for_its_group_only(host, ask, saw):
    mode, owner, group = ask("stat", "-L", "-c", "%a %U %G", "/var/run/docker.sock").split()
    assert (mode, owner, group) == ("660", "root", "docker"), f"its socket is {mode} {owner}:{group}"
    saw(f"{mode} {owner}:{group}")


def test_clock_is_right(ask, saw):
    before = time.time()
    there = float(ask("date", "+%s.%N"))
    after = time.time()
    off = max(before - there, there - after, 0.0)
    assert off < CLOCK_SECONDS, f"{off:.1f} s off from the control machine"
    saw(f"within {max(off, after - before):.1f} s of the control machine")
