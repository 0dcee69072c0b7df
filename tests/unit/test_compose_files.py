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


def compose(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """What ``docker-compose ... config`` says in the folder, with these settings and no others."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("TERMINALS_")}
    return subprocess.run(
        [str(PROGRAM), *words, "config", "--format", "json"],
        cwd=COMPOSE,
        env=inherited | variables,
        capture_output=True,
        text=True,
        check=False,
    )


def read(*files: str) -> dict:
    """The services as they would be, all files together."""
    words = ["--project-name", "terminals-read", *(word for file in files for word in ("--file", file))]
    done = compose(*words, TERMINALS_IMAGE="terminals:1", TERMINALS_TOKEN_FILE="/dev/null")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    "files",
    [
        ("compose.yaml",),
        ("manager.yaml",),
        *((first, second) for first in ("compose.yaml", "manager.yaml", "generation.yaml")
          for second in ("dev.yaml", "staging.yaml", "production.yaml")),
    ],
)  # fmt: skip
def test_files_fit_together(files):
    read(*files)


def test_without_a_word_it_is_what_was_built_here_and_nothing_is_fetched():
    done = compose()
    assert done.returncode == 0, done.stderr
    services = json.loads(done.stdout)["services"]
    assert set(services) == {"holder", "manager", "worker", "web", "monitor"}
    assert {(one["image"], one["pull_policy"]) for one in services.values()} == {
        ("terminals:latest", "never")
    }


@pytest.mark.parametrize("overlay", ["staging.yaml", "production.yaml"])
def test_staging_and_production_do_not_start_whatever_was_built_last(overlay):
    done = compose("--file", "compose.yaml", "--file", overlay, TERMINALS_TOKEN_FILE="/dev/null")
    assert done.returncode != 0
    assert "TERMINALS_IMAGE" in done.stderr


@pytest.mark.parametrize("files", [("compose.yaml",), ("manager.yaml",), ("manager.yaml", "production.yaml")])
def test_monitor_may_reach_the_terminals_and_write_its_volume_and_nothing_else(files):
    found = read(*files)
    monitor = found["services"]["monitor"]
    assert monitor["read_only"] is True
    assert monitor["cap_drop"] == ["ALL"]
    assert monitor["security_opt"] == ["no-new-privileges:true"]
    assert monitor["pids_limit"] and monitor["mem_limit"]
    assert "ports" not in monitor
    assert set(monitor["networks"]) == set(found["services"]["holder"]["networks"]) == {"default"}
    writable = [mount["target"] for mount in monitor["volumes"] if not mount.get("read_only")]
    assert writable == [MONITOR]
    assert "--alive" in monitor["healthcheck"]["test"]
    assert found["volumes"]["monitor"]["name"] == "terminals-read_monitor"


MANAGED = [("compose.yaml",), ("manager.yaml",), ("manager.yaml", "production.yaml")]


@pytest.mark.parametrize("files", MANAGED)
def test_ports_network_and_homes_are_the_holder_s_and_the_manager_may_come_and_go(files):
    services = read(*files)["services"]
    holder, manager = services["holder"], services["manager"]
    assert manager["network_mode"] == "none"
    assert "ports" not in manager
    assert {port["target"] for port in holder["ports"]} == {4001, 4002, 4110}
    places = {
        name: {mount["target"] for mount in services[name]["volumes"]} for name in ("holder", "manager")
    }
    assert places == {
        "holder": {"/run/terminals", "/home/terminals"},
        "manager": {"/run/terminals", "/var/lib/terminals", "/etc/terminals/manager.json"},
    }
    # Everybody's programs: none of the manager's settings, and no token.
    assert not [name for name in holder.get("environment", {}) if name.startswith("TERMINALS_")]
    assert "secrets" not in holder
    # One that joins a name space of the holder's is not started by the engine while the holder is down.
    assert not {"pid", "ipc"} & set(manager)
    assert manager["restart"] == holder["restart"] == "unless-stopped"
    for one in (holder, manager):
        assert (one["read_only"], one["cap_drop"]) == (True, ["ALL"])
        assert one["security_opt"] == ["no-new-privileges:true"]
        assert one["pids_limit"]


@pytest.mark.parametrize("overlay", ["staging.yaml", "production.yaml"])
def test_memory_of_shells_is_limited_where_they_are(overlay):
    services = read("manager.yaml", overlay)["services"]
    assert int(services["holder"]["mem_limit"]) >= 2 << 30
    assert "mem_limit" not in services["manager"]


def test_manager_of_another_build_leaves_the_holder_as_it_is():
    def hashes(**variables: str) -> dict:
        done = compose("--file", "manager.yaml", TERMINALS_IMAGE="terminals:1", **variables)
        return json.loads(done.stdout)["services"]

    before = hashes(TERMINALS_BUILD="1")
    after = hashes(TERMINALS_BUILD="1", TERMINALS_MANAGER_BUILD="2", TERMINALS_MANAGER_IMAGE="terminals:2")
    assert after["holder"] == before["holder"]
    assert after["manager"]["image"] == "terminals:2"
    assert after["manager"]["command"][-2:] == ["--build", "2"]


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
        name: f"ws://holder:{manager['listeners'][name]['port']}/" for name in manager["profiles"]
    }
    assert [(rule.name, rule.metric, rule.op, rule.threshold, rule.hold) for rule in config.alerts] == [
        (rule.name, rule.metric, rule.op, rule.threshold, rule.hold) for rule in USUAL_ALERTS
    ]
