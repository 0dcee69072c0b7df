"""A real session manager with real workers in a temporary folder, on ports the kernel picks."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
from terminals.client import Terminal
from terminals.control.asking import ControlError
from terminals.control.holder import renew
from terminals.control.starting import command, program

from tests.support import logs
from tests.support.control import admin

TOKEN = "test-token-0123456789"
TERMINALS = [sys.executable, "-m", "terminals"]
PATIENCE = 120.0
"""Seconds. Waits end when what they wait for is there, which is late on a machine that does other things."""

QUICK = 0.2
"""Seconds of a look after which the next may come at once."""
LONGEST_REST = 1.0
"""Seconds between two looks."""


def until(condition: Callable[[], Any], what: str, timeout: float = PATIENCE) -> Any:
    """Wait for a condition to become true and return its value.

    After one that takes long, as a look at another host does, there is a rest: what is waited for needs the
    same cores.
    """
    end = time.monotonic() + timeout
    while True:
        began = time.monotonic()
        if value := condition():
            return value
        now = time.monotonic()
        if now > end:
            raise AssertionError(f"{what} did not happen within {timeout} s")
        took = now - began
        time.sleep(0.02 if took < QUICK else min(2 * took, LONGEST_REST))


def runs(pid: int) -> bool:
    """Whether this process is there, and no mere entry that nobody has waited for."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class PatientTerminal(Terminal):
    """A client that waits as long as all tests do for what has to come."""

    def expect(self, pattern: bytes, timeout: float = PATIENCE) -> bytes:
        return super().expect(pattern, timeout)


class Stack:
    """Starts, kills and asks the processes of one environment.

    ``ca`` are the certificates that its clients trust, where ``tls`` is among the settings. ``code``: by
    role, the folder of the package that it is run from, where that is not this one.
    """

    within: Path | None = None
    """Where its folder is made, if it matters."""

    def __init__(self, *, ca: str | None = None, code: dict[str, Path] | None = None, **config: Any) -> None:
        self.ca = ca
        self.code = dict(code or {})
        # Unix socket paths are short: pytest's own folders can be too long.
        self.root = Path(tempfile.mkdtemp(prefix="terminals-", dir=self.within))
        self.socket = str(self.root / "run" / "manager.sock")
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.may_break = False
        """Whether exceptions in its logs are what a test has brought about."""
        self._token = self.root / "token"
        self._token.write_text(TOKEN)
        listener = {"host": "127.0.0.1", "port": 0}
        self._config = self.root / "manager.json"
        self.settings: dict[str, Any] = {
            "socket": self.socket,
            "state_dir": str(self.root / "state"),
            "listeners": {"system": dict(listener), "claude": dict(listener), "web": dict(listener)},
            "profiles": {
                # A dumb terminal: no escape sequences of the line editor among the output.
                "system": {"command": ["env", "TERM=dumb", "bash", "--norc", "--noprofile"]},
                "claude": {"command": ["no-such-assistant"]},
            },
            **config,
        }
        logs.show_when_failing(self)
        self.start_holder()
        self.start_manager()

    def start_holder(self) -> None:
        self._spawn("holder", "holder", "--socket", str(Path(self.socket).with_name("holder.sock")))

    def start_manager(self) -> None:
        self._config.write_text(json.dumps(self.settings))
        self._spawn("manager", "manager", "--config", str(self._config))
        until(self._answers, "the manager answering")

    def replace_manager(self, timeout: float = PATIENCE) -> int:
        """Start another manager beside the one that runs, and give the status with which that one leaves."""
        old = self.processes.pop("manager")
        self._config.write_text(json.dumps(self.settings))
        self._spawn("manager", "manager", "--config", str(self._config))
        status = old.wait(timeout)
        until(self._answers, "the other manager answering")
        return status

    def renew_holder(self, build: str) -> dict[str, Any]:
        """Have the holder go on as the one of this package; what it says of itself."""
        return msgspec.structs.asdict(renew(self.socket, build))

    def renew_holder_by_other_code(self, build: str) -> None:
        """Have the holder go on as a copy of its program that says it is of other code: the same process."""
        before = self.status()["holder"]
        copy = Path(tempfile.mkdtemp(dir=self.root)) / "terminals"
        shutil.copytree(program(), copy / "holder")
        (copy / "__init__.py").write_text(f"# {copy}\n")
        argv = command(before["python"], copy / "holder")
        self.admin("renew-holder", argv=argv, build=build, fence=0)
        after = self.status()["holder"]
        assert after["build"] == build
        assert after["code"] != before["code"]
        assert after["pid"] == before["pid"]

    def lose_all_shells(self) -> None:
        """End the holder, and with it the shells, and the manager, as the host's end does; start both again.

        The manager's end alone is no shell's, and the holder's end leaves the shells to the manager.
        """
        self.kill("holder")
        self.kill("manager")
        self.start_holder()
        self.start_manager()

    def start(self, role: str, generation: str, *, build: str | None = None, name: str = "") -> str:
        name = name or f"{role}-{generation}"
        self._spawn(
            name,
            role,
            "--socket",
            self.socket,
            "--generation",
            generation,
            "--build",
            build or f"build-{generation}",
            "--token-file",
            str(self._token),
        )
        return name

    def start_generation(self, generation: str, *, weight: int | None = None) -> None:
        self.start("worker", generation)
        until(lambda: self.generation(generation).get("workers"), f"{generation} ready")
        if weight is not None:
            self.admin("weights", weights={generation: weight})

    def start_web(self, generation: str) -> None:
        self.start("web", generation)
        until(lambda: self.generation(generation).get("web"), f"the web process of {generation}")

    def kill(self, name: str, number: int = signal.SIGKILL) -> None:
        process = self.processes.pop(name)
        process.send_signal(number)
        process.wait(10)

    def admin(self, command: str, **fields: Any) -> dict[str, Any]:
        return admin(self.socket, command, timeout=60, **fields)

    def status(self) -> dict[str, Any]:
        return self.admin("status")

    def generation(self, name: str) -> dict[str, Any]:
        entries = {entry["name"]: entry for entry in self.status()["generations"]}
        return entries.get(name, {})

    def url(self, profile: str = "system") -> str:
        scheme = "http" if profile == "web" else "ws"
        secure = "s" if self.settings.get("tls") else ""
        return f"{scheme}{secure}://127.0.0.1:{self.status()['listeners'][profile]}/"

    def terminal(self, profile: str = "system", **options: Any) -> Terminal:
        return PatientTerminal(self.url(profile), token=TOKEN, ca=self.ca, **options)

    def log(self, name: str) -> str:
        return (self.root / f"{name}.log").read_text()

    def logs(self) -> dict[str, str]:
        """What its processes have written."""
        return logs.in_folder(self.root, "*.log")

    def close(self) -> None:
        logs.forget(self)
        for name in [*(n for n in self.processes if n != "holder"), "holder"]:
            if name in self.processes:
                self.kill(name, signal.SIGTERM if name == "holder" else signal.SIGKILL)
        broken = logs.broken(self.root, "*.log")
        shutil.rmtree(self.root, ignore_errors=True)
        assert self.may_break or not broken, broken

    def _answers(self) -> bool:
        if self.processes["manager"].poll() is not None:
            raise AssertionError(f"the manager ended: {self.log('manager')}")
        try:
            self.status()
        except ControlError:
            return False
        return True

    def _spawn(self, name: str, role: str, *arguments: str) -> None:
        env = dict(os.environ)
        if folder := self.code.get(role):
            env["PYTHONPATH"] = str(folder)
        with (self.root / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [*TERMINALS, role, *arguments], stdout=log, stderr=log, cwd=self.root, env=env
            )


@contextlib.contextmanager
def running(*generations: str, web: bool = False, **config: Any) -> Iterator[Stack]:
    """A stack for a fixture: all go to the first of these generations (g1), which may have a web process."""
    stack = Stack(**config)
    try:
        first, *others = generations or ("g1",)
        stack.start_generation(first, weight=100)
        for other in others:
            stack.start_generation(other)
        if web:
            stack.start_web(first)
        yield stack
    finally:
        stack.close()
