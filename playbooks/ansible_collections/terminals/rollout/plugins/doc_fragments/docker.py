# Copyright: (c) 2026, The rollout authors
# MIT License (see LICENSE or https://opensource.org/license/mit)
"""Options of the modules for environments as containers."""

from __future__ import annotations


class ModuleDocFragment:
    """Options of the modules for environments as containers."""

    DOCUMENTATION = r"""
options:
  root:
    description: Directory that holds the environment's Compose files and configuration on this host.
    type: path
    required: true
  project:
    description: Compose project of the environment. That of a generation is this, a dash and its name.
    type: str
    required: true
  seconds:
    description: Until what is started has to be ready.
    type: int
    default: 60
"""
