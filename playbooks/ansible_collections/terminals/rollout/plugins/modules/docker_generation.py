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
requirements:
  - python >= 3.9
extends_documentation_fragment:
  - terminals.rollout.docker
  - terminals.rollout.compose
  - terminals.rollout.docker_parts
options:
  state:
    description:
      - With C(present) it runs afterwards, without traffic, and is ready.
      - With C(absent) it is stopped, and nothing of it is left but its build.
      - With C(verified) nothing is changed, and it is an error if it is not ready.
    type: str
    choices: [present, absent, verified]
    default: present
  generation:
    description: Name of the generation.
    type: str
    required: true
  workers:
    description: Its worker containers.
    type: int
    default: 1
  fence:
    description: Fencing token of whoever is in charge. Where a higher one has been seen, nothing is done.
    type: int
  image_id:
    description: With C(verified), what the engine has to call the image of its containers.
    type: str
  token:
    description: Token that clients present. One is made on the host when it is not given.
    type: str
attributes:
  check_mode:
    support: full
    description: The host is asked, and nothing on it is changed.
  diff_mode:
    support: full
    description: The files that are written are shown.
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

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.terminals.rollout.plugins.module_utils.host import Host, carry_out
from ansible_collections.terminals.rollout.plugins.module_utils.options import (
    COMPOSE,
    DOCKER,
    DOCKER_PARTS,
    FENCE,
    docker_environment,
)


def act(host: Host, options: dict[str, Any]) -> None:
    """Do what the task says."""
    environment = docker_environment(host, options)
    generation, workers = options["generation"], options["workers"]
    if options["state"] == "present":
        parts = options["manager"], options["monitor"]
        environment.start(generation, workers, *parts, options["token"], options["fence"])
    elif options["state"] == "absent":
        environment.stop(generation, options["fence"])
    else:
        environment.verify(generation, workers, options["image_id"])


def main() -> None:
    """Carry the task out."""
    spec = {
        **DOCKER,
        **COMPOSE,
        **DOCKER_PARTS,
        **FENCE,
        "state": {"type": "str", "choices": ["present", "absent", "verified"], "default": "present"},
        "generation": {"type": "str", "required": True},
        "workers": {"type": "int", "default": 1},
        "image_id": {"type": "str"},
        "token": {"type": "str", "no_log": True},
    }
    carry_out(
        AnsibleModule(
            spec,
            required_if=[("state", "present", ("manager",)), ("state", "verified", ("image_id",))],
            supports_check_mode=True,
        ),
        act,
    )


if __name__ == "__main__":
    main()
