"""Where the demonstration is played: on this machine, or on a lab of hosts with engines of their own."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from lab.model import Lab
from rollout.config import load as load_config

HERE = Path(__file__).resolve().parent
PROCESS_CONFIG = HERE / "rollout.yaml"
SUBNETS = {"docker": "10.217.0.0/24", "swarm": "10.218.0.0/24"}
BASE = "terminals-base:bookworm"
COUNTS = {"dev": 1, "staging": 2, "production": 3}


@dataclass(frozen=True)
class Stage:
    """``chain`` are the environments after dev, in the order of promotion; residents live in the last."""

    config: Path
    state: Path
    chain: tuple[str, ...]
    residents: int

    @property
    def rollout(self) -> list[str]:
        """The rollout command with this stage's configuration."""
        return [sys.executable, "-m", "rollout", "--config", str(self.config)]

    def prepare(self) -> None:
        """Make what the configuration speaks of."""

    @property
    def verified(self) -> tuple[str, ...]:
        """Environments whose hosts can be compared with what was declared."""
        return ()

    def clean(self) -> None:
        """Take down what an earlier demo may have left."""
        for environment in load_config(self.config).environments.values():
            if any(host.root.exists() for host in environment.hosts.values()):
                subprocess.run([*self.rollout, "teardown", environment.name, "--yes"], check=False)
        shutil.rmtree(self.state, ignore_errors=True)


@dataclass(frozen=True)
class LabStage(Stage):
    """Six hosts, reached over SSH. ``engine``: what runs the services there."""

    engine: str = "docker"

    @property
    def lab(self) -> Path:
        """The lab's folder."""
        return self.state / "lab"

    def prepare(self) -> None:
        """Bring the hosts up and set them up, make the base image, and write the configuration."""
        self.state.mkdir(exist_ok=True)
        counts = [word for name, count in COUNTS.items() for word in (f"--{name}", str(count))]
        where = ["--name", f"rollout-demo-{self.engine}", "--subnet", SUBNETS[self.engine]]
        where += ["--state", str(self.lab)]
        _run("-m", "lab", "up", *where, *counts)
        _run(str(HERE.parent / "scripts" / "base_image.py"))
        self.config.write_text(json.dumps(lab_config(Lab.load(self.lab), self.engine), indent=2) + "\n")
        for environment in COUNTS:
            subprocess.run([*self.rollout, "provision", environment], check=True)

    @property
    def verified(self) -> tuple[str, ...]:
        """All of them."""
        return tuple(COUNTS)

    def clean(self) -> None:
        """Take the hosts away, with all that is on them."""
        if (self.lab / "lab.json").exists():
            _run("-m", "lab", "down", "--state", str(self.lab))
        shutil.rmtree(self.state, ignore_errors=True)


def stage(engine: str) -> Stage:
    """The stage for an engine, ``process``, ``docker`` or ``swarm``."""
    if engine != "process":
        state = HERE / f".rollout-{engine}"
        return LabStage(state / "rollout.yaml", state, ("staging", "production"), 9, engine)
    return Stage(PROCESS_CONFIG, HERE / ".rollout", ("staging",), residents=8)


def lab_config(lab: Lab, engine: str = "docker") -> dict[str, Any]:
    """The configuration for the hosts of a lab: the same gates, and one environment more."""
    config: dict[str, Any] = YAML(typ="safe").load(PROCESS_CONFIG)
    plain = config["environments"]
    staging = plain["staging"]
    environments = {"dev": plain["dev"], "staging": staging, "production": {**staging, "after": "staging"}}
    for name, environment in environments.items():
        mine = [host for host in lab.hosts if host.environment == name]
        environments[name] = {
            **environment,
            "engine": engine,
            "ssh_config": str(lab.ssh_config),
            "hosts": {
                host.name: {"root": f"/srv/terminals/{name}", "address": host.address} for host in mine
            },
            "listen": {"host": "0.0.0.0", "system": 4001, "claude": 4002, "web": 4110},  # noqa: S104 - of the lab
            "batches": [1, "100%"],
            # On hosts, what runs there is looked at, too.
            "checks": [*environment["checks"], "infra"],
            "gates": [*environment["gates"], {"metric": "infra.pass_ratio", "op": ">=", "threshold": 1}],
        }
    return {
        **config,
        "source": str(HERE.parent / "services"),
        "state": "state",
        "image": {"base": BASE},
        "environments": {name: entry for name, entry in environments.items() if entry["hosts"]},
    }


def _run(*arguments: str) -> None:
    subprocess.run([sys.executable, *arguments], check=True, cwd=HERE.parent)
