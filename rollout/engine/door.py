"""Having a door run on its hosts."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from rollout.config import Config, Environment
from rollout.config.model import Door
from rollout.engine.playbooks import compose_program, packaged, run_playbook
from rollout.engine.ssh import reached_by, ssh_options
from rollout.model import EngineEvent


def bring_door(
    config: Config,
    environment: Environment,
    door: Door,
    certificate: str,
    *,
    check: bool,
    on_event: Callable[[EngineEvent], None],
) -> None:
    """Have each of its hosts lead people to the hosts of the environment; with ``check``, only say what would
    change. ``certificate``: with its key.

    Raises:
        EngineError: a host failed, or root's rights are not to be had there.
    """
    behind = [
        {"name": name, "tag": host.tag, "address": _place(environment, name)}
        for name, host in environment.known.items()
    ]
    more = {
        "terminals_host_compose_source": compose_program(),
        "terminals_door_compose_source": str(packaged("compose")),
        "terminals_door_name": door.name,
        "terminals_door_hosts": behind,
        "terminals_door_certificate": certificate,
        "terminals_door_port": door.port,
        "terminals_door_image": door.image,
        "terminals_door_silence": max(60, math.ceil(4 * config.defaults.heartbeat_seconds)),
    }
    _run(config, environment, door, "door", more, check=check, on_event=on_event)


def remove_door(
    config: Config,
    environment: Environment,
    door: Door,
    *,
    check: bool,
    on_event: Callable[[EngineEvent], None],
) -> None:
    """Take the door and its files away from its hosts.

    Raises:
        EngineError: a host failed, or root's rights are not to be had there.
    """
    _run(config, environment, door, "no_door", {}, check=check, on_event=on_event)


def _run(
    config: Config,
    environment: Environment,
    door: Door,
    playbook: str,
    variables: dict[str, Any],
    *,
    check: bool,
    on_event: Callable[[EngineEvent], None],
) -> None:
    inventory = {
        name: {
            **reached_by(host.ssh or name, ssh_options(environment.ssh_config)),
            "terminals_host_directory": str(host.root),
            "terminals_door_root": str(host.root),
            "terminals_door_project": f"{config.project}-{environment.name}-door",
        }
        for name, host in door.hosts.items()
    }
    run_playbook(
        playbook,
        hosts=inventory,
        variables=variables,
        artifacts=config.state / "ansible" / environment.name,
        on_event=on_event,
        check=check,
    )


def _place(environment: Environment, name: str) -> str:
    return f"{environment.address(name)}:{environment.listens(name).web}"
