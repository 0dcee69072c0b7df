# Copyright: (c) 2026, The rollout authors
# MIT License (see LICENSE or https://opensource.org/license/mit)
"""What stays while generations come and go, as containers."""

from __future__ import annotations


class ModuleDocFragment:
    """What stays while generations come and go, as containers."""

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
      image:
        description: Name and tag of its image.
        type: str
        required: true
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
      image:
        description: Name and tag of its image.
        type: str
        required: true
      secrets:
        description: Secret URLs of those who are told of alerts, by name; kept in the monitor's volume.
        type: dict
        default: {}
"""
