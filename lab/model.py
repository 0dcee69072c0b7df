"""What a lab is: its name, its folder, its hosts and their addresses. No I/O but its own record."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from rollout.errors import EngineError

ENVIRONMENTS = ("dev", "staging", "production")
MOST_HOSTS = 9
"""Hosts of one environment: the last digit of the address is the number in the name."""
USER = "deploy"
"""Who SSH logs in as."""


class LabError(EngineError):
    """The lab, its engine or one of its hosts does not do what was asked; nothing else is touched."""


@dataclass(frozen=True)
class Host:
    """One host: ``staging-2`` is the second one of staging and has the address ``.22`` in any lab."""

    environment: str
    number: int
    address: str

    @property
    def name(self) -> str:
        """Its name in SSH, in the inventory and on its own prompt."""
        return f"{self.environment}-{self.number}"


@dataclass(frozen=True)
class Lab:
    """A lab of ``counts`` hosts per environment; ``state`` is its folder, with an absolute path.

    ``name`` prefixes everything it owns in the engine; ``disk`` is the size of each host's disk as
    truncate(1) reads it.
    """

    name: str
    state: Path
    subnet: ipaddress.IPv4Network
    counts: tuple[tuple[str, int], ...]
    disk: str = "8G"

    @property
    def hosts(self) -> tuple[Host, ...]:
        """Every host, in the order of promotion."""
        return tuple(
            Host(environment, number, str(self.subnet[10 * (place + 1) + number]))
            for place, environment in enumerate(ENVIRONMENTS)
            for number in range(1, dict(self.counts).get(environment, 0) + 1)
        )

    def host(self, name: str) -> Host:
        """The host of that name.

        Raises:
            LabError: there is none.
        """
        for host in self.hosts:
            if host.name == name:
                return host
        raise LabError(f"{name}: no such host; the lab has {', '.join(host.name for host in self.hosts)}")

    def container(self, host: Host) -> str:
        """The container that is the host."""
        return f"{self.name}-{host.name}"

    @property
    def network(self) -> str:
        """The bridge that the hosts are on."""
        return f"{self.name}_hosts"

    @property
    def ssh_config(self) -> Path:
        """What ``ssh -F`` and Ansible take: names, addresses, key, known hosts."""
        return self.state / "ssh_config"

    @property
    def inventory(self) -> Path:
        """What ``ansible -i`` takes."""
        return self.state / "inventory.yml"

    @property
    def compose(self) -> Path:
        """What Compose takes."""
        return self.state / "compose.json"

    def save(self) -> None:
        """Write the record that :meth:`load` reads."""
        record = {
            "name": self.name,
            "subnet": str(self.subnet),
            "counts": dict(self.counts),
            "disk": self.disk,
        }
        (self.state / "lab.json").write_text(json.dumps(record, indent=2) + "\n")

    @classmethod
    def load(cls, state: Path) -> Lab:
        """The lab whose folder that is.

        Raises:
            LabError: no lab was ever brought up there, or its record is damaged.
        """
        path = state.resolve() / "lab.json"
        try:
            record = json.loads(path.read_text())
            return cls(
                name=record["name"],
                state=state.resolve(),
                subnet=ipaddress.IPv4Network(record["subnet"]),
                counts=tuple(record["counts"].items()),
                disk=record["disk"],
            )
        except FileNotFoundError:
            raise LabError(f"{state}: no lab here; `python -m lab up` makes one") from None
        except (OSError, ValueError, KeyError) as error:
            raise LabError(f"{path}: damaged ({error}); `python -m lab up` writes it anew") from None


def overlap(
    subnet: ipaddress.IPv4Network, taken: Iterable[tuple[str, ipaddress.IPv4Network]]
) -> tuple[str, ipaddress.IPv4Network] | None:
    """The first of the ``taken`` ranges (whose, which) that shares an address with ``subnet``."""
    return next(((whose, other) for whose, other in taken if subnet.overlaps(other)), None)
