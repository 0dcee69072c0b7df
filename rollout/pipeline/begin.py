"""How every rollout begins: with its engine, its lease, its plan and its record."""

from __future__ import annotations

import dataclasses
import os
import pwd
import re
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rollout.config import Config, Environment
from rollout.engine import Engine, HostFacts
from rollout.engine.docker import DockerEngine
from rollout.engine.process import ProcessEngine
from rollout.engine.swarm import SwarmEngine
from rollout.errors import Refused
from rollout.ledger import Lease, Ledger, RolloutRecord
from rollout.model import BuildRef, EngineEvent
from rollout.observer import Observer
from rollout.pipeline.interrupts import Interrupts, heeding
from rollout.pipeline.obstacles import Obstacle, Planned, behind, lacking, occupied, refuse, standing
from rollout.pipeline.parts import apart, new_holders
from rollout.pipeline.plan import Plan, make_plan
from rollout.pipeline.readiness import Readiness
from rollout.pipeline.runner import Runner
from rollout.pipeline.silence import facts_of
from rollout.pipeline.trial import Trial


@dataclass(frozen=True, slots=True)
class Override:
    """Somebody goes on in spite of a refusal: who, and why."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Leave:
    """With what a build leaves the environment before: the evidence, and the override where there was one."""

    ready: Readiness
    override: Override | None


def engine_of(config: Config, environment: Environment, observer: Observer | None = None) -> Engine:
    """The engine of an environment; its events go to the observer."""

    def tell(event: EngineEvent) -> None:
        if observer is not None:
            observer.engine_event(event)

    if environment.containers:
        return containers_engine(config, environment, tell)
    return ProcessEngine(config, environment, on_event=tell)


def containers_engine(
    config: Config, environment: Environment, on_event: Callable[[EngineEvent], None]
) -> DockerEngine:
    """The engine of an environment whose services are containers; its events go to ``on_event``."""
    kind = SwarmEngine if environment.engine == "swarm" else DockerEngine
    return kind(config, environment, on_event=on_event)


def operator() -> str:
    """Who runs this: by the kernel's word, which no variable of the environment changes."""
    return f"{pwd.getpwuid(os.getuid()).pw_name}@{socket.gethostname()}"


def begin(
    config: Config,
    environment: Environment,
    build: BuildRef,
    ledger: Ledger,
    kind: str,
    observer: Observer,
    plan_only: bool,
    leave: Leave | None = None,
) -> RolloutRecord | Planned:
    """Plan and, unless only that is wanted, carry out. ``leave``: with what it left where it was before.

    Raises:
        Locked, Refused: somebody else is at work, or something is unfinished or broken there.
        Everything that :meth:`Runner.run` raises.
    """
    engine = engine_of(config, environment, observer)
    if plan_only:
        return look(config, ledger, environment, build, engine, kind)
    with Lease(ledger, environment.name) as lease, attending(observer) as interrupts:
        ledger = lease.ledger
        plan, obstacles = _proposed(config, ledger, environment, build, engine, kind)
        refuse(obstacles)
        _say_again(ledger, plan, build, observer)
        interrupts.check()  # until here nothing was done
        previous = ledger.current(environment.name) if plan.previous_generation else None
        record = recorded(ledger, plan, digest=build.digest, previous=previous)
        if leave is not None:
            _record_leave(ledger, environment, record, leave)
        return run(config, environment, engine, lease, observer, record, interrupts)


def recorded(ledger: Ledger, plan: Plan, *, digest: str, previous: RolloutRecord | None) -> RolloutRecord:
    """Record that a plan is begun. ``digest``: of its build; ``previous``: what would be gone back to."""
    return ledger.create(
        env=plan.env,
        kind=plan.kind,
        build=plan.build,
        digest=digest,
        generation=plan.generation,
        previous=previous,
        plan=plan.as_dict(),
        operator=operator(),
    )


def _say_again(ledger: Ledger, plan: Plan, build: BuildRef, observer: Observer) -> None:
    """Whoever brings what serves already may not mean to."""
    current = ledger.current(plan.env)
    if current is not None and plan.previous_generation is not None and current.digest == build.digest:
        observer.message(
            f"{plan.env} serves {build.id} already, as {current.generation}: it is brought once more, as"
            f" {plan.generation}",
            "warning",
        )


def _record_leave(ledger: Ledger, environment: Environment, record: RolloutRecord, leave: Leave) -> None:
    """Why the build was let out of where it was: what the soak gates said, or who went past them, and why."""
    labels = {"environment": environment.after or ""}
    evidence = [dataclasses.replace(item, labels={**item.labels, **labels}) for item in leave.ready.evidence]
    ledger.record_verdicts(record.id, "criteria", leave.ready.results, evidence)
    if leave.override is not None:
        ledger.add_event(
            environment.name,
            "override",
            by=leave.override.name,
            rollout=record.id,
            reason=leave.override.reason,
            operator=operator(),
            refused=[obstacle.text for obstacle in leave.ready.obstacles],
        )


def look(
    config: Config, ledger: Ledger, environment: Environment, build: BuildRef, engine: Engine, kind: str
) -> Planned:
    """What bringing a build there would do, by what is on the hosts now, and what keeps it from that."""
    plan, obstacles = _proposed(config, ledger, environment, build, engine, kind)
    env = environment.name
    return Planned(env, kind, plan, (*occupied(ledger, env), *obstacles))


def _proposed(
    config: Config, ledger: Ledger, environment: Environment, build: BuildRef, engine: Engine, kind: str
) -> tuple[Plan, list[Obstacle]]:
    env = environment.name
    facts = facts_of(engine)
    current = ledger.current(env)
    # Torn down, or the machines were started anew: nothing lives that could be moved, or gone back to. That a
    # session manager does not answer says nothing of that.
    if not any(host.status or host.held for host in facts):
        current = None
    wanted = engine.wanted(build)
    plan = make_plan(environment, build, next_name(ledger, env, facts), facts, current, wanted, kind=kind)
    # In the middle of a rollout they are on several.
    mixed = () if ledger.unfinished(env) else apart(env, current, facts)
    known = (*standing(ledger, env, engine), *behind(env, ledger, facts))
    there = (*known, *new_holders(facts, wanted), *mixed)
    return plan, [*there, *lacking(config, environment, facts)]


def next_name(ledger: Ledger, env: str, facts: Sequence[HostFacts]) -> str:
    """The name of the generation that comes next: by the rollout's number, but for a ledger that was lost or
    put back from a copy, whose next numbers hosts have seen already."""
    number = next((record.number for record in ledger.rollouts(env)), 0)
    entries = (entry for host in facts for entry in (host.status or {}).get("generations", []))
    numbers = (re.match(r"g(\d+)", entry["name"]) for entry in entries)
    return f"g{max(number, *(int(found[1]) for found in numbers if found), 0) + 1}"


def attending(observer: Observer) -> Interrupts:
    """To be entered before a rollout is recorded: from then on whoever asks to end it has it taken back."""
    return Interrupts(lambda text: observer.message(text, "warning"))


def run(
    config: Config,
    environment: Environment,
    engine: Engine,
    lease: Lease,
    observer: Observer,
    record: RolloutRecord,
    interrupts: Interrupts,
) -> RolloutRecord:
    """Carry out a rollout that was recorded, and take it back when asked to end.

    Raises:
        Refused: its plan is not one that this version of the program, or this configuration, can carry out.
    """
    try:
        trial = Trial(config, environment, engine, lease, observer, record, interrupts)
    except ValueError as error:
        raise Refused(
            f"the plan of rollout #{record.number} cannot be carried out: {error}; resume it with the version"
            " that began it"
        ) from None
    _same_hosts(environment, trial.plan, record)
    if environment.absent:
        lost = list(environment.absent)
        observer.message(f"without {', '.join(lost)}: stated to be lost, in {config.path.name}", "warning")
        lease.ledger.add_event(environment.name, "lost", by=operator(), rollout=record.id, hosts=lost)
    with heeding(lease.ledger, record, interrupts):
        return Runner(trial).run()


def _same_hosts(environment: Environment, plan: Plan, record: RolloutRecord) -> None:
    """A rollout that is resumed is carried out on the hosts that it was planned for, or not at all.

    Raises:
        Refused: the configuration names others by now.
    """
    planned = {host for step in plan.steps for host in step.hosts}
    if planned and planned != set(environment.hosts):
        env = environment.name
        raise Refused(
            f"{env}: rollout #{record.number} was planned for {', '.join(sorted(planned))}, and {env} has"
            f" {', '.join(sorted(environment.hosts))} now; put the hosts back as they were, then:"
            f" rollout resume {env}"
        )
