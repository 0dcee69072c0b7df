#!/usr/bin/python
# Copyright: (c) 2026, The rollout authors
# MIT License (see LICENSE or https://opensource.org/license/mit)
"""Module ``process_parts``."""

from __future__ import annotations

DOCUMENTATION = r"""
module: process_parts
short_description: Replace what stays while generations come and go, as processes
version_added: 0.1.0
description:
  - Puts others in the place of the session manager, the holder and the monitor, each where it is asked for.
  - Sessions go on. A session manager that does not answer is replaced all the more.
author: The rollout authors (!UNKNOWN)
requirements:
  - python >= 3.9
extends_documentation_fragment:
  - terminals.rollout.process
  - terminals.rollout.process_parts
options:
  replaced:
    description:
      - What is replaced. For each, what is to be in its place is needed.
      - Where nothing is said of a monitor, none is to be.
    type: list
    elements: str
    choices: [manager, holder, monitor]
    required: true
  fence:
    description: Fencing token of whoever is in charge. Where a higher one has been seen, nothing is replaced.
    type: int
  holder:
    description: What the holder goes on as.
    type: dict
    suboptions:
      build:
        description: Its build, which is on the host.
        type: str
        required: true
attributes:
  check_mode:
    support: full
    description: The host is asked, and nothing on it is changed.
  diff_mode:
    support: full
    description: The files that are written are shown.
"""

EXAMPLES = r"""
- name: Replace the session manager
  terminals.rollout.process_parts:
    root: /srv/terminals/dev
    replaced: [manager]
    fence: 12
    manager:
      build: 0.1.0-ab12cd34ef56
      settings: 0123456789ab
      config: "{{ manager }}"
"""

RETURN = r"""
did:
  description: What was changed on the host, or would be, in that order.
  returned: always
  type: list
  elements: str
  sample: [Replace the session manager]
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.terminals.rollout.plugins.module_utils.host import Failed, Host, carry_out
from ansible_collections.terminals.rollout.plugins.module_utils.options import (
    FENCE,
    PROCESS,
    PROCESS_PARTS,
    process_environment,
)


def act(host: Host, options: dict[str, Any]) -> None:
    """Do what the task says."""
    environment = process_environment(host, options)
    replaced = options["replaced"]
    missing = [part for part in ("manager", "holder") if part in replaced and not options[part]]
    if missing:
        raise Failed(f"nothing is said of what is to be in the place of: {', '.join(missing)}")
    environment.control.in_charge(options["fence"])
    if "manager" in replaced:
        environment.replace_manager(options["manager"])
    if "holder" in replaced:
        environment.renew_holder(options["holder"]["build"], options["fence"])
    if "monitor" in replaced and options["monitor"]:
        environment.replace_monitor(options["monitor"])
    elif "monitor" in replaced:
        environment.remove_monitor()


def main() -> None:
    """Carry the task out."""
    spec = {
        **PROCESS,
        **PROCESS_PARTS,
        **FENCE,
        "replaced": {
            "type": "list",
            "elements": "str",
            "choices": ["manager", "holder", "monitor"],
            "required": True,
        },
        "holder": {"type": "dict", "options": {"build": {"type": "str", "required": True}}},
    }
    carry_out(AnsibleModule(spec, supports_check_mode=True), act)


if __name__ == "__main__":
    main()
