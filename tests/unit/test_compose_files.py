"""The Compose files as the Compose program reads them: it needs no engine for that."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rollout.engine.docker import MONITOR, RUN

COMPOSE = Path(__file__).parents[2] / "compose"
PROGRAM = Path(sys.executable).with_name("docker-compose")


def read(*files: str) -> dict:
    """The services as they would be, all files together."""
    command = [str(PROGRAM), "--project-name", "terminals-read"]
    for file in files:
        command += ["--file", str(COMPOSE / file)]
    variables = {"TERMINALS_IMAGE": "terminals:1", "TERMINALS_TOKEN_FILE": "/dev/null"}
    done = subprocess.run(
        [*command, "config", "--format", "json"],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    "files",
    [
        ("terminals.yaml",),
        ("manager.yaml",),
        *((first, second) for first in ("terminals.yaml", "manager.yaml", "generation.yaml")
          for second in ("dev.yaml", "staging.yaml", "production.yaml")),
    ],
)  # fmt: skip
def test_files_fit_together(files):
    read(*files)


@pytest.mark.parametrize(
    "files", [("terminals.yaml",), ("manager.yaml",), ("manager.yaml", "production.yaml")]
)
def test_monitor_may_reach_the_terminals_and_write_its_volume_and_nothing_else(files):
    found = read(*files)
    monitor = found["services"]["monitor"]
    assert monitor["read_only"] is True
    assert monitor["cap_drop"] == ["ALL"]
    assert monitor["security_opt"] == ["no-new-privileges:true"]
    assert monitor["pids_limit"] and monitor["mem_limit"]
    assert "ports" not in monitor
    assert set(monitor["networks"]) == set(found["services"]["manager"]["networks"]) == {"default"}
    writable = [mount["target"] for mount in monitor["volumes"] if not mount.get("read_only")]
    assert writable == [MONITOR]
    assert "--alive" in monitor["healthcheck"]["test"]
    assert found["volumes"]["monitor"]["name"] == "terminals-read_monitor"


def test_production_gives_the_monitor_the_token_as_the_others():
    monitor = read("manager.yaml", "production.yaml")["services"]["monitor"]
    assert monitor["environment"]["TERMINALS_TOKEN_FILE"] == "/run/secrets/token"
    assert [secret["source"] for secret in monitor["secrets"]] == ["token"]


def test_its_configuration_is_one_that_it_understands():
    from terminals.monitor.config import MonitorConfig

    from rollout.config.model import USUAL_ALERTS

    config = MonitorConfig.load(COMPOSE / "monitor.json")
    manager = json.loads((COMPOSE / "manager.json").read_text())
    assert (str(config.directory), config.socket) == (MONITOR, f"{RUN}/manager.sock")
    assert {door.profile: door.url for door in config.doors} == {
        name: f"ws://manager:{manager['listeners'][name]['port']}/" for name in manager["profiles"]
    }
    assert [(rule.name, rule.metric, rule.op, rule.threshold, rule.hold) for rule in config.alerts] == [
        (rule.name, rule.metric, rule.op, rule.threshold, rule.hold) for rule in USUAL_ALERTS
    ]
