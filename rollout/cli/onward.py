"""What one needs after a rollout, ready to paste: the page, and the next command."""

from __future__ import annotations

from collections.abc import Iterator

from rollout.config import Config, Environment
from rollout.ledger import RolloutRecord, State


def onward(config: Config, record: RolloutRecord) -> Iterator[str]:
    """Lines with the page's address and how to get in, and with the command that comes next."""
    environment = config.environment(record.env)
    if record.state is not State.PROMOTED:
        return
    yield f"page: {' '.join(_pages(environment))} (get in with: rollout open {record.env})"
    yield f"next: {_next(config, environment, record)}"


def _pages(environment: Environment) -> Iterator[str]:
    if environment.door is not None:
        yield f"{environment.door.url('https')}/"
        return
    for name, host in environment.hosts.items():
        listen = environment.listens(name)
        yield listen.url(listen.web, "http", at=host.address)


def _next(config: Config, environment: Environment, record: RolloutRecord) -> str:
    name = environment.name
    if record.kind == "rollback":
        return f"rollout report {name}"
    if successors := config.successors(name):
        return f"rollout promote {successors[0].name} --plan"
    watched = environment.monitor is not None and environment.soak_gates
    return f"rollout soak {name}" if watched else f"rollout status {name}"
