"""What a playbook has changed on each host, and what it noted there, told while it goes on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from rollout.model import EngineEvent
from rollout.observer import Observer


@dataclass(frozen=True, slots=True)
class Provisioned:
    """What setting a host up has changed there, or would; and what it found that stays as it was."""

    host: str
    changed: tuple[str, ...]
    noted: tuple[str, ...] = ()


class Changes:
    """Listens to an engine on behalf of an observer, and keeps what was changed where."""

    def __init__(self, hosts: Iterable[str], observer: Observer) -> None:
        self._observer = observer
        self._by_host: dict[str, list[str]] = {host: [] for host in hosts}
        self._noted: dict[str, list[str]] = {host: [] for host in hosts}

    def __call__(self, event: EngineEvent) -> None:
        self._observer.engine_event(event)
        if event.status == "changed":
            self._by_host[event.host].append(event.task.rpartition(" : ")[2])
        elif event.status == "noted":
            self._noted[event.host].append(event.task)

    def all(self) -> list[Provisioned]:
        """Of every host, in order; one where all was as it should be is there, too."""
        return [
            Provisioned(host, tuple(dict.fromkeys(tasks)), tuple(dict.fromkeys(self._noted[host])))
            for host, tasks in self._by_host.items()
        ]

    def note(self, other: Changes) -> None:
        """Take over what ``other`` noted."""
        for host, texts in other._noted.items():
            self._noted[host] += texts

    def hosts(self) -> list[str]:
        """Those on which anything was changed, by name."""
        return sorted(host for host, tasks in self._by_host.items() if tasks)
