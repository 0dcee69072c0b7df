"""A project whose environments are hosts of a lab: real SSH, real engines, all by the rollout command."""

from __future__ import annotations

import ipaddress
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from lab import hosts, image
from lab.model import Host, Lab
from rollout.checks.runner import Target
from rollout.config import load
from rollout.engine.docker import DockerEngine
from tests.support import docker
from tests.support.project import source_of
from tests.support.stack import until

ROOT = Path(__file__).parents[2]
TOKEN = "token-from-the-vault-0123456789"
SHELL = {"command": ["/bin/bash", "--norc", "--noprofile"]}


def require_lab() -> None:
    """Skip where no lab can be."""
    docker.client()
    for program in ("mmdebstrap", "ssh"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")


class LabProject:
    """A lab with ``counts`` hosts, set up, and a configuration for it."""

    def __init__(self, name: str, subnet: str, **counts: int) -> None:
        require_lab()
        self.folder = Path(tempfile.mkdtemp(prefix=f"{name}-"))
        self.lab = Lab(name, self.folder / "lab", ipaddress.IPv4Network(subnet), tuple(counts.items()), "4G")
        if not image.present():
            image.make()
        self.base = docker.base()
        hosts.up(self.lab)
        self._encrypt()
        self.configure()
        for environment in counts:
            assert self.run("provision", environment) == 0, self.said

    def configure(self, **staging: Any) -> None:
        """Write the configuration; ``staging`` overrides keys of all environments but the first."""
        environments: dict[str, Any] = {}
        after = None
        for name, count in self.lab.counts:
            environments[name] = {
                "engine": "docker",
                "ssh_config": str(self.lab.ssh_config),
                "after": after,
                "hosts": {
                    host.name: {"root": f"/srv/terminals/{name}", "address": host.address}
                    for host in self.lab.hosts
                    if host.environment == name
                },
                "listen": {"host": "0.0.0.0", "system": 4001, "claude": 4002, "web": 4110},
                "profiles": {"system": SHELL, "claude": SHELL},
                "canary": [{"weight": 100, "hold": "1s"}],
                "checks": ["smoke"],
                "gates": [{"metric": "smoke.pass_ratio", "op": ">=", "threshold": 1}],
                "max_hold": "60s",
                "soak": "1s",
                "rollback_window": "1h",
            }
            if after is None:
                environments[name]["vault"] = {"file": "vault.yml", "password_file": "vault.password"}
            else:
                environments[name] |= {
                    "batches": [1, "100%"],
                    "canary": [{"weight": 50, "hold": "2s"}, {"weight": 100, "hold": "1s"}],
                    # Enough of them that a canary is never without one, whoever else has a session there.
                    "load": {"users": 5 * count, "spawn_rate": 10, "cut_every": "4s"},
                    **staging,
                }
                environments[name]["gates"] = [
                    *environments[name]["gates"],
                    *({"metric": f"load.{what}", "op": "==", "threshold": 0}
                      for what in ("bytes_lost", "bytes_doubled", "commands_twice", "loops")),
                ]  # fmt: skip
            after = name
        config = {
            "version": 1,
            "project": "terminals",
            "source": str(ROOT / "services"),
            "state": "state",
            "image": {"base": self.base},
            "environments": environments,
        }
        (self.folder / "rollout.yaml").write_text(json.dumps(config, indent=1))

    def _encrypt(self) -> None:
        """The token of the first environment, as an operator keeps it."""
        (self.folder / "vault.password").write_text("only for this test\n")
        path = self.folder / "vault.yml"
        path.write_text(f"terminals_docker_token: {TOKEN}\n")
        program = str(Path(sys.executable).with_name("ansible-vault"))
        command = [
            program,
            "encrypt",
            "--vault-password-file",
            str(self.folder / "vault.password"),
            str(path),
        ]
        subprocess.run(command, check=True, capture_output=True)

    def close(self) -> None:
        """Take the lab away."""
        hosts.down(self.lab)
        shutil.rmtree(self.folder, ignore_errors=True)

    def host(self, name: str) -> Host:
        return self.lab.host(name)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Begin a rollout command; :meth:`finish` waits for its end."""
        return subprocess.Popen(
            [sys.executable, "-m", "rollout", *arguments],
            cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    def finish(self, process: subprocess.Popen[str], timeout: float = 1200) -> int:
        self.said, _ = process.communicate(timeout=timeout)
        assert "Traceback" not in self.said, self.said
        return process.returncode

    def run(self, *arguments: str) -> int:
        return self.finish(self.start(*arguments))

    def json(self, *arguments: str) -> Any:
        command = [sys.executable, "-m", "rollout", *arguments, "--output", "json"]
        done = subprocess.run(command, cwd=self.folder, text=True, capture_output=True, check=True)
        return json.loads(done.stdout)

    def build(self, version: str) -> None:
        """Build the services under another version."""
        source = source_of(version, self.folder / "source")
        assert self.run("build", "--source", str(source)) == 0, self.said

    def engine(self, environment: str) -> DockerEngine:
        config = load(self.folder / "rollout.yaml")
        return DockerEngine(config, config.environment(environment))

    def target(self, host: str) -> Target:
        environment = host.rpartition("-")[0]
        return next(target for target in self.engine(environment).targets() if target.host == host)

    def generations(self, host: str) -> dict[str, dict[str, Any]]:
        status = self.engine(host.rpartition("-")[0]).status()[host]
        assert status is not None, f"{host} does not answer"
        return {entry["name"]: entry for entry in status["generations"]}

    def serving(self, environment: str) -> set[tuple[str, ...]]:
        """Which generations have all traffic, over the hosts: one entry where they agree."""
        return {
            tuple(name for name, entry in self.generations(host.name).items() if entry["weight"])
            for host in self.lab.hosts
            if host.environment == environment
        }

    def reached(self, environment: str, step: str, process: subprocess.Popen[str]) -> None:
        """Wait until the running rollout has begun a step."""

        def there() -> bool:
            assert process.poll() is None, self.finish(process) or self.said
            timeline = self.json("report", environment)["timeline"]
            return any(entry["step"] == step for entry in timeline)

        until(there, f"{step} of {environment}", timeout=900)
