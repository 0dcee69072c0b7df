"""The lab of a test run, and a project whose environments are its hosts: real SSH, real engines."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest

from lab import hosts, image
from lab.model import Host, Lab
from rollout.checks.runner import Target
from rollout.config import load
from rollout.engine.docker import DockerEngine
from rollout.ledger import Ledger
from rollout.pipeline.begin import containers_engine
from tests.support import docker, logs, wheels
from tests.support.looking import looked
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


VAULT = {"file": "vault.yml", "password_file": "vault.password"}
"""Of an environment in a folder that :func:`encrypted_vault` has seen."""


def encrypted_vault(folder: Path) -> None:
    """The token of an environment, as an operator keeps it."""
    (folder / "vault.password").write_text("only for this test\n")
    path = folder / "vault.yml"
    path.write_text(f"terminals_docker_token: {TOKEN}\n")
    program = str(Path(sys.executable).with_name("ansible-vault"))
    words = ["encrypt", "--vault-password-file", str(folder / "vault.password"), str(path)]
    subprocess.run([program, *words], check=True, capture_output=True)


class TheLab:
    """The lab of one process of a test run. Image and keys are made once; hosts are new for who asks."""

    def __init__(self) -> None:
        require_lab()
        self._folder = Path(tempfile.mkdtemp(prefix="rollout-lab-"))
        self._lab: Lab | None = None
        with Path(tempfile.gettempdir(), "rollout-lab-image.lock").open("w") as turn:
            fcntl.flock(turn, fcntl.LOCK_EX)  # there are two chains of tests of hosts
            if not image.present():
                image.make()

    def fresh(self, **counts: int) -> Lab:
        """So many hosts of each environment, on which nobody has done anything; those before are gone."""
        self.down()
        number = os.getpid()
        lab = Lab(
            f"rollout-test-{number}",
            self._folder / "lab",
            IPv4Network(f"10.216.{number % 256}.0/24"),
            tuple(counts.items()),
            "4G",
        )
        self._lab = lab
        hosts.up(lab)
        logs.show_when_failing(self)
        return lab

    def logs(self) -> dict[str, str]:
        """What the containers on its hosts have written last."""
        assert self._lab is not None
        names = "$(docker ps --all --format '{{.Names}}')"
        script = f'for name in {names}; do echo "== $name"; docker logs --tail 15 "$name" 2>&1; done'
        found = {}
        for host in self._lab.hosts:
            # By this machine's engine: the host may be one whose network was cut.
            command = ["docker", "exec", self._lab.container(host), "timeout", "20", "sh", "-c", script]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            found[host.name] = done.stdout + done.stderr
        return found

    def down(self) -> None:
        """Take the hosts away."""
        logs.forget(self)
        if self._lab is not None:
            hosts.down(self._lab)
            self._lab = None

    def close(self) -> None:
        """Take everything away but the image, which is for the next run."""
        self.down()
        shutil.rmtree(self._folder, ignore_errors=True)


_engines: dict[tuple[Path, str], tuple[bytes, DockerEngine]] = {}


def engine_of(path: Path, environment: str) -> DockerEngine:
    """The engine of an environment; the same one while ``path``, rollout.yaml, says the same: by then it has
    read the hosts' tokens, and asks their front doors."""
    text = path.read_bytes()
    known, engine = _engines.get((path, environment), (b"", None))
    if engine is None or known != text:
        config = load(path)
        engine = containers_engine(config, config.environment(environment), lambda event: None)
        _engines[path, environment] = text, engine
    return engine


def serving(engine: DockerEngine) -> set[tuple[str, ...]]:
    """Which generations have traffic, over the hosts: one entry where they agree."""
    found = set()
    for host, status in engine.status().items():
        assert status is not None, f"{host} does not answer"
        found.add(tuple(entry["name"] for entry in status["generations"] if entry["weight"]))
    return found


class LabProject:
    """A project on the hosts of a lab, set up: the first environment, and those after it."""

    def __init__(self, lab: Lab) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="rollout-"))
        self._began = 0.0
        self.lab = lab
        self.base = docker.base()
        encrypted_vault(self.folder)
        self.configure()
        for environment, _ in lab.counts:
            assert self.run("provision", environment) == 0, self.said

    def configure(self, *, lost: str = "", **staging: Any) -> None:
        """Write the configuration; ``staging`` overrides keys of all environments but the first. ``lost``: a
        host that is stated to be."""
        environments: dict[str, Any] = {}
        after = None
        for name, count in self.lab.counts:
            environments[name] = {
                "engine": "docker",
                "ssh_config": str(self.lab.ssh_config),
                "after": after,
                "hosts": {
                    host.name: {
                        "root": f"/srv/terminals/{name}",
                        "address": host.address,
                        "lost": host.name == lost,
                    }
                    for host in self.lab.hosts
                    if host.environment == name
                },
                "listen": {"host": "0.0.0.0", "system": 4001, "claude": 4002, "web": 4110},
                "profiles": {"system": SHELL, "claude": SHELL},
                "canary": [{"weight": 100, "hold": "1s"}],
                "checks": ["smoke"],
                "gates": [{"metric": "smoke.pass_ratio", "op": ">=", "threshold": 1}],
                "max_hold": "60s",
                "soak": "100ms",
                "rollback_window": "1h",
            }
            if after is None:
                environments[name]["vault"] = VAULT
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
        wheels.share(self.folder / "state")
        (self.folder / "rollout.yaml").write_text(json.dumps(config, indent=1))

    def close(self) -> None:
        """Forget the project; the hosts go with the lab."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def host(self, name: str) -> Host:
        return self.lab.host(name)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Begin a rollout command; :meth:`finish` waits for its end."""
        self._began = time.time()
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
        """What rollout prints for programs."""
        return looked(self.folder, *arguments)

    def build(self, version: str) -> None:
        """Build the services under another version."""
        source = source_of(version, self.folder / "source")
        assert self.run("build", "--source", str(source)) == 0, self.said

    def engine(self, environment: str) -> DockerEngine:
        return engine_of(self.folder / "rollout.yaml", environment)

    def target(self, host: str) -> Target:
        environment = host.rpartition("-")[0]
        return next(target for target in self.engine(environment).targets() if target.host == host)

    def generations(self, host: str) -> dict[str, dict[str, Any]]:
        status = self.engine(host.rpartition("-")[0]).status()[host]
        assert status is not None, f"{host} does not answer"
        return {entry["name"]: entry for entry in status["generations"]}

    def serving(self, environment: str) -> set[tuple[str, ...]]:
        """Which generations have all traffic, over the hosts: one entry where they agree."""
        return serving(self.engine(environment))

    def reached(self, environment: str, step: str, process: subprocess.Popen[str]) -> None:
        """Wait until the running rollout has begun a step."""

        with Ledger(load(self.folder / "rollout.yaml").ledger_url) as ledger:

            def there() -> bool:
                assert process.poll() is None, self.finish(process) or self.said
                last, *_ = ledger.rollouts(environment)
                # The last rollout may still be the one before, which came there, too.
                return any(
                    entry.step == step and entry.at >= self._began for entry in ledger.journal(last.id)
                )

            until(there, f"{step} of {environment}", timeout=900)
