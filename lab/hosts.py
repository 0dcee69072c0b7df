"""Bringing the hosts up, asking how they are, and taking everything away again."""

from __future__ import annotations

import ipaddress
import json
import shlex
import shutil
import socket
import struct
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab import image, keys
from lab.engine import compose, docker, last_line, last_words, owned
from lab.model import Host, Lab, LabError, overlap

SERVICE = Path(__file__).resolve().parent.parent / "compose" / "lab" / "host.yaml"
READY_SECONDS = 120
ASK_SECONDS = 10
PROJECT = "com.docker.compose.project"
FOLDER = "rollout.lab.folder"
KEY = "rollout.lab.key"
"""Labels of the hosts' disks: whose they are, and which key the hosts let in."""


@dataclass(frozen=True)
class HostStatus:
    """How one host is: ``container`` as the engine says, the rest as the host says over SSH.

    ``engine`` is the version of its Docker engine; ``None``, and why in ``trouble``, where none answers.
    ``memory_mb`` (MB of 10^6 bytes) is what the host takes, what it runs included.
    """

    host: Host
    container: str
    engine: str | None
    containers: int
    memory_mb: int
    trouble: str = ""


def up(lab: Lab) -> None:
    """Bring the lab to what ``lab`` says: hosts that are missing come, hosts that are too many go.

    Waits until every host's sshd and Docker engine answer. The image has to be there (:mod:`lab.image`).
    What a lab of this name has left whose keys are gone, nobody can reach: it is taken away.

    Raises:
        LabError: the name or the addresses are taken, or a host does not come up in time.
    """
    if _orphaned(lab):
        down(lab)
    if taken := overlap(lab.subnet, _ranges(lab)):
        raise LabError(f"{lab.subnet}: the range is taken by {taken[0]} ({taken[1]}); --subnet names another")
    keys.write(lab)
    lab.save()
    lab.compose.write_text(json.dumps(compose_file(lab), indent=2) + "\n")
    compose(lab.compose, "up", "--detach", "--remove-orphans")
    disks = {f"{lab.name}_{host.name}" for host in lab.hosts}
    if gone := set(owned("volume", lab.name)) - disks:
        docker("volume", "rm", *gone)
    with ThreadPoolExecutor(len(lab.hosts)) as pool:
        list(pool.map(lambda host: _wait(lab, host), lab.hosts))


def _orphaned(lab: Lab) -> bool:
    """Whether there are disks of a lab of this name that let in another key than ours.

    Raises:
        LabError: they are of a lab that is in use, elsewhere.
    """
    found = docker(
        "volume", "ls", "--filter", f"label={PROJECT}={lab.name}",
        "--format", f'{{{{.Label "{KEY}"}}}} {{{{.Label "{FOLDER}"}}}}',
    )  # fmt: skip
    owners = dict(line.partition(" ")[::2] for line in found.splitlines())
    owners.pop(keys.identity(lab), None)
    for folder in owners.values():
        if folder not in ("", str(lab.state)) and Path(folder, "lab.json").exists():
            raise LabError(
                f"{lab.name} is the lab in {folder}; take that away with"
                f" `python -m lab down --state {shlex.quote(folder)}`, or name this one with --name"
            )
    return bool(owners)


def compose_file(lab: Lab) -> dict[str, Any]:
    """The Compose file of the lab: each host extends the one service in ``compose/lab/host.yaml``."""
    labels = {FOLDER: str(lab.state), KEY: keys.identity(lab)}
    return {
        "name": lab.name,
        "services": {
            host.name: {
                "extends": {"file": str(SERVICE), "service": "host"},
                "image": image.tag(),
                "container_name": lab.container(host),
                "hostname": host.name,
                "environment": {"LAB_DISK": lab.disk},
                "volumes": [f"{host.name}:/disk", f"{keys.mounted(lab, host)}:/etc/lab:ro"],
                "networks": {"hosts": {"ipv4_address": host.address}},
            }
            for host in lab.hosts
        },
        "volumes": {host.name: {"labels": labels} for host in lab.hosts},
        # internal: no way out to the internet. The machine itself is on the bridge, and reaches every port.
        "networks": {
            "hosts": {
                "name": lab.network,
                "internal": True,
                "ipam": {"config": [{"subnet": str(lab.subnet)}]},
            }
        },
    }


def down(lab: Lab) -> None:
    """Remove containers, volumes and network, in whatever state they are. Keys and image stay.

    Raises:
        LabError: the engine refused; says what.
    """
    if containers := owned("container", lab.name):
        docker("container", "rm", "--force", "--volumes", *containers)
    for kind in ("network", "volume"):
        if found := owned(kind, lab.name):
            docker(kind, "rm", *found)


def erase(lab: Lab) -> None:
    """Remove the image and the lab's folder, keys and all. For after :func:`down`."""
    image.remove()
    shutil.rmtree(lab.state, ignore_errors=True)


def status(lab: Lab) -> list[HostStatus]:
    """How every host is, asked at the same time.

    Raises:
        LabError: this machine's engine does not answer.
    """
    states = _states(lab)
    with ThreadPoolExecutor(len(lab.hosts)) as pool:
        return list(pool.map(lambda host: _status(lab, host, states), lab.hosts))


def ssh(lab: Lab, host: Host, *command: str, timeout: float = ASK_SECONDS) -> str:
    """What a command on the host prints; ``timeout`` in seconds.

    Raises:
        LabError: SSH or the command failed; the message has the last line of its errors.
    """
    arguments = ["ssh", "-F", str(lab.ssh_config), "-o", "BatchMode=yes", host.name, *command]
    try:
        done = subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=timeout)
    except FileNotFoundError:
        raise LabError("ssh is not installed: apt-get install openssh-client") from None
    except subprocess.TimeoutExpired:
        raise LabError(f"{host.name}: no answer within {timeout:g} s") from None
    if done.returncode:
        raise LabError(f"{host.name}: {last_line(done.stderr) or done.returncode}")
    return done.stdout.strip()


def _wait(lab: Lab, host: Host) -> None:
    """Wait until the host answers as its users will ask it.

    No health check of the container's own: one that is quick enough to wait for takes a third of a core for
    six hosts, as long as they are up.
    """
    end = time.monotonic() + READY_SECONDS
    while (found := _status(lab, host, _states(lab))).engine is None:
        if found.container not in ("created", "running"):
            raise LabError(f"{host.name}: {found.trouble}: {last_words(lab.container(host))}")
        if time.monotonic() > end:
            raise LabError(f"{host.name}: not up within {READY_SECONDS} s: {found.trouble}")
        time.sleep(0.2)


def _states(lab: Lab) -> dict[str, str]:
    listing = docker(
        "container", "ls", "--all", "--filter", f"label={PROJECT}={lab.name}",
        "--format", "{{.Names}} {{.State}}",
    )  # fmt: skip
    return dict(line.split() for line in listing.splitlines())


def _status(lab: Lab, host: Host, states: dict[str, str]) -> HostStatus:
    container = states.get(lab.container(host), "missing")
    if container != "running":
        return HostStatus(host, container, None, 0, 0, f"the container is {container}")
    try:
        asked = "docker info --format '{{.ServerVersion}} {{.ContainersRunning}}'"
        memory = "cat /sys/fs/cgroup/memory.current /sys/fs/cgroup/memory/memory.usage_in_bytes 2>/dev/null"
        engine, running, used = ssh(lab, host, f"{asked}; {memory}; true").split()
    except (LabError, ValueError) as error:
        return HostStatus(host, container, None, 0, 0, str(error))
    return HostStatus(host, container, engine, int(running), round(int(used) / 1e6))


def _ranges(lab: Lab) -> list[tuple[str, ipaddress.IPv4Network]]:
    """The address ranges that this machine uses already: other networks of the engine, and its routes."""
    networks = json.loads(docker("network", "inspect", *docker("network", "ls", "--quiet").split()))
    found, own = [], ""
    for network in networks:
        if network["Name"] == lab.network:
            own = f"br-{network['Id'][:12]}"
            continue
        for config in network["IPAM"]["Config"] or []:
            subnet = ipaddress.ip_network(config["Subnet"])
            if isinstance(subnet, ipaddress.IPv4Network):
                found.append((f"Docker's network {network['Name']}", subnet))
    return [*found, *_routes(but=own)]


def _routes(*, but: str) -> list[tuple[str, ipaddress.IPv4Network]]:
    """The routes of this machine, without the default one and those through the interface ``but``."""
    found = []
    for line in Path("/proc/net/route").read_text().splitlines()[1:]:
        interface, destination, *_, mask, _, _, _ = line.split()
        address, netmask = (
            socket.inet_ntoa(struct.pack("=L", int(field, 16))) for field in (destination, mask)
        )
        if interface != but and netmask != "0.0.0.0":  # noqa: S104 - a default route, not a bind
            found.append((f"the route through {interface}", ipaddress.IPv4Network(f"{address}/{netmask}")))
    return found
