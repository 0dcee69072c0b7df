"""Certificates by which the hosts of an environment know each other."""

from __future__ import annotations

from dataclasses import dataclass

from rollout.authority import host_certificate, make_authority
from rollout.build import BuildStore
from rollout.config import Config
from rollout.errors import ConfigError
from rollout.ledger import Lease, Ledger
from rollout.observer import Observer
from rollout.pipeline.begin import containers_engine, operator
from rollout.pipeline.changes import Changes


@dataclass(frozen=True, slots=True)
class Certified:
    """A host. ``ends``: of its certificate, Unix seconds; ``brought``: whether the host has it by this."""

    host: str
    tag: str
    ends: float
    brought: bool


@dataclass(frozen=True, slots=True)
class Certificates:
    """Of an environment. ``made``: the authority was made for it."""

    env: str
    made: bool
    hosts: tuple[Certified, ...]


def certify(config: Config, env: str, *, observer: Observer) -> Certificates:
    """Make the authority where there is none, and bring every host a certificate of it that is good for long.

    Where nothing is deployed yet, they are made only: a deployment brings them.

    Raises:
        ConfigError: the hosts of the environment do not ask each other, or half of the authority is missing.
        Locked: a rollout is going on.
        EngineError: a host failed.
    """
    environment = config.environment(env)
    files = environment.authority
    if files is None:
        raise ConfigError(f"hosts of {env} do not ask each other: say listen.peers and authority first")
    there = [path.exists() for path in (files.certificate, files.key)]
    if any(there) and not all(there):
        missing, found = (files.key, files.certificate) if there[0] else (files.certificate, files.key)
        raise ConfigError(
            f"authority: {found} is there, and {missing} is not: bring it from where they were made"
        )
    changes = Changes(environment.hosts, observer)
    with Ledger(config.ledger_url) as ledger, Lease(ledger, env) as lease:
        if not any(there):
            make_authority(files, f"hosts of {config.project} {env}")
            # At once: whoever has it made, and is stopped on the way to the hosts, has to know.
            observer.message(f"the authority was made: {files.certificate}, {files.key}")
        folder = config.certificates(env)
        issued = {
            name: host_certificate(files, host.tag, folder)
            for name, host in environment.hosts.items()
            if host.tag is not None
        }
        if current := ledger.current(env):
            build = BuildStore(config.builds_dir).find(current.build)
            containers_engine(config, environment, changes).certify(build, fence=lease.token)
        brought = changes.hosts()
        ledger.add_event(env, "certify", by=operator(), made=not any(there), hosts=brought)
    return Certificates(
        env,
        not any(there),
        tuple(
            Certified(name, environment.hosts[name].tag or "", one.ends, name in brought)
            for name, one in issued.items()
        ),
    )
