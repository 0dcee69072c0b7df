# Copyright: (c) 2026, The rollout authors
# MIT License (see LICENSE or https://opensource.org/license/mit)
"""Options of the modules for environments as processes."""

from __future__ import annotations


class ModuleDocFragment:
    """Options of the modules for environments as processes."""

    DOCUMENTATION = r"""
options:
  root:
    description: Directory that holds everything of the environment on this host.
    type: path
    required: true
  seconds:
    description: Until what is started has to be ready.
    type: int
    default: 60
"""
