#!/usr/bin/python
# Copyright: (c) 2026, The rollout authors
# MIT License (see LICENSE or https://opensource.org/license/mit)
"""Module ``docker_build``."""

from __future__ import annotations

DOCUMENTATION = r"""
module: docker_build
short_description: Bring what runs a build of the terminal services to a host, as containers
version_added: 0.1.0
description:
  - Takes the environment's directory and brings the Compose files.
  - Checks that the image that has arrived is the one that was built.
author: The rollout authors (!UNKNOWN)
extends_documentation_fragment:
  - terminals.rollout.docker
  - terminals.rollout.task
options:
  image:
    description: Name and tag of the build's image, which has arrived already; looked at where it is given.
    type: str
  image_id:
    description: What the engine has to call it.
    type: str
  files:
    description: The Compose files, by name.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Bring what runs a build
  terminals.rollout.docker_build:
    root: /srv/terminals/dev
    project: terminals-dev
    image: terminals:0.1.0-ab12cd34ef56
    image_id: "{{ image_id }}"
    files:
      manager.yaml: "{{ lookup('ansible.builtin.file', 'compose/manager.yaml', rstrip=false) }}"
      generation.yaml: "{{ lookup('ansible.builtin.file', 'compose/generation.yaml', rstrip=false) }}"
"""

RETURN = r"""
did:
  description: What was changed on the host, or would be, in that order.
  returned: always
  type: list
  elements: str
  sample: [Bring the Compose files]
"""

from typing import Any

from ansible_collections.terminals.rollout.plugins.module_utils.host import Host, carry_out
from ansible_collections.terminals.rollout.plugins.module_utils.options import DOCKER, docker_environment

SPEC: dict[str, Any] = {
    **DOCKER,
    "image": {"type": "str"},
    "image_id": {"type": "str"},
    "files": {"type": "dict", "required": True},
}


def act(host: Host, options: dict[str, Any]) -> None:
    """Do what the task says."""
    docker_environment(host, options).install(options["image"], options["image_id"], options["files"])


def main() -> None:
    """Carry the task out."""
    carry_out(SPEC, act, required_together=[("image", "image_id")])


if __name__ == "__main__":
    main()
