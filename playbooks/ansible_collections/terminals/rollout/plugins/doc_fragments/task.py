# Copyright: (c) 2026, The rollout authors
# MIT License (see LICENSE or https://opensource.org/license/mit)
"""What all modules need, and how they go about it."""

from __future__ import annotations


class ModuleDocFragment:
    """Of one that writes files that are shown; ``quiet``: of one that does not."""

    DOCUMENTATION = r"""
requirements:
  - python >= 3.9
attributes:
  check_mode:
    support: full
    description: The host is asked, and nothing on it is changed.
  diff_mode:
    support: full
    description: The files that are written are shown.
"""
    QUIET = r"""
requirements:
  - python >= 3.9
attributes:
  check_mode:
    support: full
    description: The host is asked, and nothing on it is changed.
  diff_mode:
    support: none
    description: Nothing that it changes is a file that would be shown.
"""
