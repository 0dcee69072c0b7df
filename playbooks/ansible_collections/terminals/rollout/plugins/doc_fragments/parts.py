# Copyright: (c) 2026, The rollout authors
# MIT License (see LICENSE or https://opensource.org/license/mit)
"""What stays while generations come and go, as options of modules."""

from __future__ import annotations


class ModuleDocFragment:
    """``processes``, ``containers``: those that come, or are replaced; ``replaced``: which are.

    Each is written out: ansible-test reads constants only.
    """

    PROCESSES = r"""
options:
  manager:
    description: The session manager.
    type: dict
    suboptions: &settings
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
    suboptions: *settings
"""
    CONTAINERS = r"""
options:
  manager:
    description: The session manager.
    type: dict
    suboptions:
      <<: &settings
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
          description:
            - Texts of secret files, by name, kept in a volume.
            - The monitor's are URLs of those who are told of alerts.
            - The session manager's are what web processes need of the provider that people sign in by.
          type: dict
          default: {}
      certificates:
        description: Texts of the files by which hosts know each other, by name, in a volume of its own.
        type: dict
        default: {}
  monitor:
    description: The monitor.
    type: dict
    suboptions: *settings
"""
    REPLACED = r"""
options:
  replaced:
    description:
      - What is replaced. For each, what is to be in its place is needed.
      - Of nothing, its secrets and certificates are brought only.
      - Where nothing is said of a monitor, none is to be.
    type: list
    elements: str
    choices: [manager, holder, monitor]
    required: true
  fence:
    description: Fencing token of whoever is in charge. Where a higher one was seen, nothing is replaced.
    type: int
"""
