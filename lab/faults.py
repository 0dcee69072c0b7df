"""What can happen to a host, made to happen. Everything acts from outside, through this machine's engine.

Each function returns when the host is in the new state, and raises :class:`lab.model.LabError` when it does
not get there.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from lab.engine import docker
from lab.model import Host, Lab, LabError

FILLER = "/var/lib/docker/filler"
PATIENCE = 60.0
SLACK = 1 << 20


def cut(lab: Lab, host: Host) -> None:
    """Pull the network cable: nothing comes through, what runs on the host runs on, connections stay open."""
    _on(lab, host, "ip link set eth0 down")


def mend(lab: Lab, host: Host) -> None:
    """Plug the cable in again."""
    _on(lab, host, "ip link set eth0 up")


def stop_engine(lab: Lab, host: Host) -> None:
    """Stop the host's Docker engine as an administrator would; its containers are stopped first."""
    _on(lab, host, "service docker stop")
    _until(lambda: not engine_answers(lab, host), f"{host.name}: the engine stopping")


def start_engine(lab: Lab, host: Host) -> None:
    """Start the host's Docker engine, after a stop or a kill, and wait until it answers."""
    _on(lab, host, "service docker start")
    _until(lambda: engine_answers(lab, host), f"{host.name}: the engine starting")


def kill_engine(lab: Lab, host: Host) -> None:
    """Kill the host's Docker engine with SIGKILL. Its containers run on, as after a crash of it."""
    _on(lab, host, "kill -KILL $(cat /run/docker.pid)")
    _until(lambda: not engine_answers(lab, host), f"{host.name}: the engine ending")


def engine_answers(lab: Lab, host: Host) -> bool:
    """Whether the host's Docker engine answers on the host itself."""
    try:
        _on(lab, host, "docker version")
    except LabError:
        return False
    return True


def fill_disk(lab: Lab, host: Host, *, leave: int = 0) -> None:
    """Fill the host's disk until ``leave`` bytes are free. It takes no room on this machine."""
    free = "$(df --output=avail -B1 /var/lib/docker | tail -n 1)"
    # The file system takes a few blocks to keep account of the file: the last ones may be missing.
    take = f"fallocate -l $(({free} - {leave})) {FILLER} 2>/dev/null || true"
    _on(
        lab,
        host,
        f"{take}; [ {free} -le {leave + SLACK} ] || {{ echo {free} bytes are still free >&2; exit 1; }}",
    )


def free_disk(lab: Lab, host: Host) -> None:
    """Take away what :func:`fill_disk` put there."""
    _on(lab, host, f"rm -f {FILLER}")


def pause(lab: Lab, host: Host) -> None:
    """Freeze the whole host: connections stay open and nobody answers on them."""
    docker("pause", lab.container(host))


def resume(lab: Lab, host: Host) -> None:
    """Let a paused host go on where it was."""
    docker("unpause", lab.container(host))


def _on(lab: Lab, host: Host, script: str) -> str:
    return docker("exec", lab.container(host), "sh", "-c", script)


def _until(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            raise LabError(f"{what}: not within {PATIENCE:g} s; see /var/log/docker.log on the host")
        time.sleep(0.1)
