"""The host as a node of a Swarm. Without one, nothing here is collected."""

from __future__ import annotations

import json


def test_host_is_a_node_of_the_swarm(ask, saw):
    swarm = json.loads(ask("docker", "info", "--format", "{{json .Swarm}}"))
    state = swarm["LocalNodeState"]
    assert state == "active", f"it is {state}: {swarm.get('Error') or 'rollout provision makes it one'}"
    saw("a manager" if swarm["ControlAvailable"] else "a worker")


def test_swarm_has_what_may_end_and_nothing_else(running, saw):
    """It ends what it runs when it loses sight of the host."""
    owned = [one for one in running if one.of_a_swarm]
    wrong = [one.name for one in owned if one.is_holder or one.is_manager or one.is_monitor]
    assert not wrong, f"a Swarm may end: {', '.join(wrong)}"
    saw(f"{len(owned)} are of the Swarm")
