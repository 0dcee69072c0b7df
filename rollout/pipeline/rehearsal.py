"""Rehearsing the way back."""

from __future__ import annotations

from rollout.config import Config, Environment
from rollout.engine import Engine
from rollout.errors import Refused
from rollout.ledger import Lease, Ledger, RolloutRecord
from rollout.observer import Observer
from rollout.pipeline.begin import attending, engine_of, next_name, recorded, run
from rollout.pipeline.builds import build_at_hand
from rollout.pipeline.obstacles import Obstacle, Planned, behind, occupied, refuse, standing
from rollout.pipeline.parts import apart
from rollout.pipeline.plan import Plan, make_rehearsal_plan
from rollout.pipeline.silence import facts_of


def rehearse(
    config: Config, env: str, *, observer: Observer, plan_only: bool = False
) -> RolloutRecord | Planned:
    """Prove the way back before a promotion needs it, with the build that serves.

    All sessions move to a second generation of it and return; what was measured is recorded.

    Raises:
        Refused: nothing is deployed there, or nobody has its files any more.
        GateFailed: a session was cut, or something was lost or doubled.
        Locked and everything that :meth:`Runner.run` raises.
    """
    environment = config.environment(env)
    with Ledger(config.ledger_url) as ledger:
        engine = engine_of(config, environment, observer)
        if plan_only:
            _, plan, obstacles = _rehearsal(config, ledger, environment, engine)
            return Planned(env, "rehearsal", plan, (*occupied(ledger, env), *obstacles))
        with Lease(ledger, env) as lease, attending(observer) as interrupts:
            ledger = lease.ledger
            current, plan, obstacles = _rehearsal(config, ledger, environment, engine)
            refuse(obstacles)
            assert current is not None and plan is not None
            interrupts.check()
            record = recorded(ledger, plan, digest=current.digest, previous=current)
            return run(config, environment, engine, lease, observer, record, interrupts)


def _rehearsal(
    config: Config, ledger: Ledger, environment: Environment, engine: Engine
) -> tuple[RolloutRecord | None, Plan | None, list[Obstacle]]:
    env = environment.name
    obstacles, current = standing(ledger, env, engine), ledger.current(env)
    if current is None:
        text = f"{env} has no build to rehearse with; look at: rollout status"
        return None, None, [*obstacles, Obstacle(text)]
    try:
        build_at_hand(config, environment, current.build)
    except Refused as gone:
        obstacles.append(Obstacle(gone.message))
    facts = facts_of(engine)
    obstacles += behind(env, ledger, facts)
    if ledger.unfinished(env) is None:
        obstacles += apart(env, current, facts)
    return current, make_rehearsal_plan(environment, current, facts, next_name(ledger, env, facts)), obstacles
