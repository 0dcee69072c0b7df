"""Promoting: what a build must have shown where it is, who must have said yes, and who goes past that."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from typing import Any

from rollout.build import BuildStore
from rollout.config import Config, Environment
from rollout.errors import ConfigError, EngineError, Refused
from rollout.ledger import Event, Ledger, RolloutRecord
from rollout.model import BuildRef, Evidence, MonitorLog
from rollout.observer import Observer
from rollout.pipeline.begin import Leave, Override, begin, engine_of, look, operator
from rollout.pipeline.obstacles import Obstacle, Planned, occupied, standing
from rollout.pipeline.readiness import Readiness, account, approvals, assess, permission, since
from rollout.pipeline.sources import Sources

WAIT_POLL = 30.0
"""Seconds between two looks at what is waited for, at most."""


def live(config: Config, env: str, number: int | None = None) -> dict[str, Any]:
    """What the hosts say now of a rollout (the newest without ``number``), if it is its build that serves.

    The keywords ``criteria``, ``evidence`` and ``monitor`` of :func:`rollout.report.collect`. Empty for other
    rollouts, where no monitor is, or where a host cannot be asked: the report has what the ledger has.
    """
    environment = config.environment(env)
    if environment.monitor is None:
        return {}
    with Ledger(config.ledger_url) as ledger:
        current, newest = ledger.current(env), next(iter(ledger.rollouts(env)), None)
        if current is None or newest is None or current.number != (number or newest.number):
            return {}
        try:
            ready, logs = judged(config, environment, ledger)
        except EngineError:
            return {}
    return {"criteria": ready.results, "evidence": ready.evidence, "monitor": logs}


def now(config: Config, env: str) -> Readiness | None:
    """How the soak gates of an environment stand at this moment, for the build that it serves.

    ``None`` where it has none, or a host cannot be asked.
    """
    environment = config.environment(env)
    if not environment.soak_gates:
        return None
    with Ledger(config.ledger_url) as ledger:
        try:
            return judged(config, environment, ledger)[0]
        except EngineError:
            return None


def promote(
    config: Config,
    env: str,
    *,
    observer: Observer,
    plan_only: bool = False,
    wait: bool = False,
    override: Override | None = None,
) -> RolloutRecord | Planned:
    """Promote the predecessor's build to ``env``, the very same by digest.

    With ``plan_only``, give the plan and all that is in its way. With ``wait``, what time can cure is waited
    for: a soak, evidence that is still too little, an approval. An ``override`` goes on in spite of what may
    be overridden, and is recorded for ever.

    Raises:
        Refused: the predecessor's evidence is missing or not enough; nothing was touched.
        Locked, ConfigError and everything that :meth:`Runner.run` raises.
    """
    environment = config.environment(env)
    if environment.after is None:
        raise ConfigError(f"{env} has no predecessor; builds get there by: rollout deploy {env}")
    with Ledger(config.ledger_url) as ledger:
        ready, left = _ready(config, environment, ledger, observer, wait and not plan_only, override)
        build, missing = _build(config, environment, ready)
        if plan_only or left or missing:
            planned = _planned(config, environment, ledger, build, [*left, *missing])
            if plan_only:
                return planned
            planned.refuse()
        assert build is not None
        leave = Leave(ready, override if ready.obstacles else None)
        return begin(config, environment, build, ledger, "promote", observer, False, leave)


def _build(
    config: Config, environment: Environment, ready: Readiness
) -> tuple[BuildRef | None, list[Obstacle]]:
    """The very build that was judged, or why it is not to be had."""
    if ready.record is None:
        return None, []  # what there is to be said is among the obstacles already
    try:
        build = BuildStore(config.builds_dir).find(ready.record.build)
    except ConfigError as error:
        return None, [Obstacle(error.message, kind=ConfigError)]
    if build.digest == ready.record.digest:
        return build, []
    text = f"{build.path} has digest {build.digest[:12]}, but {environment.after} ran"
    return build, [Obstacle(f"{text} {ready.record.digest[:12]}")]


def _planned(
    config: Config,
    environment: Environment,
    ledger: Ledger,
    build: BuildRef | None,
    left: Sequence[Obstacle],
) -> Planned:
    """What is in the way of leaving where the build is, and of coming to ``environment``."""
    env = environment.name
    engine = engine_of(config, environment)
    try:
        if build is None:
            planned = Planned(env, "promote", None, (*occupied(ledger, env), *standing(ledger, env, engine)))
        else:
            planned = look(config, ledger, environment, build, engine, "promote")
    except EngineError as error:  # a host that cannot be asked is one more thing in the way
        planned = Planned(env, "promote", None, (Obstacle(error.message, kind=EngineError),))
    obstacles = (*left, *planned.obstacles)
    return dataclasses.replace(planned, obstacles=obstacles, ways=_ways(environment, obstacles))


def _ways(environment: Environment, obstacles: Sequence[Obstacle]) -> tuple[str, ...]:
    """Out of all of them together; each says its own."""
    if not obstacles:
        return ()
    promote = f"rollout promote {environment.name}"
    found = []
    if all(each.retry_after is not None for each in obstacles):
        found.append(f"wait until they are gone: {promote} --wait")
    if all(each.overridable for each in obstacles):
        found.append(f"go on all the same: {promote} --override REASON --name NAME")
    if any(each.explained for each in obstacles):
        found.append(f"what each soak gate asks and measured: rollout gates explain {environment.after}")
    return tuple(found)


def judged(
    config: Config, environment: Environment, ledger: Ledger
) -> tuple[Readiness, dict[str, MonitorLog | None]]:
    """What is to be said now of the build that an environment serves, and the monitors' records of it.

    Raises:
        EngineError: a host cannot be asked.
    """
    engine = engine_of(config, environment)
    current = ledger.current(environment.name)
    logs: dict[str, MonitorLog | None] = {}
    asked: list[Evidence] = []
    if current is not None:
        if environment.monitor is not None:
            logs = engine.monitor(since(current))
        sources = Sources(
            config,
            environment,
            engine,
            generation=current.generation,
            previous=current.previous_generation,
            gates=environment.soak_gates,
        )
        asked = sources.evidence(since(current))
    return assess(ledger, environment, engine.status(), logs, asked, now=time.time()), logs


def readiness(config: Config, environment: Environment, ledger: Ledger) -> Readiness:
    """Whether the predecessor's build may come to ``environment`` now, with everything in the way of it."""
    assert environment.after is not None
    ready, _ = judged(config, config.environment(environment.after), ledger)
    if ready.record is None:
        return ready
    found = permission(ledger, environment, ready.record.digest, now=time.time())
    return dataclasses.replace(ready, obstacles=(*ready.obstacles, *found))


def _ready(
    config: Config,
    environment: Environment,
    ledger: Ledger,
    observer: Observer,
    wait: bool,
    override: Override | None,
) -> tuple[Readiness, list[Obstacle]]:
    """How it stands, and what is in the way that is not overridden; waiting for it if that is asked for."""
    said = ""
    while True:
        ready = readiness(config, environment, ledger)
        left = [o for o in ready.obstacles if override is None or not o.overridable]
        if not left or not wait or any(o.retry_after is None for o in left):
            return ready, left
        if left[0].text != said:
            said = left[0].text
            observer.message(f"waiting: {said}")
        # All of them have to go, the last one too.
        time.sleep(min(WAIT_POLL, max(1.0, *(o.retry_after or WAIT_POLL for o in left))))


def approve(config: Config, env: str, *, note: str = "") -> tuple[Event, list[Event]]:
    """Say yes to the predecessor's present build coming to ``env``; gives this approval, and all there are.

    Raises:
        Refused: nobody asks for it, there is no build to say it of, or this person has said so already.
    """
    environment = config.environment(env)
    if environment.after is None:
        raise ConfigError(f"{env} has no predecessor; builds get there by: rollout deploy {env}")
    if not environment.approvals:
        raise Refused(f"{env} asks for no approval; approvals: 1 in its part of {config.path.name} would")
    with Ledger(config.ledger_url) as ledger:
        current = ledger.current(environment.after)
        if current is None:
            raise Refused(
                f"nothing has been promoted in {environment.after} yet, so there is nothing to approve"
            )
        me = operator()
        given = approvals(ledger, environment, current.digest)
        if mine := next((event for event in given if account(event.by) == account(me)), None):
            raise Refused(f"{mine.by} has approved {current.build} for {env} already")
        event = ledger.add_event(
            env, "approval", by=me, build=current.build, digest=current.digest, note=note
        )
        return event, approvals(ledger, environment, current.digest)
