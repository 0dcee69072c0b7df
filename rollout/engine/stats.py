"""What a Docker engine tells of the containers of a Compose project: memory, CPU, restarts, OOM kills."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from rollout.build.hosts import Host
from rollout.config.units import parse_size

_INSPECTED = {
    "Id": "{{json .Id}}",
    "Name": "{{json .Name}}",
    "Running": "{{.State.Running}}",
    "OOMKilled": "{{.State.OOMKilled}}",
    "RestartCount": "{{.RestartCount}}",
    "NanoCpus": "{{.HostConfig.NanoCpus}}",
}
_INSPECT = "{" + ",".join(f'"{name}":{value}' for name, value in _INSPECTED.items()) + "}"
_ASK = f"""\
set -eu
of="label=com.docker.compose.project=$1"
docker info --format '{{"NCPU":{{{{.NCPU}}}}}}'
docker events --since "$2s" --until "$(date +%s.%N)" \
    --filter event=oom --filter event=die --filter event=kill --filter "$of" --format '{{{{json .}}}}'
all=$(docker ps --all --quiet --no-trunc --filter "$of")
[ -z "$all" ] || docker inspect --format '{_INSPECT}' $all
running=$(docker ps --quiet --no-trunc --filter "$of")
[ -z "$running" ] || docker stats --no-stream --no-trunc --format '{{{{json .}}}}' $running
"""
"""One connection for everything; each line of the answer is an object. Times are the host's own.
``--until 0s`` would leave out what happened in this second."""


@dataclass(frozen=True, slots=True)
class ContainerStats:
    """One container. ``cpu_share`` is the use of the CPUs that it may use, over a second or two.

    ``memory_bytes`` and ``cpu_share`` are None where it does not run. ``restarts`` counts since the container
    was made, ``oom_killed`` is of its last end.
    """

    id: str
    name: str
    memory_bytes: int | None
    cpu_share: float | None
    restarts: int
    oom_killed: bool


class Event(NamedTuple):
    """What an engine remembers of a container: ``at`` in nanoseconds since 1970, ``what`` one of

    ``oom``: a process was killed for want of memory. Engines lose some of these when the container ends with
    that process (https://github.com/containerd/containerd/issues/8893).
    ``killed``: its first process ended by SIGKILL. ``asked``: the engine was asked to send it SIGKILL.
    """

    container: str
    at: int
    what: str


@dataclass(frozen=True, slots=True)
class HostStats:
    """All containers of a project on a host, and its events as far back as was asked and as the engine
    remembers."""

    containers: tuple[ContainerStats, ...]
    events: frozenset[Event] = frozenset()


def host_stats(host: Host, project: str, *, back: float) -> HostStats | None:
    """Ask a host's engine; events of the last ``back`` seconds. None where it does not answer."""
    answer = host.run(["sh", "-c", _ASK, "sh", project, f"{max(1, round(back))}"])
    if answer.status != 0:
        return None
    try:
        return parse(answer.output)
    except (ValueError, KeyError, TypeError):
        return None


def parse(text: str) -> HostStats:
    """The answer as data.

    Raises:
        ValueError, KeyError, TypeError: it is not such an answer.
    """
    cpus = 0.0
    inspected: list[dict[str, Any]] = []
    used: dict[str, tuple[int, float]] = {}
    events: set[Event] = set()
    for line in _objects(text):
        if "NCPU" in line:
            cpus = float(line["NCPU"])
        elif "RestartCount" in line:
            inspected.append(line)
        elif "MemUsage" in line:
            # A container that has just ended has dashes in place of numbers.
            if "--" not in (line["MemUsage"], line["CPUPerc"]):
                memory = parse_size(line["MemUsage"].partition("/")[0].strip())
                used[line["ID"]] = memory, float(line["CPUPerc"].removesuffix("%")) / 100
        else:
            what = _what(line["Action"], line["Actor"]["Attributes"])
            if what is not None:
                events.add(Event(line["Actor"]["ID"], int(line["timeNano"]), what))
    if cpus <= 0:
        raise ValueError("the engine did not say how many CPUs there are")
    containers = []
    for one in inspected:
        now = used.get(one["Id"]) if one["Running"] else None
        may_use = one["NanoCpus"] / 1e9 or cpus
        containers.append(
            ContainerStats(
                one["Id"],
                one["Name"].lstrip("/"),
                now and now[0],
                now and now[1] / may_use,
                int(one["RestartCount"]),
                bool(one["OOMKilled"]),
            )
        )
    return HostStats(tuple(containers), frozenset(events))


def _what(action: str, attributes: dict[str, str]) -> str | None:
    if action == "oom":
        return "oom"
    if action == "die" and attributes["exitCode"] == "137":
        return "killed"
    if action == "kill" and attributes["signal"] in ("9", "SIGKILL"):
        return "asked"
    return None


def _objects(text: str) -> Iterator[dict[str, Any]]:
    for line in text.splitlines():
        if line.strip():
            yield json.loads(line)
