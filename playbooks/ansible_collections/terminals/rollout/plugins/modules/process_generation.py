#!/usr/bin/python
# Copyright: (c) 2026, The rollout authors
# MIT License (see LICENSE or https://opensource.org/license/mit)
"""Module ``process_generation``."""

from __future__ import annotations

DOCUMENTATION = r"""
module: process_generation
short_description: Start, stop or verify a generation of the terminal services, as processes
version_added: 0.1.0
description:
  - Starts the supervisor, the holder, the session manager and the monitor, too, where there is none.
  - Those that run stay.
author: The rollout authors (!UNKNOWN)
extends_documentation_fragment:
  - terminals.rollout.process
  - terminals.rollout.parts.processes
  - terminals.rollout.generation
  - terminals.rollout.task
options:
  build:
    description: Its build, which is on the host.
    type: str
"""

EXAMPLES = r"""
- name: Start a generation
  terminals.rollout.process_generation:
    root: /srv/terminals/dev
    generation: g7
    build: 0.1.0-ab12cd34ef56
    workers: 2
    manager:
      build: 0.1.0-ab12cd34ef56
      settings: 0123456789ab
      config: "{{ manager }}"

- name: Stop it
  terminals.rollout.process_generation:
    root: /srv/terminals/dev
    generation: g7
    state: absent
    fence: 12
"""

RETURN = r"""
did:
  description: What was changed on the host, or would be, in that order.
  returned: always
  type: list
  elements: str
  sample: [Start the generation]
"""

from typing import Any

from ansible_collections.terminals.rollout.plugins.module_utils.host import Host, carry_out
from ansible_collections.terminals.rollout.plugins.module_utils.options import (
    GENERATION,
    PROCESS,
    PROCESS_PARTS,
    process_environment,
)

SPEC: dict[str, Any] = {**PROCESS, **PROCESS_PARTS, **GENERATION, "build": {"type": "str"}}


def act(host: Host, options: dict[str, Any]) -> None:
    """Do what the task says."""
    environment = process_environment(host, options)
    generation, workers, fence = options["generation"], options["workers"], options["fence"]
    if options["state"] == "present":
        parts = options["manager"], options["monitor"]
        environment.start(generation, options["build"], workers, *parts, fence)
    elif options["state"] == "absent":
        environment.stop(generation, fence)
    else:
        environment.control.until_ready(generation, workers, options["seconds"])


def main() -> None:
    """Carry the task out."""
    carry_out(SPEC, act, required_if=[("state", "present", ("build", "manager"))])


if __name__ == "__main__":
    main()
