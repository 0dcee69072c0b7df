"""Moving builds through environments: what the commands call."""

from rollout.pipeline.begin import Override
from rollout.pipeline.cancel import cancel
from rollout.pipeline.certify import Certificates, Certified, certify
from rollout.pipeline.changes import Provisioned
from rollout.pipeline.commands import (
    EnvironmentStatus,
    adopt,
    apply,
    check,
    deploy,
    plan_rollback,
    provision,
    resume,
    rollback,
    status,
    teardown,
)
from rollout.pipeline.door import door
from rollout.pipeline.drain import Drained, drain, undrain
from rollout.pipeline.obstacles import Obstacle, Planned
from rollout.pipeline.plan import Plan
from rollout.pipeline.promotion import approve, live, now, promote
from rollout.pipeline.rehearsal import rehearse
from rollout.pipeline.soak import Soak, follow_soak
from rollout.pipeline.steps import Step
from rollout.pipeline.upgrade import Emptying

__all__ = [
    "Certificates",
    "Certified",
    "Drained",
    "Emptying",
    "EnvironmentStatus",
    "Override",
    "Obstacle",
    "Plan",
    "Planned",
    "Provisioned",
    "Soak",
    "Step",
    "adopt",
    "apply",
    "approve",
    "cancel",
    "certify",
    "check",
    "deploy",
    "door",
    "drain",
    "follow_soak",
    "live",
    "now",
    "plan_rollback",
    "promote",
    "provision",
    "rehearse",
    "resume",
    "rollback",
    "status",
    "teardown",
    "undrain",
]
