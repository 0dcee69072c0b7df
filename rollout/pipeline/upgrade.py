"""Bringing the engines of hosts up to date, one host after the other, each emptied before: shells might end
with their engine."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from rollout.config import Config, Environment
from rollout.engine import Engine
from rollout.engine.docker import DockerEngine
from rollout.errors import ConfigError, EngineError, Refused, RolloutError
from rollout.ledger import Lease, Ledger
from rollout.pipeline.begin import engine_of, operator
from rollout.pipeline.changes import Provisioned
from rollout.pipeline.drain import POLL, Drained, be, empty, nothing_adrift
from rollout.units import sessions

UPGRADE: Final = "Upgrade "
"""What the role ``terminals_host`` says of each package that there is a newer one of begins so."""
BACK_SECONDS: Final = 300.0
"""Until what ran on a host runs there again."""
ASK_SECONDS: Final = 30.0
"""For a session manager that does not answer, and may be being replaced."""
Status = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Emptying:
    """How hosts are emptied, see :func:`rollout.pipeline.drain`: all of them by ``until`` (Unix seconds), or
    not at all, where shells outlive their engine. ``tell(text)``: of what is left as it should not stay."""

    wanted: bool = True
    until: float | None = None
    message: str = ""
    on_look: Callable[[Drained], None] = lambda drained: None
    tell: Callable[[str], None] = lambda text: None


class Upgrades:
    """Of the engines of one environment."""

    def __init__(self, config: Config, environment: Environment, engine: DockerEngine, how: Emptying) -> None:
        """Raises:
        ConfigError: hosts are not to be emptied whose shells end with their engine.
        """
        if not (how.wanted or engine.live_restore):
            raise ConfigError("--no-drain: shells on a node of a Swarm end with its engine; leave it out")
        self._config = config
        self._environment = environment
        self._engine = engine
        self._how = how

    def carry_out(self, would: list[Provisioned]) -> None:
        """Bring those engines up to date for which there is something newer, by what each host ``would``
        change; those with the fewest sessions first.

        Nobody is kept out of the environment while a host is being emptied; its upgrade has the lease.

        Raises:
            Refused: a host was not empty in time, or somebody has made it ready again. Its engine is as it
                was, and sessions begin there again.
            Locked: a rollout is going on. The same holds.
            EngineError: a host failed, and stays drained; or nobody knows how many work there.
        """
        newer = [host.host for host in would if any(what.startswith(UPGRADE) for what in host.changed)]
        status = self._engine.status()
        done: list[str] = []
        try:
            for host in sorted(newer, key=lambda name: _sessions(status[name])):
                self._one(host)
                done.append(host)
        except BaseException:
            self._how.tell(f"upgraded before that: {', '.join(done) or 'none'}")
            raise

    def _one(self, host: str) -> None:
        """Upgrade one.

        Raises:
            Refused, Locked, EngineError: as :meth:`carry_out`.
        """
        status = self._status(host)
        empties = status if self._how.wanted else None
        # Who has emptied it before has it ready again when they like.
        ours = empties is not None and empties["host_state"] == "ready"
        begun = False
        try:
            if empties is not None:
                self._alone(host)
                self._empty(host, empties)
            with Ledger(self._config.ledger_url) as ledger, Lease(ledger, self._environment.name) as lease:
                before = self._status(host)
                begun = True
                self._engine.upgrade(host)
                if before is not None:
                    self._wait(host, _workers(before))
                lease.ledger.add_event(self._environment.name, "upgrade", by=operator(), host=host)
        except BaseException:
            if begun:
                self._stays(host)
            elif ours:
                self._ready(host)
            raise
        if ours:
            self._ready(host)

    def _empty(self, host: str, status: Status) -> None:
        """Have no session begin there, and wait for those that are there.

        Raises:
            Refused: some are left, or somebody has sessions begin there again.
        """
        how, state = self._how, status["host_state"]
        if state == "ready":
            be(self._config, self._environment, self._engine, host, "draining", how.message)
            state = "draining"
        left = Drained(self._environment.name, host, state, _sessions(status))
        how.on_look(left)
        left = empty(self._engine, left, how.until, how.on_look)
        if left.state == "ready":
            raise Refused(f"{host}: somebody has sessions begin there again; its engine was not upgraded")
        if left.sessions:
            count = sessions(left.sessions)
            raise Refused(
                f"{host}: {count} left at the deadline; none was ended, and its engine was not upgraded"
            )
        if (now := self._status(host)) is not None:
            nothing_adrift(host, now)

    def _alone(self, host: str) -> None:
        """See to it that no other environment has shells on the same machine.

        Raises:
            Refused: one has, or may have.
        """
        machine = self._environment.hosts[host].ssh or host
        for other in self._config.environments.values():
            if other.name == self._environment.name or not other.containers:
                continue
            for name, its in other.hosts.items():
                if (its.ssh or name) == machine:
                    self._idle(other, engine_of(self._config, other), name)

    def _idle(self, other: Environment, engine: Engine, host: str) -> None:
        status = engine.status()[host]
        if status is None:
            idle = not _held(engine, host)
        else:
            idle = status["host_state"] != "ready" and not _sessions(status)
        if not idle:
            raise Refused(
                f"{host} is a host of {other.name}, too, whose shells there might end with the engine; empty"
                f" it first: rollout drain {host} --env {other.name}"
            )

    def _status(self, host: str) -> Status | None:
        """What the session manager of a host says; ``None``: no shells are there that it could be asked for.

        Raises:
            EngineError: it does not answer: nobody knows how many work there.
        """
        end = time.monotonic() + ASK_SECONDS
        while True:
            status = self._engine.status()[host]
            if status is not None or not _held(self._engine, host):
                return status
            if time.monotonic() >= end:
                raise EngineError(
                    f"{host}: its session manager does not answer, so that nobody knows how many work there;"
                    f" look at: rollout doctor {self._environment.name}"
                )
            time.sleep(POLL)

    def _ready(self, host: str) -> None:
        try:
            be(self._config, self._environment, self._engine, host, "ready", "")
        except RolloutError as error:
            self._stays(host)
            self._how.tell(error.message)

    def _stays(self, host: str) -> None:
        if self._how.wanted:
            back = f"rollout undrain {host} --env {self._environment.name}"
            self._how.tell(f"no session begins at {host} until: {back}")

    def _wait(self, host: str, workers: Mapping[str, int]) -> None:
        """Until as many workers serve there as before, of the generations that are still to.

        Raises:
            EngineError: they do not.
        """
        end = time.monotonic() + BACK_SECONDS
        while True:
            status = self._engine.status()[host]
            now = {} if status is None else _workers(status)
            if status is not None and all(now[name] >= workers.get(name, 0) for name in now):
                return
            if time.monotonic() >= end:
                what = "its session manager does not answer" if status is None else "a worker is missing"
                raise EngineError(f"{host}: {what} after the engine's upgrade")
            time.sleep(POLL)


def _held(engine: Engine, host: str) -> bool:
    return any(facts.held for facts in engine.facts() if facts.host == host)


def _sessions(status: Status | None) -> int:
    if status is None:
        return 0
    return int(status["sessions"]["live"]) + int(status["sessions"].get("left", 0))


def _workers(status: Status) -> dict[str, int]:
    """Of each generation that has traffic."""
    return {entry["name"]: int(entry["workers"]) for entry in status["generations"] if entry["weight"]}
