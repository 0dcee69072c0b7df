# Copyright: (c) 2026, The rollout authors
# MIT License (see LICENSE or https://opensource.org/license/mit)
"""What stays while generations come and go, as processes."""

from __future__ import annotations


class ModuleDocFragment:
    """What stays while generations come and go, as processes."""

    DOCUMENTATION = r"""
options:
  manager:
    description: The session manager.
    type: dict
    suboptions:
      build:
        description: Its build.
        type: str
        required: true
      settings:
        description: Digest of its settings, and the name of their file.
        type: str
        required: true
      config:
        description: Its settings. Without any, they are on the host from before.
        type: dict
        default: {}
  monitor:
    description: The monitor.
    type: dict
    suboptions:
      build:
        description: Its build.
        type: str
        required: true
      settings:
        description: Digest of its settings, and the name of their file.
        type: str
        required: true
      config:
        description: Its settings. Without any, they are on the host from before.
        type: dict
        default: {}
"""
