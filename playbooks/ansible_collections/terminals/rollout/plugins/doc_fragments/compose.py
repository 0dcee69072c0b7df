# Copyright: (c) 2026, The rollout authors
# MIT License (see LICENSE or https://opensource.org/license/mit)
"""How Compose is called."""

from __future__ import annotations


class ModuleDocFragment:
    """How Compose is called."""

    DOCUMENTATION = r"""
options:
  compose:
    description: The words of Compose on this host.
    type: list
    elements: str
    default: [docker, compose, --ansi, never, --progress, quiet]
  variables:
    description: What the Compose files ask for, by name.
    type: dict
    default: {}
"""
