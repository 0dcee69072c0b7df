#!/usr/bin/python
# Copyright: (c) 2026, The rollout authors
# MIT License (see LICENSE or https://opensource.org/license/mit)
"""Module ``process_environment``."""

from __future__ import annotations

DOCUMENTATION = r"""
module: process_environment
short_description: Remove an environment of processes from a host
version_added: 0.1.0
description:
  - Stops everything of it, sessions included, and removes its directory.
  - The directory has to be one that was made for it.
author: The rollout authors (!UNKNOWN)
extends_documentation_fragment:
  - terminals.rollout.process
  - terminals.rollout.task.quiet
options:
  state:
    description: It is not there afterwards.
    type: str
    choices: [absent]
    required: true
"""

EXAMPLES = r"""
- name: Remove the environment
  terminals.rollout.process_environment:
    root: /srv/terminals/dev
    state: absent
"""

RETURN = r"""
did:
  description: What was changed on the host, or would be, in that order.
  returned: always
  type: list
  elements: str
  sample: [Remove the environment's directory]
"""

from typing import Any

from ansible_collections.terminals.rollout.plugins.module_utils.host import Host, carry_out
from ansible_collections.terminals.rollout.plugins.module_utils.options import (
    GONE,
    PROCESS,
    process_environment,
)

SPEC: dict[str, Any] = {**PROCESS, **GONE}


def act(host: Host, options: dict[str, Any]) -> None:
    """Do what the task says."""
    process_environment(host, options).tear_down()


def main() -> None:
    """Carry the task out."""
    carry_out(SPEC, act)


if __name__ == "__main__":
    main()
