"""Evidence from what the engines on the hosts tell of a generation's containers, reading by reading."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from rollout.config import Gate
from rollout.engine.stats import ContainerStats, Event, HostStats
from rollout.model import Evidence


class Readings:
    """What was read of one generation so far."""

    def __init__(self, generation: str) -> None:
        self._generation = generation
        self._read: list[tuple[float, str, HostStats]] = []
        self._hosts: set[str] = set()
        self._events: set[Event] = set()

    def add(self, at: float, stats: Mapping[str, HostStats | None]) -> None:
        """Take a reading of every host in; ``None`` is a host that did not answer."""
        for host, read in stats.items():
            self._hosts.add(host)
            if read is not None:
                self._read.append((at, host, read))
                self._events |= read.events

    def evidence(self, gates: Iterable[Gate], window: tuple[float, float]) -> list[Evidence]:
        """One piece for each gate that looks at containers.

        A host of which nothing was read for longer than the gate's ``max_age`` is a hole: nothing was seen.
        """
        return [self._judged_by(gate, window) for gate in gates if gate.about.source == "docker"]

    def _judged_by(self, gate: Gate, window: tuple[float, float]) -> Evidence:
        start, now = window
        if gate.window is not None:
            start = max(start, now - gate.window)
        newest = {host: (at, read) for at, host, read in self._read}
        silent = sorted(
            host for host in self._hosts if host not in newest or now - newest[host][0] > gate.max_age
        )
        labels = {"gate": gate.name, "generation": self._generation}
        if silent:
            labels["note"] = f"the engine of {', '.join(silent)} does not answer"
        fields: dict[str, Any]
        last = [container for _, read in newest.values() for container in read.containers]
        match gate.metric:
            case "docker.memory_bytes":
                sizes = [one.memory_bytes for one in self._since(start) if one.memory_bytes is not None]
                n, fields = len(sizes), {"value": float(max(sizes, default=0))}
            case "docker.cpu_share":
                shares = tuple(one.cpu_share for one in self._since(start) if one.cpu_share is not None)
                n, fields = len(shares), {"samples": () if silent else shares}
            case "docker.restarts":
                n, fields = len(last), {"value": float(sum(one.restarts for one in last))}
            case _:
                n, fields = len(last), {"value": float(_oom_kills(self._events, last))}
        return Evidence(
            f"{gate.metric}-{secrets.token_hex(4)}",
            gate.metric,
            gate.about.kind,
            "docker",
            start,
            now,
            0 if silent else n,
            labels=labels,
            **fields,
        )

    def _since(self, start: float) -> Iterator[ContainerStats]:
        for at, _, read in self._read:
            if at >= start:
                yield from read.containers


def _oom_kills(events: Iterable[Event], containers: Iterable[ContainerStats]) -> int:
    """Processes killed for want of memory, at least.

    Where a container ended with such a process, the engine may have lost the event. So ends by SIGKILL that
    nobody asked the engine for are counted, too: of each container, the larger number is it.
    """
    told: Counter[str] = Counter()
    ended: Counter[str] = Counter()
    asked: set[str] = set()
    for event in sorted(events, key=lambda event: event.at):
        match event.what:
            case "oom":
                told[event.container] += 1
            case "asked":
                asked.add(event.container)
            case "killed" if event.container in asked:
                asked.remove(event.container)
            case "killed":
                ended[event.container] += 1
    marked = Counter(one.id for one in containers if one.oom_killed)
    return (told | ended | marked).total()
