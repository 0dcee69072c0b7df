#!/usr/bin/python
# Copyright: (c) 2026, The rollout authors
# MIT License (see LICENSE or https://opensource.org/license/mit)
"""Module ``retirement``."""

from __future__ import annotations

DOCUMENTATION = r"""
module: retirement
short_description: Have a generation stop by itself at a later time, or not
version_added: 0.1.0
description:
  - Sets the time at which a generation that has no traffic any more stops, or takes that back.
author: The rollout authors (!UNKNOWN)
extends_documentation_fragment:
  - terminals.rollout.control
  - terminals.rollout.task.quiet
options:
  state:
    description: With C(absent) a generation that was to be retired is kept.
    type: str
    choices: [present, absent]
    default: present
  generation:
    description: Name of the generation.
    type: str
    required: true
  after:
    description: Seconds from now.
    type: float
    default: 0
  way_back_from:
    description: The generation from which a monitor may lead everybody back to this one until then.
    type: str
"""

EXAMPLES = r"""
- name: Keep the former generation warm for a day
  terminals.rollout.retirement:
    ctl: [docker, exec, terminals-dev-manager-1, terminals, ctl]
    fence: 12
    generation: g6
    after: 86400
    way_back_from: g7
"""

RETURN = r"""
did:
  description: What was changed on the host, or would be, in that order.
  returned: always
  type: list
  elements: str
  sample: [Set the time at which the generation stops]
"""

from typing import Any

from ansible_collections.terminals.rollout.plugins.module_utils.control import Control
from ansible_collections.terminals.rollout.plugins.module_utils.host import Failed, Host, carry_out
from ansible_collections.terminals.rollout.plugins.module_utils.options import CONTROL

SPEC: dict[str, Any] = {
    **CONTROL,
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "generation": {"type": "str", "required": True},
    "after": {"type": "float", "default": 0},
    "way_back_from": {"type": "str"},
}


def act(host: Host, options: dict[str, Any]) -> None:
    """Do what the task says."""
    control, generation, fence = Control(host, options["ctl"]), options["generation"], options["fence"]
    if host.check:
        control.in_charge(fence)
    elif options["state"] == "absent":
        control.expect(f"{generation} is not kept", "cancel-retire", generation, fence=fence)
    else:
        words = ["retire", generation, "--after", options["after"]]
        back = ["--way-back-from", options["way_back_from"]] if options["way_back_from"] else []
        answer = control.ask(*words, *back, fence=fence)
        if "No such option" in answer.err:  # a session manager of before ways back
            answer = control.ask(*words, fence=fence)
        if answer.code != 0:
            raise Failed(f"{generation} is not retired: {answer.reason}")
    host.did.append("Set the time at which the generation stops")


def main() -> None:
    """Carry the task out."""
    carry_out(SPEC, act)


if __name__ == "__main__":
    main()
