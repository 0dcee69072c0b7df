"""One host of a lab of its own, and a project that deploys to it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from lab import hosts
from lab.model import Lab
from rollout.model import BuildRef
from tests.support import docker

ROOT = Path(__file__).parents[2]


class LabHost:
    """A fresh host, ``dev-1``, and a ``rollout.yaml`` with the environment ``dev`` on it.

    ``build`` is one that is made already.
    """

    def __init__(self, folder: Path, lab: Lab, build: BuildRef, **environment: Any) -> None:
        self.folder = folder
        self.build = build
        self.lab = lab
        self.host = self.lab.hosts[0]
        shell = {"command": ["/bin/bash", "--norc", "--noprofile"]}
        self.environment: dict[str, Any] = {
            "engine": "docker",
            "hosts": {self.host.name: {"root": "/srv/terminals/dev", "address": self.host.address}},
            "ssh_config": str(self.lab.ssh_config),
            "listen": {"host": "0.0.0.0", "system": 4001, "claude": 4002, "web": 4110},
            "profiles": {"system": shell, "claude": shell},
            "canary": [{"weight": 100, "hold": "1s"}],
            "gates": [{"metric": "generation.memory_bytes", "op": "<", "threshold": "500MB"}],
            "soak": "100ms",
            "rollback_window": "1h",
            **environment,
        }
        self.configure()

    def configure(self, *, defaults: dict[str, Any] | None = None, **environment: Any) -> Path:
        """Write rollout.yaml, with other defaults, and other values for some of the environment's keys."""
        config = {
            "version": 1,
            "project": docker.PROJECT,
            "source": str(docker.SERVICES),
            "state": str(Path(self.build.path).parent.parent),
            "ledger": f"sqlite:///{self.folder}/ledger.db",
            "image": {"base": "terminals-base:bookworm"},
            "defaults": defaults or {},
            "environments": {"dev": {**self.environment, **environment}},
        }
        path = self.folder / "rollout.yaml"
        path.write_text(json.dumps(config))
        return path

    def run(self, *arguments: str) -> int:
        """A `rollout` command; what it printed is in ``said``."""
        done = subprocess.run(
            [sys.executable, "-m", "rollout", *arguments],
            cwd=self.folder, capture_output=True, text=True, timeout=900,
        )  # fmt: skip
        self.said = done.stdout + done.stderr
        self.printed = done.stdout
        assert "Traceback" not in done.stderr, done.stderr
        return done.returncode

    def ssh(self, command: str) -> str:
        """What a command prints on the host."""
        return hosts.ssh(self.lab, self.host, command, timeout=60)
