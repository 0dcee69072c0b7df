"""Deploy, promote, roll back, resume, and what there is to know about environments."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rollout.build import BuildStore
from rollout.checks import CheckResult
from rollout.checks.infra import SUITE as INFRA
from rollout.checks.runner import check_everywhere
from rollout.config import Config, Environment
from rollout.direct.mark import Mark
from rollout.engine import Engine, HostFacts
from rollout.errors import ConfigError, Refused
from rollout.evidence.junit import write_junit
from rollout.ledger import Lease, Ledger, RolloutRecord, State, held_by
from rollout.observer import Observer
from rollout.pipeline.adopt import adopted
from rollout.pipeline.begin import attending, begin, containers_engine, engine_of, operator, recorded, run
from rollout.pipeline.builds import build_at_hand
from rollout.pipeline.changes import Changes, Provisioned
from rollout.pipeline.glass import nothing_broken
from rollout.pipeline.infra import verify
from rollout.pipeline.obstacles import (
    Obstacle,
    Planned,
    behind,
    lacking,
    occupied,
    refuse,
    seen_by,
    silent,
    standing,
)
from rollout.pipeline.parts import beside, lacks, new_holders, replacements, summary
from rollout.pipeline.plan import Plan, make_apply_plan, make_rollback_plan
from rollout.pipeline.readiness import since, soaked
from rollout.pipeline.silence import facts_of, live_in
from rollout.pipeline.steps.judge import SUITES
from rollout.pipeline.upgrade import Emptying, Upgrades


@dataclass(frozen=True, slots=True)
class EnvironmentStatus:
    """What an environment is, according to the ledger and to its hosts right now."""

    environment: str
    after: str | None
    current: RolloutRecord | None
    unfinished: RolloutRecord | None
    hosts: dict[str, dict[str, Any] | None]
    marks: dict[str, Mark]
    """Where the glass was broken, and the ledger does not know yet."""
    soak: float = 0.0
    """Seconds that a build soaks here before it may go on."""
    soaked: float | None = None
    """Seconds of them that count so far; ``None`` where nothing soaks."""
    held_by: str = ""
    """Who is at work there, ``user@machine``; "" where nobody is."""
    drift: dict[str, str] = field(default_factory=dict)
    """By host: what of the session manager that runs is not what is declared."""
    lost: tuple[str, ...] = ()
    """Hosts that are stated to be lost; they are not among ``hosts``."""

    @property
    def known(self) -> dict[str, dict[str, Any] | None]:
        """All of them: those that are lost say nothing."""
        return self.hosts | dict.fromkeys(self.lost)


def deploy(
    config: Config, env: str, build_id: str | None, *, observer: Observer, plan_only: bool = False
) -> RolloutRecord | Planned:
    """Bring a build (the newest by default) to an environment without predecessor.

    Returns the plan and what is in its way with ``plan_only``, else the record of the promoted rollout.

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
        return begin(config, environment, build, ledger, "deploy", observer, plan_only)


def rollback(
    config: Config, env: str, *, observer: Observer, reason: str = "", of: int | None = None
) -> RolloutRecord:
    """Return to the build before the present one, without having to name it. ``reason`` is recorded.

    Raises:
        Refused: there is none, or nobody has its files and it does not run; or the present one is not of the
            rollout ``of`` any more.
        Locked and everything that :meth:`Runner.run` raises.
    """
    environment = config.environment(env)
    with (
        Ledger(config.ledger_url) as opened,
        Lease(opened, env) as lease,
        attending(observer) as interrupts,
    ):
        ledger = lease.ledger
        engine = engine_of(config, environment, observer)
        target, plan, obstacles = _way_back(config, environment, ledger, engine, observer, of)
        refuse(obstacles)
        assert target is not None and plan is not None
        if plan.build == plan.previous_build:
            text = f"{env} has served no other build than {plan.build}"
            observer.message(f"{text}: back to {target.generation}, which is the same", "warning")
        interrupts.check()
        # Going back twice goes further back, not forth again.
        record = recorded(ledger, plan, digest=target.digest, previous=_before(ledger, env, target))
        if reason:
            ledger.add_figures(record.id, why=reason)
        return run(config, environment, engine, lease, observer, record, interrupts)


def plan_rollback(config: Config, env: str, *, observer: Observer) -> Planned:
    """What :func:`rollback` would do now, and what is in its way. Changes nothing.

    Raises:
        EngineError: a host cannot be asked.
    """
    environment = config.environment(env)
    with Ledger(config.ledger_url) as ledger:
        engine = engine_of(config, environment, observer)
        _, plan, obstacles = _way_back(config, environment, ledger, engine, observer, None)
        return Planned(env, "rollback", plan, (*occupied(ledger, env), *obstacles))


def apply(
    config: Config, env: str, *, observer: Observer, plan_only: bool = False
) -> RolloutRecord | Planned | None:
    """Have the declared settings in force, under live sessions, with the build that serves.

    Returns ``None`` where they are already and nothing is in the way; with ``plan_only``, what would be done
    and what is in its way.

    Raises:
        Refused: nothing is deployed, something is unfinished or broken, or it would be the end of shells.
        Locked and everything that :meth:`Runner.run` raises.
    """
    environment = config.environment(env)
    with Ledger(config.ledger_url) as opened:
        engine = engine_of(config, environment, observer)
        if plan_only:
            _, plan, found = _settings(config, environment, opened, engine)
            obstacles = (*occupied(opened, env), *found)
            return Planned(env, "apply", plan, obstacles) if plan or obstacles else None
        with Lease(opened, env) as lease, attending(observer) as interrupts:
            ledger = lease.ledger
            current, plan, found = _settings(config, environment, ledger, engine)
            refuse(found)
            if plan is None:
                return None
            assert current is not None
            interrupts.check()
            record = recorded(ledger, plan, digest=current.digest, previous=_before(ledger, env, current))
            return run(config, environment, engine, lease, observer, record, interrupts)


def resume(config: Config, env: str, *, observer: Observer) -> RolloutRecord:
    """Go on with a rollout that was interrupted, from where its journal ends.

    Raises:
        Refused: nothing is unfinished.
        Locked and everything that :meth:`Runner.run` raises.
    """
    environment = config.environment(env)
    with (
        Ledger(config.ledger_url) as opened,
        Lease(opened, env) as lease,
        attending(observer) as interrupts,
    ):
        ledger = lease.ledger
        record = ledger.unfinished(env)
        if record is None:
            raise Refused(f"{env} has no unfinished rollout; look at: rollout status")
        engine = engine_of(config, environment, observer)
        nothing_broken(env, engine)
        if record.state is State.ROLLBACK_FAILED:
            record = ledger.transition(record.id, State.ROLLING_BACK)
        return run(config, environment, engine, lease, observer, record, interrupts)


def status(config: Config, env: str | None = None) -> list[EnvironmentStatus]:
    """Every environment (or one), as the ledger and the hosts know it."""
    chosen = [config.environment(env)] if env else list(config.environments.values())
    with Ledger(config.ledger_url) as ledger:
        return [_status(config, environment, ledger) for environment in chosen]


def adopt(config: Config, env: str, *, observer: Observer) -> RolloutRecord:
    """Take what the hosts serve into the ledger, after the glass was broken.

    Raises:
        Refused: the hosts do not all serve the same, or nobody knows what it is.
        Locked: a rollout is going on.
        EngineError: a host failed.
    """
    environment = config.environment(env)
    engine = engine_of(config, environment, observer)
    seen = seen_by(engine.status().values())
    with Ledger(config.ledger_url) as opened, Lease(opened, env, least=seen) as lease:
        return adopted(config, environment, engine, lease.ledger)


def provision(
    config: Config, env: str, *, check: bool, observer: Observer, upgrade: Emptying | None = None
) -> list[Provisioned]:
    """Bring the hosts of an environment to where builds can be deployed to them. With ``upgrade``, their
    engines are brought up to date as well, one host after the other; it says how they are emptied before.

    With ``check`` nothing is changed; what would be is returned.

    Raises:
        ConfigError: the environment's processes run on this machine, which needs nothing; or hosts are not
            to be emptied whose shells end with their engine.
        Refused: a host was not empty in time; see :class:`rollout.pipeline.upgrade.Upgrades`.
        Locked: a rollout is going on.
        EngineError: a host failed.
    """
    environment = config.environment(env)
    if not environment.containers:
        raise ConfigError(f"{env} runs processes on this machine: there is nothing to provision")
    changes = Changes(environment.hosts, observer)
    engine = containers_engine(config, environment, changes)
    upgrades = None if upgrade is None else Upgrades(config, environment, engine, upgrade)
    if check:
        engine.provision(check=True)
        if upgrades is not None:
            engine.look_for_upgrades()
        return changes.all()
    with Ledger(config.ledger_url) as ledger, Lease(ledger, env):
        engine.provision(check=False)
    if upgrades is not None:
        would = Changes(environment.hosts, observer)
        containers_engine(config, environment, would).look_for_upgrades()
        upgrades.carry_out(would.all())
        changes.note(would)
    return changes.all()


def check(
    config: Config,
    env: str,
    suite: str,
    *,
    junit: Path | None = None,
    on_progress: Callable[[str], None] = lambda text: None,
) -> list[CheckResult]:
    """Run a suite on every host of an environment, and record the results in the ledger.

    ``junit`` is a file to write them to, too, in the JUnit form.

    Raises:
        ConfigError, Refused: the suite has nothing to look at there, or the file cannot be written.
        EngineError: nothing is deployed, or a host failed.
    """
    environment = config.environment(env)
    engine = engine_of(config, environment)
    with Ledger(config.ledger_url) as ledger:
        if suite == INFRA:
            results = verify(config, environment, engine, ledger, on_progress=on_progress)
        else:
            results = check_everywhere(
                SUITES[suite], engine.targets(), lambda done: on_progress(f"{done.group}: {done.name}")
            )
        ledger.record_checks(env, None, results)
    if junit is not None:
        try:
            write_junit(junit, suite, results, {"environment": env})
        except OSError as error:
            raise ConfigError(f"{junit}: {error.strerror}; name a file that can be written") from None
    return results


def teardown(config: Config, env: str, *, observer: Observer) -> None:
    """Stop and remove everything of an environment on its hosts, sessions included. The ledger stays, and
    has who did it.

    Raises:
        Locked: a rollout is going on.
        EngineError: a host failed.
    """
    environment = config.environment(env)
    with Ledger(config.ledger_url) as opened, Lease(opened, env) as lease:
        engine = engine_of(config, environment, observer)
        live, unknown = live_in(engine.status())
        lease.ledger.add_event(env, "teardown", by=operator(), sessions=live, unknown=unknown)
        engine.teardown()
        for host in environment.absent:
            observer.message(f"{host}: stated to be lost; what it has stays there", "warning")


def _status(config: Config, environment: Environment, ledger: Ledger) -> EnvironmentStatus:
    engine = engine_of(config, environment)
    current = ledger.current(environment.name)
    seconds = None
    if current is not None and environment.soak:
        logs = engine.monitor(since(current)) if environment.monitor is not None else {}
        seconds = soaked(environment, current, logs, now=time.time())
    hosts, unfinished = engine.status(), ledger.unfinished(environment.name)
    return EnvironmentStatus(
        environment.name,
        environment.after,
        current,
        unfinished,
        hosts,
        engine.marks(),
        environment.soak,
        seconds,
        held_by(ledger, environment.name),
        _drift(config, environment, engine, current, hosts, settled=unfinished is None),
        tuple(environment.absent),
    )


def _drift(
    config: Config,
    environment: Environment,
    engine: Engine,
    current: RolloutRecord | None,
    hosts: dict[str, dict[str, Any] | None],
    *,
    settled: bool,
) -> dict[str, str]:
    """What runs, compared with what is declared. ``settled``: no rollout is between two builds."""
    if current is None:
        return {}
    try:
        wanted = engine.wanted(build_at_hand(config, environment, current.build))
    except Refused:
        return {}  # nobody has its files any more
    # Which builds are there is not asked: of a host that does not answer, nothing is said here.
    facts = [HostFacts(host, (), status) for host, status in hosts.items() if status is not None]
    found = {host: summary(pair) for host, pair in replacements(facts, wanted).items()}
    for host in facts if settled else ():
        assert host.status is not None
        said = [found[host.host]] if host.host in found else []
        if current.generation not in [entry["name"] for entry in host.status["generations"]]:
            found[host.host] = "; ".join([*said, f"{current.generation} does not serve there"])
        elif not lacks(host, current.generation) and (other := beside(host, current.generation)):
            found[host.host] = "; ".join([*said, f"{other} serves there, too"])
    return found


def _way_back(
    config: Config,
    environment: Environment,
    ledger: Ledger,
    engine: Engine,
    observer: Observer,
    of: int | None,
) -> tuple[RolloutRecord | None, Plan | None, list[Obstacle]]:
    """The rollout whose build is returned to, how, and what is in the way of that."""
    env = environment.name
    current, facts = ledger.current(env), facts_of(engine)
    obstacles = standing(ledger, env, engine)
    if ahead := behind(env, ledger, facts):  # what this ledger knows of builds before is not all
        return None, None, [*obstacles, *ahead]
    if current is None or current.previous_build is None or current.previous_generation is None:
        text = f"{env} has no earlier build to go back to; look at: rollout history {env}"
        return None, None, [*obstacles, Obstacle(text)]
    if of is not None and current.id != of:
        return None, None, [*obstacles, Obstacle(f"{env} serves another build by now ({current.build})")]
    target = _another(ledger, env, current, current.previous_generation)
    if target is None:
        if of is not None:  # nobody is there to decide, and the build itself was found to be bad
            text = f"{env} has served no other build than {current.build}; look at: rollout history {env}"
            return None, None, [*obstacles, Obstacle(text)]
        target = _record_of(ledger, env, current.previous_generation)
    warm = all(
        any(
            entry["name"] == target.generation and entry["workers"]
            for entry in (host.status or {}).get("generations", [])
        )
        for host in facts
    )
    try:
        wanted = engine.wanted(build_at_hand(config, environment, target.build))
    except Refused as gone:
        if not warm:
            return target, None, [*obstacles, Obstacle(f"{gone}{_without_files(environment)}")]
        wanted = {}
        observer.message(f"session manager and monitor stay as they are: {gone}", "warning")
    plan = make_rollback_plan(
        environment,
        current,
        facts,
        build=target.build,
        generation=target.generation if warm else f"{target.generation}r{current.number}",
        warm=warm,
        wanted=wanted,
    )
    return target, plan, obstacles


def _settings(
    config: Config, environment: Environment, ledger: Ledger, engine: Engine
) -> tuple[RolloutRecord | None, Plan | None, list[Obstacle]]:
    """The rollout whose build serves, what has to be done to have the declared settings in force with it
    (``None``: nothing), and what is in the way of that."""
    env = environment.name
    current, facts = ledger.current(env), facts_of(engine)
    unknown = silent(env, facts)
    obstacles = [*standing(ledger, env, engine), *behind(env, ledger, facts), *unknown]
    if current is None or not any(host.status for host in facts):
        nothing = [] if unknown else [Obstacle(f"nothing runs in {env}; deploy to it first")]
        return None, None, [*obstacles, *nothing]
    try:
        wanted = engine.wanted(build_at_hand(config, environment, current.build))
    except Refused as gone:
        return current, None, [*obstacles, Obstacle(gone.message)]
    plan = make_apply_plan(environment, current, facts, wanted)
    return current, plan, [*obstacles, *new_holders(facts, wanted), *lacking(config, environment, facts)]


def _without_files(environment: Environment) -> str:
    """Another way back, where there is one."""
    if not environment.containers:
        return ""
    return f", or start it from the image on the hosts: rollout rollback {environment.name} --break-glass"


def _record_of(ledger: Ledger, env: str, generation: str) -> RolloutRecord:
    for record in ledger.rollouts(env):
        if record.generation == generation and record.state is State.PROMOTED:
            return record
    raise Refused(f"{env}: the ledger does not know generation {generation} any more")


def _another(ledger: Ledger, env: str, left: RolloutRecord, generation: str) -> RolloutRecord | None:
    """The newest that served before and is of another build: the same one may have been brought twice, and
    whoever goes back wants to be rid of it. ``None``: there is none."""
    seen: set[int] = set()
    while (target := _record_of(ledger, env, generation)).digest == left.digest:
        if target.previous_generation is None or target.id in seen:
            return None
        seen.add(target.id)
        generation = target.previous_generation
    return target


def _before(ledger: Ledger, env: str, target: RolloutRecord) -> RolloutRecord | None:
    if target.previous_generation is None:
        return None
    return _record_of(ledger, env, target.previous_generation)
