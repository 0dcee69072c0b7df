"""Real hosts for a test: a lab of its own, and a project that is deployed to it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest

from lab import hosts, image
from lab.model import Lab
from tests.support import docker


@contextmanager
def lab_of(count: int, name: str, network: int) -> Iterator[Lab]:
    """``count`` hosts, dev-1 and on; skipped where there is no way to have them."""
    docker.client()
    if not all(map(shutil.which, ["mmdebstrap", "ssh"])):
        pytest.skip("needs mmdebstrap and ssh: scripts/test-requirements.sh installs them")
    state = Path(tempfile.mkdtemp(prefix="rollout-lab-"))
    subnet = IPv4Network(f"10.{network}.{os.getpid() % 256}.0/24")
    lab = Lab(f"rollout-{name}-{os.getpid()}", state, subnet, (("dev", count),), "2G")
    try:
        if not image.present():
            image.make()
        hosts.up(lab)
        for host in lab.hosts:
            hosts.ssh(lab, host, "sudo install -d -o deploy -g deploy /srv/terminals")
        yield lab
    finally:
        hosts.down(lab)
        shutil.rmtree(state, ignore_errors=True)


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
            "soak": "1s",
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
