"""What a playbook has changed on each host, told while it goes on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from rollout.model import EngineEvent
from rollout.observer import Observer


@dataclass(frozen=True, slots=True)
class Provisioned:
    """What setting a host up has changed there, or would."""

    host: str
    changed: tuple[str, ...]


class Changes:
    """Listens to an engine on behalf of an observer, and keeps what was changed where."""

    def __init__(self, hosts: Iterable[str], observer: Observer) -> None:
        self._observer = observer
        self._by_host: dict[str, list[str]] = {host: [] for host in hosts}

    def __call__(self, event: EngineEvent) -> None:
        self._observer.engine_event(event)
        if event.status == "changed":
            self._by_host[event.host].append(event.task.rpartition(" : ")[2])

    def all(self) -> list[Provisioned]:
        """Of every host, in order; one where all was as it should be is there, too."""
        return [Provisioned(host, tuple(dict.fromkeys(tasks))) for host, tasks in self._by_host.items()]

    def hosts(self) -> list[str]:
        """Those on which anything was changed, by name."""
        return sorted(host for host, tasks in self._by_host.items() if tasks)
