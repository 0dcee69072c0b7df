"""Turning what was observed into evidence that gates can judge."""

from rollout.evidence.collect import from_checks, from_generation, from_load

__all__ = ["from_checks", "from_generation", "from_load"]
