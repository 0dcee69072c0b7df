#!/usr/bin/python
# Copyright: (c) 2026, The rollout authors
# MIT License (see LICENSE or https://opensource.org/license/mit)
"""Module ``traffic``."""

from __future__ import annotations

DOCUMENTATION = r"""
module: traffic
short_description: Lead new connections and live sessions to generations
version_added: 0.1.0
description:
  - Sets the weights, by which new connections are led, and moves live sessions in paced batches.
author: The rollout authors (!UNKNOWN)
extends_documentation_fragment:
  - terminals.rollout.control
  - terminals.rollout.task.quiet
options:
  weights:
    description: The share of new connections of each generation. Those not named get none.
    type: dict
    required: true
  to:
    description: Generation that live sessions are moved to.
    type: str
    required: true
  share:
    description: Per cent of the live sessions that are to be there afterwards.
    type: int
    default: 100
  batch:
    description: So many are moved at once.
    type: int
    default: 5
  interval:
    description: Seconds between two batches.
    type: float
    default: 0.2
  deadline:
    description: Seconds in total. What has not moved then stays where it is.
    type: float
    default: 30
attributes:
  check_mode:
    support: partial
    details: How many sessions would move is not known beforehand, so nothing is said of them.
"""

EXAMPLES = r"""
- name: Give a generation a tenth of the traffic
  terminals.rollout.traffic:
    ctl: [docker, exec, terminals-dev-manager-1, terminals, ctl]
    fence: 12
    weights: {g7: 10, g6: 90}
    to: g7
    share: 10
"""

RETURN = r"""
did:
  description: What was changed on the host, or would be, in that order.
  returned: always
  type: list
  elements: str
  sample: [Set the weights]
move:
  description: What became of the live sessions that were to move.
  returned: not in check mode
  type: dict
  sample: {moved: 8, drained: 0, severed: 0, remaining: 0, seconds: 0.4, cleared: 0.4}
"""

from typing import Any

from ansible_collections.terminals.rollout.plugins.module_utils.control import Control
from ansible_collections.terminals.rollout.plugins.module_utils.host import Host, carry_out
from ansible_collections.terminals.rollout.plugins.module_utils.options import CONTROL

SPEC: dict[str, Any] = {
    **CONTROL,
    "weights": {"type": "dict", "required": True},
    "to": {"type": "str", "required": True},
    "share": {"type": "int", "default": 100},
    "batch": {"type": "int", "default": 5},
    "interval": {"type": "float", "default": 0.2},
    "deadline": {"type": "float", "default": 30},
}


def act(host: Host, options: dict[str, Any]) -> dict[str, Any]:
    """Do what the task says."""
    control, fence = Control(host, options["ctl"]), options["fence"]
    if host.check:
        control.in_charge(fence)
        return {}
    pairs = [f"{generation}={weight}" for generation, weight in options["weights"].items()]
    weighed = control.expect("the weights were not set", "weights", *pairs, fence=fence)
    if weighed["changed"]:
        host.did.append("Set the weights")
    pace = [word for name in ("batch", "interval", "deadline") for word in (f"--{name}", options[name])]
    words = ("--to", options["to"], "--share", options["share"], *pace)
    moved = control.expect("sessions were not moved", "move", *words, fence=fence)
    if moved["moved"]:
        host.did.append(f"Move {moved['moved']} live sessions")
    return {"move": moved}


def main() -> None:
    """Carry the task out."""
    carry_out(SPEC, act)


if __name__ == "__main__":
    main()
