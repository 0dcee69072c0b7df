"""Builds and generations on hosts: installed, started, kept warm, stopped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rollout.build import BuildStore
from rollout.errors import EngineError
from rollout.pipeline.builds import build_at_hand
from rollout.pipeline.retention import builds_to_keep
from rollout.pipeline.steps.base import Back, Step

if TYPE_CHECKING:
    from rollout.pipeline.trial import Trial


@dataclass(frozen=True, kw_only=True)
class Install(Step):
    """The build comes to the hosts, checked by its digest."""

    kind = "install"

    def run(self, trial: Trial) -> str:
        builds = BuildStore(trial.config.builds_dir)
        build = builds.find(trial.plan.build)
        builds.verify(build)
        trial.engine.install(build, hosts=list(self.hosts))
        return build.digest[:12]


@dataclass(frozen=True, kw_only=True)
class Start(Step):
    """Its generation starts, without traffic."""

    kind = "start"

    def run(self, trial: Trial) -> str:
        build = build_at_hand(trial.config, trial.environment, trial.plan.build)
        fence = trial.lease.token
        trial.engine.start(build, trial.plan.generation, fence=fence, hosts=list(self.hosts))
        return ""

    def undone_by(self, back: Back) -> tuple[Step, ...]:
        return (Stop.of(back),)


@dataclass(frozen=True, kw_only=True)
class Stop(Step):
    """The generation on trial ends, and its programs go."""

    kind = "rollback-stop"

    @classmethod
    def of(cls, back: Back) -> Stop:
        """The step that leaves nothing of it."""
        text = f"stop {back.generation}"
        if back.previous is None:
            text += "; there is no earlier build to go back to"
        return cls.everywhere(text, back.hosts)

    def run(self, trial: Trial) -> str:
        if trial.plan.previous_generation is None:
            trial.aftermath(trial.judging.finish_load)  # there is nothing else for its users to go to
        trial.engine.stop(trial.plan.generation, fence=trial.lease.token, hosts=trial.reached())
        return ""

    def needed(self, trial: Trial) -> bool:
        return bool(trial.reached())


@dataclass(frozen=True, kw_only=True)
class Finish(Step):
    """The generation before ends ``after`` seconds from now; as a ``way_back`` it is kept warm until then."""

    kind = "finish"

    after: float
    way_back: bool = True

    @property
    def final(self) -> bool:
        return self.after <= 0

    def run(self, trial: Trial) -> str:
        plan = trial.plan
        if plan.previous_generation:
            trial.engine.retire(
                plan.previous_generation,
                after=self.after,
                # Whoever was left because of a rollback is nobody's way back.
                way_back_from=plan.generation if self.way_back else None,
                fence=trial.lease.token,
                hosts=list(self.hosts),
            )
        return _tidy(trial) if self.way_back else ""


def _tidy(trial: Trial) -> str:
    keep = builds_to_keep(trial.config, trial.ledger, trial.record)
    try:
        gone = trial.engine.tidy(keep)
    except (EngineError, OSError) as error:
        return f"old builds stay: {error}"  # which is no reason to take this one back
    return f"removed {len(gone)} old build{'s' * (len(gone) != 1)}" if gone else ""
