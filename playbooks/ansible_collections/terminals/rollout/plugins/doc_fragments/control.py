# Copyright: (c) 2026, The rollout authors
# MIT License (see LICENSE or https://opensource.org/license/mit)
"""How session managers are told something, as options of modules."""

from __future__ import annotations


class ModuleDocFragment:
    """The way to one, and whoever tells it."""

    DOCUMENTATION = r"""
options:
  ctl:
    description: The words of C(terminals ctl) on this host.
    type: list
    elements: str
    required: true
  fence:
    description: Fencing token of whoever is in charge. Where a higher one has been seen, nothing is changed.
    type: int
    required: true
"""
