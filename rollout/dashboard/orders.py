"""What may be done from the dashboard: commands of ``rollout``, each a process that outlives it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rollout.config import Config

ACTIONS: Final = {
    "promote": "Bring the build of the environment before it here, and take it back on anything but a pass",
    "approve": "Say yes to the build of the environment before it coming here",
    "cancel": "Have the rollout that goes on taken back",
    "rollback": "Return to the build before the present one",
}
REMEMBERED: Final = 10
TAIL: Final = 4000
"""Bytes of a command's output that are shown."""


@dataclass
class Order:
    """One command that was given."""

    action: str
    environment: str
    began: float
    log: Path
    process: subprocess.Popen[bytes]
    status: int | None = None
    """How it has ended."""

    @property
    def said(self) -> str:
        """The last of what it has printed."""
        try:
            with self.log.open("rb") as file:
                file.seek(max(0, self.log.stat().st_size - TAIL))
                return file.read().decode(errors="replace")
        except OSError as error:
            return f"{self.log}: {error.strerror}"


class Orders:
    """Gives commands, and remembers the latest."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._orders: list[Order] = []
        self._folder = config.state / "dashboard" / "orders"

    def give(self, action: str, environment: str) -> Order:
        """Start a command.

        Raises:
            ValueError: there is no such action, or environment.
            OSError: it cannot be started, or its output not be kept.
        """
        if action not in ACTIONS:
            raise ValueError(f"no action {action!r}; there are {', '.join(ACTIONS)}")
        if environment not in self._config.environments:
            raise ValueError(f"no environment {environment!r}")
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        began = time.time()
        stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime(began))
        log = self._folder / f"{stamp}.{int(began * 1000) % 1000:03}-{action}-{environment}.log"
        command = [sys.executable, "-m", "rollout", "--config", str(self._config.path), action, environment]
        with log.open("xb") as file:
            # In a session of its own: Ctrl-C for the dashboard is none for what it has begun.
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, "NO_COLOR": "1", "COLUMNS": "110"},
            )
        order = Order(action, environment, began, log, process)
        self._orders = [*self._orders, order][-REMEMBERED:]
        return order

    def latest(self) -> list[Order]:
        """The newest first."""
        for order in self._orders:
            order.status = order.process.poll()
        return self._orders[::-1]
