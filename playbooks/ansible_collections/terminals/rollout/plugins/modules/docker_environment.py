#!/usr/bin/python
# Copyright: (c) 2026, The rollout authors
# MIT License (see LICENSE or https://opensource.org/license/mit)
"""Module ``docker_environment``."""

from __future__ import annotations

DOCUMENTATION = r"""
module: docker_environment
short_description: Remove an environment of containers from a host
version_added: 0.1.0
description:
  - Removes everything of it, sessions included, and its directory, which has to be one that was made for it.
author: The rollout authors (!UNKNOWN)
requirements:
  - python >= 3.9
extends_documentation_fragment:
  - terminals.rollout.docker
options:
  state:
    description: It is not there afterwards.
    type: str
    choices: [absent]
    required: true
attributes:
  check_mode:
    support: full
    description: The host is asked, and nothing on it is changed.
  diff_mode:
    support: none
    description: Nothing that it changes is a file that would be shown.
"""

EXAMPLES = r"""
- name: Remove the environment
  terminals.rollout.docker_environment:
    root: /srv/terminals/dev
    project: terminals-dev
    state: absent
"""

RETURN = r"""
did:
  description: What was changed on the host, or would be, in that order.
  returned: always
  type: list
  elements: str
  sample: [Remove the containers]
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.terminals.rollout.plugins.module_utils.host import Host, carry_out
from ansible_collections.terminals.rollout.plugins.module_utils.options import (
    DOCKER,
    docker_environment,
)


def act(host: Host, options: dict[str, Any]) -> None:
    """Do what the task says."""
    docker_environment(host, options).tear_down()


def main() -> None:
    """Carry the task out."""
    spec = {
        **DOCKER,
        "state": {"type": "str", "choices": ["absent"], "required": True},
    }
    carry_out(AnsibleModule(spec, supports_check_mode=True), act)


if __name__ == "__main__":
    main()
