"""The one address of an environment's hosts."""

from __future__ import annotations

import time

from rollout.config import Config
from rollout.door import OTHER_CERTIFICATE, read_certificate, why_no_answer
from rollout.engine.door import bring_door, remove_door
from rollout.errors import ConfigError, EngineError
from rollout.ledger import Lease, Ledger
from rollout.observer import Observer
from rollout.pipeline.begin import operator
from rollout.pipeline.changes import Changes, Provisioned

OPENS_SECONDS = 15.0


def door(
    config: Config, env: str, *, check: bool = False, remove: bool = False, observer: Observer
) -> list[Provisioned]:
    """Have the environment's door run, and lead to the hosts that ``rollout.yaml`` names; a change is seen by
    nobody who is connected. With ``remove``, take it away. With ``check`` nothing is changed; what would be
    is returned.

    Raises:
        ConfigError: the environment has no door, or its certificate is none.
        Locked: a rollout is going on.
        EngineError: a host failed.
    """
    environment = config.environment(env)
    wanted = environment.door
    if wanted is None:
        raise ConfigError(f"{env} has no door; say its name, certificate, key and hosts first: door")
    changes = Changes(wanted.hosts, observer)

    def carry_out() -> None:
        if remove:
            remove_door(config, environment, wanted, check=check, on_event=changes)
            return
        tags = [host.tag for host in environment.hosts.values() if host.tag is not None]
        text, ends = read_certificate(wanted, tags)
        if ends <= time.time():
            raise ConfigError(f"door: {wanted.certificate} has ended; bring another one")
        bring_door(config, environment, wanted, text, check=check, on_event=changes)

    if check:
        carry_out()
        return changes.all()
    with Ledger(config.ledger_url) as ledger, Lease(ledger, env):
        carry_out()
        ledger.add_event(env, "door", by=operator(), removed=remove, hosts=changes.hosts())
    if remove:
        text = f"the hosts still send people there; take door away in {config.path.name}, then"
        observer.message(f"{text}: rollout apply {env}", "warning")
        return changes.all()
    for name, host in wanted.hosts.items():
        end = time.monotonic() + OPENS_SECONDS
        while (why := why_no_answer(wanted, host)) and time.monotonic() < end:
            time.sleep(0.2)
        if OTHER_CERTIFICATE in why:
            raise EngineError(f"{name}: {why}: it has not read the new one; what it says: docker logs, there")
        if why:
            observer.message(f"{name}: {why}; look at: rollout doctor {env}", "warning")
    return changes.all()
