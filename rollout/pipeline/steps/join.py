"""Hosts that come to an environment, or come back to it: they get what the others serve."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rollout.pipeline.steps.base import Back, Step
from rollout.pipeline.steps.bring import Start
from rollout.pipeline.steps.parts import PutBack, with_a_manager
from rollout.pipeline.steps.traffic import keep
from rollout.units import count

if TYPE_CHECKING:
    from rollout.pipeline.trial import Trial


@dataclass(frozen=True, kw_only=True)
class JoinStart(Start):
    """The generation that serves elsewhere starts on hosts that have not had it, without traffic."""

    kind = "join-start"

    before: dict[str, str] = field(default_factory=dict)
    """By host, the generation that served there so far."""

    def run(self, trial: Trial) -> str:
        # Where it served once it may be about to end, or have ended.
        keep(trial, trial.plan.generation, list(self.hosts))
        return super().run(trial)

    def undone_by(self, back: Back) -> tuple[Step, ...]:
        text = f"all traffic back to what served there; where nothing did, {back.generation} stays"
        return (Unjoin.everywhere(text, self.hosts, before=self.before),)


@dataclass(frozen=True, kw_only=True)
class Join(Step):
    """All traffic of these hosts, and their live sessions, come to it."""

    kind = "join"
    leads = True

    def run(self, trial: Trial) -> str:
        generation = trial.plan.generation
        result = trial.engine.shift(
            {generation: 100}, to=generation, share=100, fence=trial.lease.token, hosts=list(self.hosts)
        )
        return f"{count(result.moved, 'session')} moved"


@dataclass(frozen=True, kw_only=True)
class JoinFinish(Step):
    """What served there before ends; what the others keep as a way back is kept there for as long."""

    kind = "join-finish"

    before: dict[str, str]
    warm: dict[str, float] = field(default_factory=dict)
    """By host, seconds for which what served there is a way back."""

    @property
    def final(self) -> bool:
        return any(not self.warm.get(host) for host in self.hosts)

    def run(self, trial: Trial) -> str:
        for host in self.hosts:
            old, after = self.before[host], self.warm.get(host, 0.0)
            way_back = trial.plan.generation if after else None
            fence = trial.lease.token
            trial.engine.retire(old, after=after, way_back_from=way_back, fence=fence, hosts=[host])
        return ""


@dataclass(frozen=True, kw_only=True)
class Unjoin(Step):
    """Those hosts are back on what served there before.

    On one where nothing did, there is nothing to go back to: to end what came would end the shells that have
    begun there since.
    """

    kind = "rollback-join"

    before: dict[str, str] = field(default_factory=dict)

    def run(self, trial: Trial) -> str:
        reached = [host for host in trial.reached() if host in self.hosts]

        def lead() -> str:
            for old in sorted(set(self.before.values())):
                hosts = [host for host in reached if self.before.get(host) == old]
                if hosts:
                    trial.engine.shift({old: 100}, to=old, share=100, fence=trial.lease.token, hosts=hosts)
            return ""

        with_a_manager(trial, lead, PutBack)
        left = [host for host in reached if host not in self.before]
        if not left:
            return ""
        return f"{trial.plan.generation} stays on {', '.join(left)}; out of use by: rollout drain {left[0]}"

    def needed(self, trial: Trial) -> bool:
        return bool(trial.reached())
