"""What stays while generations come and go, replaced under its sessions: session manager, holder, monitor."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from rollout.engine.base import running_parts
from rollout.errors import EngineError, LeaseLost
from rollout.pipeline.parts import Pair, Replaced, as_params, from_params, summary, there, undone
from rollout.pipeline.silence import live_in, statuses_of
from rollout.pipeline.steps.base import Back, Step
from rollout.units import count, duration

if TYPE_CHECKING:
    from rollout.pipeline.trial import Trial


@dataclass(frozen=True, kw_only=True)
class Replace(Step):
    """Other parts come into their places."""

    kind = "manager"

    to: dict[str, Any]
    """By host and part, what is to run: see :func:`rollout.pipeline.parts.as_params`."""
    instead: dict[str, Any] = field(default_factory=dict)
    """The same of what the way back puts in its place again."""
    back: dict[str, str] = field(default_factory=dict)
    """By host, what the way back does there."""

    @classmethod
    def of(cls, pairs: Replaced, name: str = "") -> Replace:
        """The step that makes of the first of each pair the second."""
        again = undone(pairs)
        return cls(
            name=name,
            summary="replace what stays, under its sessions",
            hosts={host: summary(pair) for host, pair in pairs.items()},
            to=as_params(pairs, 1),
            instead=as_params(again, 0),
            back={host: summary(_reversed(parts)) for host, parts in again.items()},
        )

    def run(self, trial: Trial) -> str:
        before = time.monotonic()
        parts = from_params(self.to, list(self.hosts))
        trial.engine.manage(parts, fence=trial.lease.token)
        took = duration(time.monotonic() - before)
        statuses = statuses_of(trial.engine, parts)
        live, silent = live_in({host: statuses[host] for host in parts})
        unknown = f"; {', '.join(silent)} does not answer yet" if silent else ""
        return f"{count(live, 'session')} kept, after {took}{unknown}"

    def undone_by(self, back: Back) -> tuple[Step, ...]:
        if not self.instead:
            return ()
        text = "put what was there before in its place again"
        return (PutBack(summary=text, hosts=self.back, to=self.instead),)


@dataclass(frozen=True, kw_only=True)
class PutBack(Step):
    """Those of before come back, where they may have been replaced."""

    kind = "rollback-manager"

    to: dict[str, Any]

    def run(self, trial: Trial) -> str:
        before = from_params(self.to, trial.managed())
        status = trial.engine.status()
        missing = {
            host: {
                part: wanted
                for part, wanted in parts.items()
                # Of a host whose session manager does not answer, nothing is known.
                if status.get(host) is None or not there(running_parts(status[host])[part], wanted)
            }
            for host, parts in before.items()
        }
        missing = {host: parts for host, parts in missing.items() if parts}
        if missing:
            trial.engine.manage(missing, fence=trial.lease.token)
        return f"on {', '.join(missing)}" if missing else "they are there already"

    def needed(self, trial: Trial) -> bool:
        return bool(trial.managed())

    def joined(self, other: Step) -> PutBack:
        assert isinstance(other, PutBack)
        return replace(self, hosts={**other.hosts, **self.hosts}, to={**other.to, **self.to})


def with_a_manager(trial: Trial, act: Callable[[], str], kind: type[Replace | PutBack]) -> str:
    """Tell session managers something; where they fail, once more those that a ``kind`` of step puts in."""
    try:
        return act()
    except LeaseLost:
        raise
    except EngineError:
        trial.lease.check()
        step = next((step for step in trial.plan.steps if isinstance(step, kind)), None)
        if step is None:
            raise
        step.run(trial)
        return act()


def _reversed(parts: Mapping[str, Pair]) -> dict[str, Pair]:
    return {part: (new, old) for part, (old, new) in parts.items()}
