"""Emptying a host: a shell cannot be moved to another one, so it is waited for."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from rollout.config import Config, Environment
from rollout.direct.sites import lost_host
from rollout.engine import Engine
from rollout.errors import ConfigError, Refused
from rollout.ledger import Ledger
from rollout.model import HostState
from rollout.pipeline.begin import engine_of, operator
from rollout.pipeline.silence import statuses_of

POLL: Final = 2.0
"""Seconds between two looks."""


@dataclass(frozen=True, slots=True)
class Drained:
    """A host, and how many sessions are there."""

    env: str
    host: str
    state: HostState
    sessions: int


def drain(
    config: Config,
    host: str,
    env: str | None = None,
    *,
    message: str = "",
    until: float | None = None,
    wait: bool = True,
    on_look: Callable[[Drained], None] = lambda drained: None,
) -> Drained:
    """Have no session begin at a host any more, show ``message`` in its terminals, and wait until the last
    has ended, ``until`` (Unix seconds) has passed, or somebody has the host ready again. Waiting may be left
    at any time: the host stays so.

    A host that cannot be asked for a moment is asked again; for how many sessions were there last, see
    ``on_look(drained)``.

    Raises:
        ConfigError: no such host, or several environments have one.
        EngineError: it cannot be told.
        Refused: no session is left there, but shells are, or nobody knows.
    """
    environment = _where(config, host, env)
    engine = engine_of(config, environment)
    left = be(config, environment, engine, host, "draining", message)
    on_look(left)
    if not wait:
        return left
    left = empty(engine, left, until, on_look)
    if left.state != "ready" and not left.sessions:
        nothing_adrift(host, statuses_of(engine, [host])[host])
    return left


def undrain(config: Config, host: str, env: str | None = None) -> Drained:
    """Have sessions begin at a host again.

    Raises:
        ConfigError, EngineError: as :func:`drain`.
    """
    environment = _where(config, host, env)
    return be(config, environment, engine_of(config, environment), host, "ready", "")


def empty(engine: Engine, left: Drained, until: float | None, on_look: Callable[[Drained], None]) -> Drained:
    """Wait, as :func:`drain` does, at a host that is being emptied."""
    while left.sessions and left.state != "ready" and (until is None or time.time() < until):
        time.sleep(POLL if until is None else max(0.0, min(POLL, until - time.time())))
        # To say it again would take back what somebody else has said meanwhile.
        status = engine.status()[left.host]
        if status is not None:  # a network that is away for a moment is nothing to it
            left = Drained(left.env, left.host, status["host_state"], status["sessions"]["live"])
            on_look(left)
    return left


def nothing_adrift(host: str, status: Mapping[str, Any] | None) -> None:
    """See to it that a host has no shells that are in nobody's list, by what its session manager says.

    Raises:
        Refused: it has, or does not say so.
    """
    if status is None:
        raise Refused(f"{host}: its session manager does not answer: nobody knows whether shells are left")
    if adrift := status["sessions"].get("left", 0):
        raise Refused(f"{host}: {adrift} shells are left that its session manager could not go on with")


def be(
    config: Config, environment: Environment, engine: Engine, host: str, state: HostState, message: str
) -> Drained:
    """Have sessions begin at a host, or not, and write that down.

    Raises:
        EngineError: it cannot be told.
    """
    sessions = engine.host_state(host, state, message)
    with Ledger(config.ledger_url) as ledger:
        ledger.add_event(environment.name, "drain", by=operator(), host=host, state=state)
    return Drained(environment.name, host, state, sessions)


def _where(config: Config, host: str, env: str | None) -> Environment:
    if env is not None:
        environment = config.environment(env)
        if host in environment.absent:
            raise ConfigError(lost_host(config, host))
        if host not in environment.hosts:
            names = ", ".join(environment.hosts)
            raise ConfigError(f"{env} has no host {host!r}; its hosts: {names}")
        return environment
    if any(host in each.absent for each in config.environments.values()):
        raise ConfigError(lost_host(config, host))
    found = [each for each in config.environments.values() if host in each.hosts]
    if not found:
        known = sorted({name for each in config.environments.values() for name in each.hosts})
        raise ConfigError(f"no environment has a host {host!r}; known: {', '.join(known)}")
    if len(found) > 1:
        names = " and ".join(each.name for each in found)
        raise ConfigError(f"{names} have a host {host!r} each; say which: --env NAME")
    return found[0]
