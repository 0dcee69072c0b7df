"""A project with environments of processes on this machine, driven by the command as its users do."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

from terminals.client import Terminal

from demo.source import another
from tests.support import logs, wheels
from tests.support.control import admin
from tests.support.looking import looked
from tests.support.ports import free_ports
from tests.support.resident import Resident
from tests.support.stack import runs, until

ROOT = Path(__file__).parents[2]
SHELL = {"command": ["/bin/bash", "--norc", "--noprofile"]}
PROFILES = {"system": SHELL, "claude": SHELL}
"""Without a person's start-up files, which take longer than everything that is measured."""


def source_of(version: str, folder: Path, patch: Path | None = None) -> Path:
    """A copy of the services in ``folder`` that says it is of that version: another build, the same code.

    Or, with a ``patch``, code with that difference.
    """
    copy = another(folder, version, patch)
    shutil.copy2(ROOT / "uv.lock", folder)  # it is built by the same lock
    return copy


class Project:
    """A configured project in a short folder, with the rollout command. ``said`` is what it said last."""

    may_break = False
    """Whether exceptions in logs of services are what its tests bring about."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.said = ""
        self.listens: dict[str, dict[str, int]] = {}
        self._ports = iter(free_ports(15))
        wheels.share(folder / "state")
        logs.show_when_failing(self)

    def listen(self, name: str) -> dict[str, int]:
        """Ports of a host or an environment: always the same."""
        if name not in self.listens:
            self.listens[name] = dict(zip(("system", "claude", "web"), self._ports, strict=False))
        return self.listens[name]

    def logs(self) -> dict[str, str]:
        """What the processes of its environments have written."""
        return logs.in_folder(self.folder, "*/log/*.log")

    @classmethod
    @contextlib.contextmanager
    def deployed(cls) -> Iterator[Self]:
        """One in a folder of its own, with a build on dev."""
        with tempfile.TemporaryDirectory(prefix="rollout-") as folder:
            project = cls(Path(folder))
            try:
                assert project.run("build") == 0, project.said
                assert project.run("deploy", "dev") == 0, project.said
                yield project
            finally:
                project.close()

    def close(self) -> None:
        """End all environments: their supervisors, and with them everything else. Faster than by Ansible."""
        logs.forget(self)
        supervisors = [int(path.read_text()) for path in self.folder.glob("*/run/supervisord.pid")]
        for pid in supervisors:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        for pid in supervisors:
            until(lambda pid=pid: not runs(pid), f"the end of supervisor {pid}", timeout=90)
        broken = logs.broken(self.folder, "*/log/*.log")
        assert self.may_break or not broken, broken

    def write(self, environments: dict[str, Any], **config: Any) -> None:
        """Write ``rollout.yaml``."""
        whole = {
            "version": 1,
            "project": "terminals",
            "source": str(ROOT / "services"),
            "state": "state",
            **config,
            "environments": environments,
        }
        (self.folder / "rollout.yaml").write_text(json.dumps(whole))

    def write_defaults(self, **defaults: Any) -> None:
        """Change defaults in ``rollout.yaml``."""
        path = self.folder / "rollout.yaml"
        whole = json.loads(path.read_text())
        path.write_text(json.dumps({**whole, "defaults": {**whole.get("defaults", {}), **defaults}}))

    def run(self, *arguments: str, program: tuple[str, ...] = ("-m", "rollout")) -> int:
        """Run rollout; gives its exit code."""
        done = subprocess.run(
            [sys.executable, *program, *arguments],
            cwd=self.folder, capture_output=True, text=True, timeout=900,
        )  # fmt: skip
        self.said = done.stdout + done.stderr
        assert "Traceback" not in done.stderr, done.stderr
        return done.returncode

    def json(self, *arguments: str) -> Any:
        """What rollout prints for programs."""
        return looked(self.folder, *arguments)

    def manager(self, root: str) -> dict[str, Any]:
        """The status of the session manager in a host's directory."""
        return admin(str(self.folder / root / "run" / "manager.sock"), "status")

    def sessions(self, root: str) -> list[dict[str, Any]]:
        """Its sessions."""
        items: list[dict[str, Any]] = admin(str(self.folder / root / "run" / "manager.sock"), "sessions")[
            "items"
        ]
        return items

    def generations(self, root: str) -> dict[str, dict[str, Any]]:
        """Its generations, by name."""
        return {entry["name"]: entry for entry in self.manager(root)["generations"]}

    def weights(self, root: str) -> dict[str, int]:
        """Those that get traffic."""
        return {name: entry["weight"] for name, entry in self.generations(root).items() if entry["weight"]}

    def resident(self, root: str) -> Resident:
        """Somebody in a live shell all the while."""
        token = (self.folder / root / "run" / "token").read_text().strip()
        return Resident(Terminal(f"ws://127.0.0.1:{self.listen(root)['system']}/", token=token))


class TwoStages(Project):
    """Dev and, with a load test, staging after it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.configure()

    def configure(self, *, memory: str = "500MB", **dev: Any) -> None:
        """``memory``: what staging's build may take; ``dev``: other values of dev's keys."""
        common = {
            "profiles": {"system": SHELL, "claude": {"command": ["claude"]}},
            "canary": [{"weight": 50, "hold": "1s"}, {"weight": 100, "hold": "1s"}],
            "checks": ["smoke"],
            "rollback_window": "1h",
            "max_hold": "30s",
        }
        smoke = {"metric": "smoke.pass_ratio", "op": ">=", "threshold": 1}
        first = {
            **common,
            "hosts": {"local": {"root": "dev"}},
            "listen": self.listen("dev"),
            "gates": [smoke, {"metric": "generation.memory_bytes", "op": "<", "threshold": "500MB"}],
            "soak": "100ms",
            **dev,
        }
        staging = {
            **common,
            "after": "dev",
            "hosts": {"local": {"root": "staging"}},
            "listen": self.listen("staging"),
            "load": {"users": 4, "spawn_rate": 4, "cut_every": "3s"},
            "gates": [
                smoke,
                {"metric": "load.bytes_lost", "op": "==", "threshold": 0},
                {"metric": "load.commands_twice", "op": "==", "threshold": 0},
                {"metric": "load.loops", "op": "==", "threshold": 0},
                {"metric": "generation.memory_bytes", "op": "<", "threshold": memory},
            ],
        }
        self.write({"dev": first, "staging": staging})
