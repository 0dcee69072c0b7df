"""After the glass was broken: the ledger learns what the hosts serve, or nothing goes on."""

from __future__ import annotations

import getpass
import socket

from rollout.build import BuildStore
from rollout.config import Config, Environment
from rollout.engine import Engine
from rollout.errors import ConfigError, Refused
from rollout.ledger import Ledger, RolloutRecord, State
from rollout.pipeline.plan import Plan


def adopted(config: Config, environment: Environment, engine: Engine, ledger: Ledger) -> RolloutRecord:
    """Record what the hosts serve as a rollback, end what was unfinished, and take the marks away.

    May be done again. Returns the record of what serves.

    Raises:
        Refused: the hosts do not all serve the same generation, or neither ledger nor builds know it.
    """
    env = environment.name
    generation, build = _served(env, engine)
    marks = engine.marks()
    why = str(next(iter(marks.values()))) if marks else "adopted from what the hosts serve"
    unfinished = ledger.unfinished(env)
    if unfinished is not None:
        if unfinished.state is not State.ROLLING_BACK:
            ledger.transition(unfinished.id, State.ROLLING_BACK)
        ledger.transition(unfinished.id, State.ROLLED_BACK, reason=why)
    current = ledger.current(env)
    # Where it had been elsewhere in between, it begins its soak anew.
    if current is None or current.generation != generation or marks:
        current = _record(config, environment, ledger, generation, build, why)
    engine.unmark()
    return current


def _served(env: str, engine: Engine) -> tuple[str, str]:
    served = {
        host: [
            (entry["name"], entry["build"])
            for entry in (status or {}).get("generations", [])
            if entry["weight"]
        ]
        for host, status in engine.status().items()
    }
    first = next(iter(served.values()))
    if len(first) != 1 or any(entries != first for entries in served.values()):
        shown = "; ".join(
            f"{host}: {', '.join(name for name, _ in entries) or 'nothing'}"
            for host, entries in served.items()
        )
        raise Refused(
            f"{env}: the hosts do not all serve one generation ({shown});"
            f" lead the others to it first: rollout rollback {env} --break-glass --to GENERATION --host HOST"
        )
    return first[0]


def _record(
    config: Config, environment: Environment, ledger: Ledger, generation: str, build: str, why: str
) -> RolloutRecord:
    env = environment.name
    earlier = [record for record in ledger.rollouts(env) if record.state is State.PROMOTED]
    same = [record for record in earlier if record.build == build]
    known = next((record for record in same if record.generation == generation), next(iter(same), None))
    digest = known.digest if known else _digest(config, env, build)
    left = next(iter(earlier), None)
    plan = Plan(
        env,
        "rollback",
        build,
        generation,
        left.build if left else None,
        left.generation if left else None,
        (),
        (),
    )
    before = known.previous_generation if known else None
    record = ledger.create(
        env=env,
        kind="rollback",
        build=build,
        digest=digest,
        generation=generation,
        # As with any rollback: going back from here goes further back.
        previous=next((record for record in earlier if record.generation == before), None),
        plan=plan.as_dict(),
        operator=f"{getpass.getuser()}@{socket.gethostname()}",
    )
    return ledger.transition(record.id, State.PROMOTED, reason=why)


def _digest(config: Config, env: str, build: str) -> str:
    try:
        return BuildStore(config.builds_dir).find(build).digest
    except ConfigError as error:
        raise Refused(
            f"{env} serves {build}, which neither the ledger nor this machine knows ({error});"
            f" put the build back there, then: rollout adopt {env}"
        ) from None
