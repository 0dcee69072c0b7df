"""Several hosts on this machine that know of each other, with a network between them that can be cut."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support.relay import Relay
from tests.support.stack import TOKEN, Stack, until

INTERVAL = 0.25
"""Seconds between two questions: so that a host is known to be silent after one and not after eight."""


class Fleet:
    """Stacks by their names, each with the tag that is its name four times."""

    def __init__(self, names: str, peers: dict[str, dict[str, Any]], **settings: Any) -> None:
        """``peers``: of each, by what it knows the others."""
        self.names = names
        self._at: dict[str, str] = settings.pop("at", {})
        """By what name the others' clients find a host, where that is not by its number."""
        self.doors: dict[str, Relay] = {}
        """What is between clients and the terminals of a host, where something is."""
        through = settings.pop("doors", False)
        self.front: dict[str, str] = {}
        """Where a host's page is for clients, without a slash, where that is at a door of all."""
        self.stacks: dict[str, Stack] = {}
        self.links: dict[tuple[str, str], Relay] = {}
        """By who asks, and whom."""
        secure = any("certificate" in rules for rules in peers.values())
        self._scheme = "https" if secure else "http"
        try:
            for name in names:
                rules = {"host": "127.0.0.1", "port": 0, "name": name, "interval": INTERVAL, **peers[name]}
                stack = self.stacks[name] = Stack(tag=name * 4, peers=rules, **settings)
                stack.start_generation("g1", weight=100)
            for name in names:
                for other in names.replace(name, ""):
                    port = self.stacks[other].admin("hosts")["port"]
                    self.links[name, other] = Relay(port)
            for name in names if through else "":
                self.doors[name] = Relay(self.stacks[name].status()["listeners"]["system"])
            for name in names:
                self.configure(name)
        except BaseException:
            self.close()
            raise

    def configure(self, name: str, **settings: Any) -> None:
        """Tell a host of the others, by another manager of these settings."""
        stack = self.stacks[name]
        stack.settings |= settings
        stack.settings["hosts"] = {
            other: {
                "tag": other * 4,
                "urls": {profile: self.url(other, profile) for profile in ("system", "claude")},
                "peers": f"{self._scheme}://127.0.0.1:{self.links[name, other].port}",
            }
            for other in self.names.replace(name, "")
        }
        stack.replace_manager()

    def url(self, name: str, profile: str = "system") -> str:
        """Where clients find a host's terminals."""
        if name in self.front:
            return f"{self.front[name]}/ws/{profile}"
        if profile == "system" and name in self.doors:
            return f"ws://127.0.0.1:{self.doors[name].port}/"
        return self.stacks[name].url(profile).replace("127.0.0.1", self._at.get(name, "127.0.0.1"))

    def known(self, at: str) -> dict[str, dict[str, Any]]:
        """What a host knows of each, by name."""
        return {entry["name"]: entry for entry in self.stacks[at].admin("hosts")["items"]}

    def wait(self, at: str, of: str, standing: str) -> None:
        """Until a host knows so of another."""
        until(lambda: self.known(at)[of]["standing"] == standing, f"{of} being {standing} to {at}")

    def cut(self, *names: str) -> None:
        """Cut these off from all the others, and from each other."""
        for pair, link in self.links.items():
            if set(pair) & set(names):
                link.cut()

    def heal(self) -> None:
        for link in (*self.links.values(), *self.doors.values()):
            link.heal()

    def close(self) -> None:
        for link in (*self.links.values(), *self.doors.values()):
            link.close()
        for stack in self.stacks.values():
            stack.close()


@contextlib.contextmanager
def fleet(folder: Path, names: str, **settings: Any) -> Iterator[Fleet]:
    """By the token; ``lost_seconds``, ``screens`` and ``regions`` (by name) go to ``peers``."""
    token = folder / "peers-token"
    token.write_text(TOKEN)
    all_have = {key: settings.pop(key) for key in ("lost_seconds", "screens") if key in settings}
    regions = settings.pop("regions", {})
    peers = {name: {"token": str(token), "region": regions.get(name, "here"), **all_have} for name in names}
    hosts = Fleet(names, peers, **settings)
    try:
        yield hosts
    finally:
        hosts.close()
