#!/usr/bin/python
# Copyright: (c) 2026, The rollout authors
# MIT License (see LICENSE or https://opensource.org/license/mit)
"""Module ``docker_generation``."""

from __future__ import annotations

DOCUMENTATION = r"""
module: docker_generation
short_description: Start, stop or verify a generation of the terminal services, as containers
version_added: 0.1.0
description:
  - Starts the holder, the session manager and the monitor, too, where there is none.
  - Those that run stay.
author: The rollout authors (!UNKNOWN)
extends_documentation_fragment:
  - terminals.rollout.docker
  - terminals.rollout.compose
  - terminals.rollout.parts.containers
  - terminals.rollout.generation
  - terminals.rollout.task
options:
  state:
    description:
      - With C(present) it runs afterwards, without traffic, and is ready.
      - With C(absent) it is stopped, and nothing of it is left but its build.
      - With C(verified) nothing is changed, and it is an error if it is not ready.
      - With C(prepared) only what it needs is there, the holder and the session manager.
    type: str
    choices: [present, absent, verified, prepared]
    default: present
  swarm:
    description:
      - With C(present), a Docker Swarm has started its containers, after all was C(prepared) for them.
      - They are only waited for.
    type: bool
    default: false
  image_id:
    description: With C(verified), what the engine has to call the image of its containers.
    type: str
  token:
    description: Token that clients present. One is made on the host when it is not given.
    type: str
"""

EXAMPLES = r"""
- name: Start a generation
  terminals.rollout.docker_generation:
    root: /srv/terminals/dev
    project: terminals-dev
    generation: g7
    workers: 2
    variables:
      TERMINALS_IMAGE: terminals:0.1.0-ab12cd34ef56
      TERMINALS_BUILD: 0.1.0-ab12cd34ef56
      TERMINALS_GENERATION: g7
    manager:
      build: 0.1.0-ab12cd34ef56
      image: terminals:0.1.0-ab12cd34ef56
      settings: 0123456789ab
      config: "{{ manager }}"
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
    COMPOSE,
    DOCKER,
    DOCKER_PARTS,
    GENERATION,
    docker_environment,
)

SPEC: dict[str, Any] = {
    **DOCKER,
    **COMPOSE,
    **DOCKER_PARTS,
    **GENERATION,
    "state": {**GENERATION["state"], "choices": [*GENERATION["state"]["choices"], "prepared"]},
    "swarm": {"type": "bool", "default": False},
    "image_id": {"type": "str"},
    "token": {"type": "str", "no_log": True},
}


def act(host: Host, options: dict[str, Any]) -> None:
    """Do what the task says."""
    environment = docker_environment(host, options)
    generation, workers, fence = options["generation"], options["workers"], options["fence"]
    if options["state"] in ("present", "prepared"):
        if options["swarm"]:
            environment.control.in_charge(fence)
        else:
            environment.prepare(options["manager"], options["token"], fence)
        if options["state"] == "present":
            environment.start(generation, workers, options["monitor"], started=options["swarm"])
    elif options["state"] == "absent":
        environment.stop(generation, fence)
    else:
        environment.verify(generation, workers, options["image_id"])


def main() -> None:
    """Carry the task out."""
    needed = [
        ("state", "present", ("manager",)),
        ("state", "prepared", ("manager",)),
        ("state", "verified", ("image_id",)),
    ]
    carry_out(SPEC, act, required_if=needed)


if __name__ == "__main__":
    main()
