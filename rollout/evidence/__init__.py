"""Turning what was observed into evidence that gates can judge."""

from rollout.evidence.collect import from_checks, from_comparison, from_generation, from_load, from_parts
from rollout.evidence.prometheus import from_prometheus
from rollout.evidence.soak import from_monitor
from rollout.evidence.trial import Trial

__all__ = [
    "Trial",
    "from_checks",
    "from_comparison",
    "from_generation",
    "from_load",
    "from_parts",
    "from_monitor",
    "from_prometheus",
]
