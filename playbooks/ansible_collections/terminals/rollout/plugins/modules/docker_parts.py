#!/usr/bin/python
# Copyright: (c) 2026, The rollout authors
# MIT License (see LICENSE or https://opensource.org/license/mit)
"""Module ``docker_parts``."""

from __future__ import annotations

DOCUMENTATION = r"""
module: docker_parts
short_description: Replace what stays while generations come and go, as containers
version_added: 0.1.0
description:
  - Puts others in the place of the session manager, the holder and the monitor, each where it is asked for.
  - Sessions go on. A session manager that does not answer is replaced all the more.
author: The rollout authors (!UNKNOWN)
extends_documentation_fragment:
  - terminals.rollout.docker
  - terminals.rollout.compose
  - terminals.rollout.parts.containers
  - terminals.rollout.parts.replaced
  - terminals.rollout.task
options:
  holder:
    description: What the holder goes on as.
    type: dict
    suboptions:
      build:
        description: Its build, which is on the host.
        type: str
        required: true
      image:
        description: Name and tag of its image.
        type: str
        required: true
"""

EXAMPLES = r"""
- name: Replace the session manager
  terminals.rollout.docker_parts:
    root: /srv/terminals/dev
    project: terminals-dev
    replaced: [manager]
    fence: 12
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
  sample: [Replace the session manager]
"""

from typing import Any

from ansible_collections.terminals.rollout.plugins.module_utils.host import Host, carry_out
from ansible_collections.terminals.rollout.plugins.module_utils.options import (
    COMPOSE,
    DOCKER,
    DOCKER_PARTS,
    IMAGE,
    REPLACED,
    docker_environment,
)
from ansible_collections.terminals.rollout.plugins.module_utils.parts import replace_parts

SPEC: dict[str, Any] = {
    **DOCKER,
    **COMPOSE,
    **DOCKER_PARTS,
    **REPLACED,
    "holder": {"type": "dict", "options": {"build": {"type": "str", "required": True}, **IMAGE}},
}


def act(host: Host, options: dict[str, Any]) -> None:
    """Do what the task says."""
    environment = docker_environment(host, options)
    if not options["replaced"]:
        environment.control.in_charge(options["fence"])
        environment.bring(options["manager"])
        return
    replace_parts(environment, options)


def main() -> None:
    """Carry the task out."""
    carry_out(SPEC, act)


if __name__ == "__main__":
    main()
