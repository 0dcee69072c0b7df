#!/usr/bin/python
# Copyright: (c) 2026, The rollout authors
# MIT License (see LICENSE or https://opensource.org/license/mit)
"""Module ``process_build``."""

from __future__ import annotations

DOCUMENTATION = r"""
module: process_build
short_description: Put a build of the terminal services on a host, as processes
version_added: 0.1.0
description:
  - Takes the environment's directory, makes its token, unpacks the build and checks it against its digests.
  - Makes a virtual environment of it, and once the one of what holds the sessions.
author: The rollout authors (!UNKNOWN)
extends_documentation_fragment:
  - terminals.rollout.process
  - terminals.rollout.task.quiet
options:
  build:
    description: The build's id.
    type: str
    required: true
  archive:
    description: The build's archive on this host.
    type: path
    required: true
  uv:
    description: The uv program on this host, by which virtual environments are made.
    type: path
    required: true
  python:
    description: The Python that they are made from.
    type: path
    required: true
"""

EXAMPLES = r"""
- name: Put a build on the host
  terminals.rollout.process_build:
    root: /srv/terminals/dev
    build: 0.1.0-ab12cd34ef56
    archive: /var/cache/builds/0.1.0-ab12cd34ef56/build.tar
    uv: /usr/local/bin/uv
    python: /usr/bin/python3
"""

RETURN = r"""
did:
  description: What was changed on the host, or would be, in that order.
  returned: always
  type: list
  elements: str
  sample: [Carry the build to the host]
"""

from pathlib import Path
from typing import Any

from ansible_collections.terminals.rollout.plugins.module_utils.host import Host, carry_out
from ansible_collections.terminals.rollout.plugins.module_utils.options import PROCESS, process_environment

SPEC: dict[str, Any] = {
    **PROCESS,
    "build": {"type": "str", "required": True},
    "archive": {"type": "path", "required": True},
    "uv": {"type": "path", "required": True},
    "python": {"type": "path", "required": True},
}


def act(host: Host, options: dict[str, Any]) -> None:
    """Do what the task says."""
    environment = process_environment(host, options)
    archive = Path(options["archive"])
    environment.install(options["build"], archive, uv=options["uv"], python=options["python"])


def main() -> None:
    """Carry the task out."""
    carry_out(SPEC, act)


if __name__ == "__main__":
    main()
