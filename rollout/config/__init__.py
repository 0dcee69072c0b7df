"""``rollout.yaml``: read and checked once, at the edge, into frozen typed objects.

Nothing deeper reads a dict, the file or the process's environment.
"""

from rollout.config.load import load
from rollout.config.metrics import METRICS, Metric
from rollout.config.model import (
    CanaryStep,
    Config,
    Defaults,
    Environment,
    Gate,
    Host,
    Listen,
    Load,
    Move,
    Profile,
)
from rollout.config.units import format_duration, format_size, parse_duration, parse_size
from rollout.config.wording import shown, suggestion

__all__ = [
    "METRICS",
    "CanaryStep",
    "Config",
    "Defaults",
    "Environment",
    "Gate",
    "Host",
    "Listen",
    "Load",
    "Metric",
    "Move",
    "Profile",
    "format_duration",
    "format_size",
    "load",
    "parse_duration",
    "parse_size",
    "shown",
    "suggestion",
]
