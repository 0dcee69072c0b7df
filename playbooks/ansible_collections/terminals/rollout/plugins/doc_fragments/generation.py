# Copyright: (c) 2026, The rollout authors
# MIT License (see LICENSE or https://opensource.org/license/mit)
"""A generation, as options of modules."""

from __future__ import annotations


class ModuleDocFragment:
    """Which, and what is to become of it."""

    DOCUMENTATION = r"""
options:
  state:
    description:
      - With C(present) it runs afterwards, without traffic, and is ready.
      - With C(absent) it is stopped, and nothing of it is left but its build.
      - With C(verified) nothing is changed, and it is an error if it is not ready.
    type: str
    choices: [present, absent, verified]
    default: present
  generation:
    description: Name of the generation.
    type: str
    required: true
  workers:
    description: Its workers.
    type: int
    default: 1
  fence:
    description: Fencing token of whoever is in charge. Where a higher one has been seen, nothing is done.
    type: int
"""
