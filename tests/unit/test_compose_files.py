"""The Compose files as the Compose program reads them: it needs no engine for that."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rollout.config import Environment
from rollout.config.model import Limits, Logs
from rollout.direct.compose import compose_variables, start_words
from rollout.engine.docker import MONITOR, RUN

COMPOSE = Path(__file__).parents[2] / "compose"
PROGRAM = Path(sys.executable).with_name("docker-compose")
MANAGED = ["compose.yaml", "manager.yaml"]


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


def read(*files: str, **variables: str) -> dict:
    """The services as they would be, all files together, with these settings and no others."""
    words = ["--project-name", "terminals-read", *(word for file in files for word in ("--file", file))]
    done = compose(*words, **variables)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("file", ["compose.yaml", "manager.yaml", "generation.yaml"])
def test_each_file_is_one_that_the_program_takes(file):
    read(file)


def test_where_hosts_know_of_each_other_the_manager_has_a_network_and_one_port_there():
    alone = read("manager.yaml")["services"]
    known = read("manager.yaml", "peers.yaml", TERMINALS_PEERS_PORT="4140")["services"]
    manager, before = known.pop("manager"), alone.pop("manager")
    assert known == alone
    (port,) = manager.pop("ports")
    assert (port["target"], port["published"], port.get("host_ip")) == (4140, "4140", "0.0.0.0")
    assert (manager.pop("network_mode"), before.pop("network_mode")) == ("bridge", "none")
    assert manager == before


def test_without_a_word_it_is_what_was_built_here_and_nothing_is_fetched():
    done = compose()
    assert done.returncode == 0, done.stderr
    services = json.loads(done.stdout)["services"]
    assert set(services) == {"holder", "manager", "worker", "web", "monitor"}
    assert {(one["image"], one["pull_policy"]) for one in services.values()} == {
        ("terminals:latest", "never")
    }


@pytest.mark.parametrize("file", MANAGED)
def test_monitor_may_reach_the_terminals_and_write_its_volume_and_nothing_else(file):
    found = read(file)
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


@pytest.mark.parametrize("file", MANAGED)
def test_ports_network_and_homes_are_the_holder_s_and_the_manager_may_come_and_go(file):
    services = read(file)["services"]
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


@pytest.fixture
def environment():
    """An environment whose limits and logs are all others than the Compose files' own."""
    return Environment(
        engine="docker",
        hosts={"one": {"root": "/srv/t"}},
        listen={"system": 4001, "claude": 4002, "web": 4110},
        gates=[{"metric": "smoke.pass_ratio", "op": ">", "threshold": 0.9}],
        limits={"manager_memory": "2GiB", "process_memory": "128MiB", "process_cpus": 1.5},
        logs={"format": "json", "size": "50MB"},
    )


def test_only_the_web_process_has_a_network_and_only_where_it_asks_a_provider(environment):
    oidc = {
        "issuer": "https://id.example.com",
        "client_id": "terminals",
        "public_urls": ["https://tools.example.com/"],
        "default_role": "user",
    }
    asking = Environment.model_validate({**environment.model_dump(exclude_unset=True), "oidc": oidc})
    for declared, network in ((environment, "none"), (asking, "bridge")):
        services = read("generation.yaml", **compose_variables(declared))["services"]
        assert services["web"]["network_mode"] == network
        assert services["worker"]["network_mode"] == "none"
        assert "ports" not in services["web"]
        assert f"TERMINALS_WEB_NETWORK={network}" in start_words("p", "g1", "image", "build", declared)
    assert read("generation.yaml")["services"]["web"]["network_mode"] == "none"


def test_limits_and_logs_of_an_environment_are_those_of_its_containers(environment):
    variables = compose_variables(environment)
    manager = read("manager.yaml", **variables)["services"]
    generation = read("generation.yaml", **variables)["services"]
    services = {**manager, **generation}
    # Everybody's shells count where they are.
    assert int(services["holder"]["mem_limit"]) == 2 << 30
    assert "mem_limit" not in services["manager"]
    for name in ("worker", "web"):
        assert (int(services[name]["mem_limit"]), services[name]["cpus"]) == (128 << 20, 1.5)
    for name, service in services.items():
        assert service["logging"]["options"]["max-size"] == "50000000", name
        # In the holder it would be in everybody's shells.
        form = "json" if name != "holder" else None
        assert service.get("environment", {}).get("TERMINALS_LOG_FORMAT") == form, name


def test_without_a_word_an_environment_is_as_the_files_are_by_themselves(environment):
    plain = compose_variables(environment.model_copy(update={"limits": Limits(), "logs": Logs()}))
    for file in ("manager.yaml", "generation.yaml"):
        declared, by_itself = read(file, **plain)["services"], read(file)["services"]
        for service in declared.values():
            assert service["logging"]["options"].pop("max-size") == "10000000"
        for service in by_itself.values():
            assert service["logging"]["options"].pop("max-size") == "10m"
        assert declared == by_itself


def test_a_generation_that_is_started_without_ansible_has_the_limits_of_its_environment(environment):
    words = start_words("t-staging", "g7r1", "terminals:1", "1", environment)
    variables = {word.partition("=")[0]: word.partition("=")[2] for word in words if "=" in word}
    assert compose_variables(environment).items() <= variables.items()
    assert read("generation.yaml", **variables)["services"]["worker"]["command"][-3:] == [
        "g7r1",
        "--build",
        "1",
    ]


def test_manager_of_another_build_leaves_the_holder_as_it_is():
    def hashes(**variables: str) -> dict:
        done = compose("--file", "manager.yaml", TERMINALS_IMAGE="terminals:1", **variables)
        return json.loads(done.stdout)["services"]

    before = hashes(TERMINALS_BUILD="1")
    after = hashes(TERMINALS_BUILD="1", TERMINALS_MANAGER_BUILD="2", TERMINALS_MANAGER_IMAGE="terminals:2")
    assert after["holder"] == before["holder"]
    assert after["manager"]["image"] == "terminals:2"
    assert after["manager"]["command"][-2:] == ["--build", "2"]


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
