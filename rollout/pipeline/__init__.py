"""Moving builds through environments: what the commands call."""

from rollout.pipeline.commands import (
    EnvironmentStatus,
    deploy,
    history,
    promote,
    resume,
    rollback,
    status,
    teardown,
)
from rollout.pipeline.plan import Kind, Plan, Step

__all__ = [
    "EnvironmentStatus",
    "Kind",
    "Plan",
    "Step",
    "deploy",
    "history",
    "promote",
    "resume",
    "rollback",
    "status",
    "teardown",
]
