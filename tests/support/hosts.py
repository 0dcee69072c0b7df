"""A project that is deployed to the hosts of a lab."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from lab import hosts
from lab.model import Lab
from tests.support import docker, wheels


def with_folder(lab: Lab) -> Lab:
    """The lab, whose hosts have the directory of the environments, as after ``rollout provision``."""
    for host in lab.hosts:
        hosts.ssh(lab, host, "sudo install -d -o deploy -g deploy /srv/terminals")
    return lab


class Deployment:
    """A project whose one environment, dev, is the hosts of a lab."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self.lab = lab
        self.folder = folder
        self.configure()

    def configure(self, **environment: Any) -> None:
        """Write the configuration, with other settings of the environment."""
        shell = {"command": ["/bin/bash", "--norc", "--noprofile"]}
        dev = {
            "engine": "docker",
            "ssh_config": str(self.lab.ssh_config),
            "hosts": {h.name: {"root": "/srv/terminals/dev", "address": h.address} for h in self.lab.hosts},
            "listen": {"host": "0.0.0.0", "system": 4001, "claude": 4002, "web": 4110},
            "profiles": {"system": shell, "claude": shell},
            "gates": [{"metric": "generation.memory_bytes", "op": "<", "threshold": "500MB"}],
            "canary": [{"weight": 100, "hold": "1s"}],
            "soak": "100ms",
            "rollback_window": "1h",
            **environment,
        }
        config = {
            "version": 1,
            "project": docker.PROJECT,
            "source": str(docker.SERVICES),
            "state": "state",
            "environments": {"dev": dev},
        }
        wheels.share(self.folder / "state")
        (self.folder / "rollout.yaml").write_text(json.dumps(config))

    def run(self, *arguments: str, code: int | None = 0, **environment: str) -> str:
        """Run ``rollout``; what it printed, on either stream."""
        done = subprocess.run(
            [sys.executable, "-m", "rollout", *arguments],
            cwd=self.folder, capture_output=True, text=True, timeout=900, env={**os.environ, **environment},
        )  # fmt: skip
        self.out = done.stdout
        said = done.stdout + done.stderr
        assert "Traceback" not in said, said
        assert code is None or done.returncode == code, said
        return said

    def status(self, host: str) -> dict[str, Any]:
        """What the session manager of a host says."""
        command = f"docker exec {docker.PROJECT}-dev-manager-1 terminals ctl status"
        found: dict[str, Any] = json.loads(hosts.ssh(self.lab, self.lab.host(host), command))
        return found

    def serving(self, host: str) -> list[str]:
        """The generations with a weight."""
        return [entry["name"] for entry in self.status(host)["generations"] if entry["weight"]]
