"""``rollout.yaml``: read and checked once, at the edge, into frozen typed objects.

Nothing deeper reads a dict, the file or the process's environment.
"""

from rollout.config.load import load
from rollout.config.metrics import METRICS, Metric
from rollout.config.model import (
    Alert,
    CanaryStep,
    Config,
    Defaults,
    Environment,
    Gate,
    Host,
    Listen,
    Load,
    Monitor,
    Move,
    Notify,
    Oidc,
    Profile,
    Prometheus,
    Tls,
    Vault,
)
from rollout.config.units import parse_duration, parse_size
from rollout.config.wording import shown, suggestion

__all__ = [
    "METRICS",
    "Alert",
    "CanaryStep",
    "Config",
    "Defaults",
    "Environment",
    "Gate",
    "Host",
    "Listen",
    "Load",
    "Metric",
    "Monitor",
    "Move",
    "Notify",
    "Oidc",
    "Profile",
    "Prometheus",
    "Tls",
    "Vault",
    "load",
    "parse_duration",
    "parse_size",
    "shown",
    "suggestion",
]
