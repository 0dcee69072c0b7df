# Copyright: (c) 2026, The rollout authors
# MIT License (see LICENSE or https://opensource.org/license/mit)
"""What a supervisor is told by its socket (http://supervisord.org/api.html): its own program takes as long to
start as all else together."""

from __future__ import annotations

import http.client
import socket
import xmlrpc.client
from pathlib import Path
from typing import Any

from ansible_collections.terminals.rollout.plugins.module_utils.host import Failed

ALREADY_ADDED = 90
BAD_NAME = 10
LIMIT_SECONDS = 120
"""Stopping a group waits until its processes are gone."""


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=LIMIT_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class _Transport(xmlrpc.client.Transport):
    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path

    def make_connection(self, host: Any) -> http.client.HTTPConnection:
        return _Connection(self._path)


class Supervisor:
    """The supervisor that listens at ``path``."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rpc = xmlrpc.client.ServerProxy("http://localhost", transport=_Transport(str(path)))

    @property
    def pid(self) -> int | None:
        """Its process; ``None`` where none listens."""
        try:
            return int(self._ask("getPID"))
        except OSError:
            return None

    def add(self, group: str) -> bool:
        """Start what its configuration says of a group now. Gives whether it did not run."""
        self._read()
        return self._add(group)

    def update(self, group: str) -> bool:
        """Have a group be what its configuration says now, or nothing where it says nothing of it.

        Gives whether it was something else.
        """
        added, changed, removed = self._read()
        if group in removed or group in changed:
            self.drop(group)
        if group in added or group in changed:
            self._add(group)
        return group in added or group in changed or group in removed

    def drop(self, group: str) -> bool:
        """End a group, and forget it. Gives whether there was one."""
        for order in ("stopProcessGroup", "removeProcessGroup"):
            try:
                self._ask(order, group)
            except xmlrpc.client.Fault as fault:
                if fault.faultCode != BAD_NAME:
                    raise Failed(f"the supervisor cannot end {group}: {fault.faultString}") from None
                return False
        return True

    def shut_down(self) -> None:
        """Have it end, with all that it has started."""
        self._ask("shutdown")

    def _read(self) -> tuple[list[str], list[str], list[str]]:
        """Read the configuration anew: the groups that came, are others, and went."""
        try:
            ((added, changed, removed),) = self._ask("reloadConfig")
        except xmlrpc.client.Fault as fault:
            raise Failed(f"the supervisor does not take its configuration: {fault.faultString}") from None
        return added, changed, removed

    def _add(self, group: str) -> bool:
        try:
            self._ask("addProcessGroup", group)
        except xmlrpc.client.Fault as fault:
            if fault.faultCode != ALREADY_ADDED:
                raise Failed(f"the supervisor cannot start {group}: {fault.faultString}") from None
            return False
        return True

    def _ask(self, order: str, *words: str) -> Any:
        return getattr(self._rpc.supervisor, order)(*words)
