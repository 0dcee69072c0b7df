"""Deploy, promote, roll back, resume, and what there is to know about environments."""

from __future__ import annotations

import getpass
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from rollout.build import BuildStore
from rollout.config import Config, Environment
from rollout.engine import Engine
from rollout.engine.process import ProcessEngine
from rollout.errors import ConfigError, Refused
from rollout.ledger import Lease, Ledger, RolloutRecord, State
from rollout.model import BuildRef
from rollout.observer import Observer
from rollout.pipeline.criteria import require_evidence
from rollout.pipeline.plan import Plan, make_plan, make_rollback_plan
from rollout.pipeline.runner import Runner


@dataclass(frozen=True, slots=True)
class EnvironmentStatus:
    """What an environment is, according to the ledger and to its hosts right now."""

    environment: str
    after: str | None
    current: RolloutRecord | None
    unfinished: RolloutRecord | None
    hosts: dict[str, dict[str, Any] | None]


def engine_of(config: Config, environment: Environment, observer: Observer | None = None) -> ProcessEngine:
    """The engine of an environment; its events go to the observer."""
    if observer is None:
        return ProcessEngine(config, environment)
    return ProcessEngine(config, environment, on_event=observer.engine_event)


def deploy(
    config: Config, env: str, build_id: str | None, *, observer: Observer, plan_only: bool = False
) -> RolloutRecord | Plan:
    """Bring a build (the newest by default) to an environment without predecessor.

    Returns the plan with ``plan_only``, else the record of the promoted rollout.

    Raises:
        ConfigError: unknown environment or build, or one that has a predecessor.
        Locked, Refused and everything that :meth:`Runner.run` raises.
    """
    environment = config.environment(env)
    if environment.after is not None:
        raise ConfigError(
            f"{env} comes after {environment.after}; builds get there by: rollout promote {env}"
        )
    build = BuildStore(config.builds_dir).find(build_id)
    with Ledger(config.ledger_url) as ledger:
        return _begin(config, environment, build, ledger, "deploy", observer, plan_only)


def promote(config: Config, env: str, *, observer: Observer, plan_only: bool = False) -> RolloutRecord | Plan:
    """Promote the predecessor's build to ``env``, the very same by digest.

    Raises:
        Refused: the predecessor's evidence is missing or not enough; nothing was touched.
        Locked, ConfigError and everything that :meth:`Runner.run` raises.
    """
    environment = config.environment(env)
    if environment.after is None:
        raise ConfigError(f"{env} has no predecessor; builds get there by: rollout deploy {env}")
    predecessor = config.environment(environment.after)
    with Ledger(config.ledger_url) as ledger:
        statuses = engine_of(config, predecessor).status()
        proven = require_evidence(ledger, predecessor, statuses, now=time.time())
        build = BuildStore(config.builds_dir).find(proven.build)
        if build.digest != proven.digest:
            raise Refused(
                f"{build.path} has digest {build.digest[:12]},"
                f" but {predecessor.name} ran {proven.digest[:12]}"
            )
        return _begin(config, environment, build, ledger, "promote", observer, plan_only)


def rollback(config: Config, env: str, *, observer: Observer) -> RolloutRecord:
    """Return to the build before the present one, without having to name it.

    Raises:
        Refused: there is none.
        Locked and everything that :meth:`Runner.run` raises.
    """
    environment = config.environment(env)
    with Ledger(config.ledger_url) as ledger, Lease(ledger, env) as lease:
        _nothing_unfinished(ledger, env)
        current = ledger.current(env)
        if current is None or current.previous_build is None or current.previous_generation is None:
            raise Refused(f"{env} has no earlier build to go back to; look at: rollout history {env}")
        engine = engine_of(config, environment, observer)
        facts = engine.facts()
        warm = all(
            any(
                entry["name"] == current.previous_generation and entry["workers"]
                for entry in (host.status or {}).get("generations", [])
            )
            for host in facts
        )
        target = _record_of(ledger, env, current.previous_generation)
        generation = (
            current.previous_generation if warm else f"{current.previous_generation}r{current.number}"
        )
        plan = make_rollback_plan(
            environment, current, facts, build=target.build, generation=generation, warm=warm
        )
        record = ledger.create(
            env=env,
            kind="rollback",
            build=target.build,
            digest=target.digest,
            generation=generation,
            # Going back twice goes further back, not forth again.
            previous=_before(ledger, env, target),
            plan=plan.as_dict(),
            operator=_operator(),
        )
        return _run(config, environment, engine, ledger, lease, observer, record)


def resume(config: Config, env: str, *, observer: Observer) -> RolloutRecord:
    """Go on with a rollout that was interrupted, from where its journal ends.

    Raises:
        Refused: nothing is unfinished.
        Locked and everything that :meth:`Runner.run` raises.
    """
    environment = config.environment(env)
    with Ledger(config.ledger_url) as ledger, Lease(ledger, env) as lease:
        record = ledger.unfinished(env)
        if record is None:
            raise Refused(f"{env} has no unfinished rollout; look at: rollout status")
        if record.state is State.ROLLBACK_FAILED:
            record = ledger.transition(record.id, State.ROLLING_BACK)
        engine = engine_of(config, environment, observer)
        return _run(config, environment, engine, ledger, lease, observer, record)


def status(config: Config, env: str | None = None) -> list[EnvironmentStatus]:
    """Every environment (or one), as the ledger and the hosts know it."""
    chosen = [config.environment(env)] if env else list(config.environments.values())
    with Ledger(config.ledger_url) as ledger:
        return [
            EnvironmentStatus(
                environment.name,
                environment.after,
                ledger.current(environment.name),
                ledger.unfinished(environment.name),
                engine_of(config, environment).status(),
            )
            for environment in chosen
        ]


def history(config: Config, env: str | None = None) -> list[RolloutRecord]:
    """All rollouts, the newest first."""
    if env is not None:
        config.environment(env)
    with Ledger(config.ledger_url) as ledger:
        return ledger.rollouts(env)


def teardown(config: Config, env: str, *, observer: Observer) -> None:
    """Stop and remove everything of an environment on its hosts, sessions included. The ledger stays.

    Raises:
        Locked: a rollout is going on.
        EngineError: a host failed.
    """
    environment = config.environment(env)
    with Ledger(config.ledger_url) as ledger, Lease(ledger, env):
        engine_of(config, environment, observer).teardown()


def _begin(
    config: Config,
    environment: Environment,
    build: BuildRef,
    ledger: Ledger,
    kind: str,
    observer: Observer,
    plan_only: bool,
) -> RolloutRecord | Plan:
    engine = engine_of(config, environment, observer)
    if plan_only:
        return _plan(ledger, environment, build, engine, kind)
    with Lease(ledger, environment.name) as lease:
        _nothing_unfinished(ledger, environment.name)
        plan = _plan(ledger, environment, build, engine, kind)
        record = ledger.create(
            env=environment.name,
            kind=kind,
            build=build.id,
            digest=build.digest,
            generation=plan.generation,
            previous=ledger.current(environment.name) if plan.previous_generation else None,
            plan=plan.as_dict(),
            operator=_operator(),
        )
        return _run(config, environment, engine, ledger, lease, observer, record)


def _plan(ledger: Ledger, environment: Environment, build: BuildRef, engine: Engine, kind: str) -> Plan:
    number = next((record.number for record in ledger.rollouts(environment.name)), 0) + 1
    facts = engine.facts()
    current = ledger.current(environment.name)
    if current is not None and not any(host.status for host in facts):
        current = None  # torn down, or the machine was started anew: nothing lives that could be moved
    return make_plan(environment, build, f"g{number}", facts, current, kind=kind)


def _run(
    config: Config,
    environment: Environment,
    engine: Engine,
    ledger: Ledger,
    lease: Lease,
    observer: Observer,
    record: RolloutRecord,
) -> RolloutRecord:
    with _terminations_interrupt():
        return Runner(config, environment, engine, ledger, lease, observer, record).run()


@contextmanager
def _terminations_interrupt() -> Iterator[None]:
    """Being asked to end is like Ctrl-C: roll back cleanly, then end."""

    def interrupt(_number: int, _frame: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _nothing_unfinished(ledger: Ledger, env: str) -> None:
    unfinished = ledger.unfinished(env)
    if unfinished is not None:
        raise Refused(
            f"{env} has an unfinished rollout (#{unfinished.number}, {unfinished.state});"
            f" finish it with: rollout resume {env}"
        )


def _record_of(ledger: Ledger, env: str, generation: str) -> RolloutRecord:
    for record in ledger.rollouts(env):
        if record.generation == generation and record.state is State.PROMOTED:
            return record
    raise Refused(f"{env}: the ledger does not know generation {generation} any more")


def _before(ledger: Ledger, env: str, target: RolloutRecord) -> RolloutRecord | None:
    if target.previous_generation is None:
        return None
    return _record_of(ledger, env, target.previous_generation)


def _operator() -> str:
    return f"{getpass.getuser()}@{socket.gethostname()}"
