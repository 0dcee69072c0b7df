"""Users and their sessions, led from one generation to another, and back."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from rollout.checks.smoke import smoke
from rollout.engine import ShiftResult
from rollout.errors import EngineError
from rollout.pipeline.glass import refuse_broken
from rollout.pipeline.silence import statuses_of
from rollout.pipeline.steps.base import Back, Step
from rollout.pipeline.steps.bring import Stop
from rollout.pipeline.steps.parts import PutBack, Replace, with_a_manager
from rollout.units import count, duration

if TYPE_CHECKING:
    from rollout.pipeline.trial import Trial

T = TypeVar("T")

REVERTS = ("stop", "revert", "preserve")
"""One command to the managers: no new connection goes to the bad build from its first moment on, live
sessions return, and what they are is kept by holding them, not by copying."""


@dataclass(frozen=True, kw_only=True)
class Shift(Step):
    """``weight`` percent of the traffic, and of the live sessions, come to the generation on trial."""

    kind = "shift"
    leads = True

    weight: int

    def run(self, trial: Trial) -> str:
        plan = trial.plan
        trial.shifts(self.weight)
        if plan.previous_generation is None or self.weight == 100:
            weights = {plan.generation: 100}
        else:
            weights = {plan.previous_generation: 100 - self.weight, plan.generation: self.weight}
        result = trial.engine.shift(
            weights,
            to=plan.generation,
            share=self.weight,
            fence=trial.lease.token,
            hosts=list(self.hosts),
        )
        trial.ledger.add_figures(
            trial.record.id,
            sessions_moved=result.moved,
            sessions_drained=result.drained,
            sessions_severed=result.severed,
        )
        return _moves(result)

    def undone_by(self, back: Back) -> tuple[Step, ...]:
        if back.previous is None:
            return (Stop.of(back),)
        text = f"all traffic and live sessions back to {back.previous}"
        return Return.everywhere(text, back.hosts), Stop.of(back)


@dataclass(frozen=True, kw_only=True)
class GoBack(Shift):
    """The same, to a build that people knew before: a rollback that was asked for."""

    kind = "go-back"
    records = REVERTS

    def run(self, trial: Trial) -> str:
        def act() -> str:
            return _kept(trial, trial.plan.generation, self.hosts, lambda: Shift.run(self, trial))

        return with_a_manager(trial, act, Replace)


@dataclass(frozen=True, kw_only=True)
class Return(Step):
    """All traffic and all live sessions come back to the generation before."""

    kind = "rollback-shift"
    records = REVERTS

    def run(self, trial: Trial) -> str:
        previous = trial.plan.previous_generation
        assert previous is not None
        return with_a_manager(trial, lambda: _return_to(trial, previous), PutBack)

    def needed(self, trial: Trial) -> bool:
        return bool(trial.reached())


@dataclass(frozen=True, kw_only=True)
class VerifyReturn(Step):
    """The generation before has all traffic, the other one none, and the front door works."""

    kind = "rollback-verify"
    records = ("verify",)

    def run(self, trial: Trial) -> str:
        plan, reached = trial.plan, trial.reached()
        statuses = statuses_of(trial.engine, reached)
        for host in reached:
            status = statuses[host]
            if status is None:
                raise EngineError(f"{host}: its session manager does not answer")
            old = _generation(status, plan.previous_generation)
            new = _generation(status, plan.generation)
            if old is None or old["weight"] != 100:
                raise EngineError(f"{host}: {plan.previous_generation} does not have all traffic")
            if new is not None and (new["weight"] or new["connections"]):
                raise EngineError(f"{host}: {plan.generation} still serves {new['connections']} connections")
        results = [result for target in trial.engine.targets() for result in smoke(target)]
        trial.record_checks("smoke", results, "junit-smoke-after-rollback.xml")
        bad = [result for result in results if not result.ok]
        if bad:
            raise EngineError(f"smoke after the rollback: {bad[0].name}: {bad[0].detail}")
        return f"smoke {len(results)}/{len(results)}"

    def needed(self, trial: Trial) -> bool:
        return bool(trial.reached())


def _return_to(trial: Trial, generation: str) -> str:
    reached, fence = trial.reached(), trial.lease.token
    before = _belonging(trial, reached, trial.judging.seen or trial.engine.status())
    began = time.time()
    led = trial.engine.lead_back(generation, fence=fence, hosts=reached)
    refuse_broken(trial.environment.name, led.broken)
    turned, full = began + led.result.turned, began + led.result.cleared
    if led.failed:
        trial.lease.check()
        trial.observer.message(f"not at once: {'; '.join(led.failed.values())}: once more", "warning")
    # Who was not reached has another time; where everybody was led back, there is nothing to do.
    confirmed = _kept(
        trial,
        generation,
        led.failed,
        lambda: trial.engine.shift({generation: 100}, to=generation, share=100, fence=fence, hosts=reached),
    )
    if led.failed:
        turned = full = time.time() - (confirmed.seconds - confirmed.cleared)
    result = replace(led.result + confirmed, remaining=confirmed.remaining)
    # Some come back by themselves as soon as the weights are set: a bad build drops its people.
    left = _belonging(trial, reached, trial.engine.status())
    trial.ledger.add_figures(
        trial.record.id,
        sessions_returned=max(result.moved, before - result.drained - left),
        sessions_drained=result.drained,
        sessions_severed=result.severed,
        verdict_to_turned_s=round(turned - trial.verdict_at, 3),
        verdict_to_rolled_back_s=round(full - trial.verdict_at, 3),
    )
    return f"all new connections after {duration(turned - trial.verdict_at)}; {_moves(result)}"


def _belonging(trial: Trial, hosts: Sequence[str], statuses: Mapping[str, Any]) -> int:
    """How many live sessions belong to the generation on trial."""
    found = [_generation(statuses.get(host), trial.plan.generation) for host in hosts]
    return sum(int(entry["assigned"]) for entry in found if entry)


def _kept(trial: Trial, generation: str, hosts: Collection[str], lead: Callable[[], T]) -> T:
    """Lead people to a generation that stays on these hosts."""
    silent = keep(trial, generation, hosts) if hosts else []
    result = lead()
    if silent:  # they have answered since, or nobody could be led there
        keep(trial, generation, silent)
    return result


def keep(trial: Trial, generation: str, hosts: Collection[str]) -> list[str]:
    """Whoever is led to was to end when the rollback window is over, or has: it stays. Gives the hosts whose
    session managers do not answer: nobody knows whether it stays there."""
    statuses = trial.engine.status()
    found = {host: _generation(statuses.get(host), generation) for host in hosts}
    leaving = [
        host for host, entry in found.items() if entry and (entry["retire_at"] or entry["state"] == "retired")
    ]
    if leaving:
        trial.engine.keep(generation, fence=trial.lease.token, hosts=leaving)
    return [host for host in hosts if statuses.get(host) is None]


def _generation(status: Mapping[str, Any] | None, name: str | None) -> Mapping[str, Any] | None:
    return next((entry for entry in (status or {}).get("generations", []) if entry["name"] == name), None)


def _moves(result: ShiftResult) -> str:
    return (
        f"{count(result.moved, 'session')} moved, {result.drained} drained, {result.severed} severed"
        f" in {duration(result.seconds)}" + (f", {result.remaining} not reached" if result.remaining else "")
    )
