"""What ``rollout init`` writes works where it stands."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from rollout.config import Config, load
from rollout.config.starting import starting, text

ROOT = Path(__file__).parents[3]


def written(folder: Path, *, quick: bool = False) -> tuple[Config, list[str]]:
    made, said = starting(folder, quick=quick)
    path = folder / "rollout.yaml"
    path.write_text(made)
    return load(path), said


def ports(config: Config) -> list[int]:
    listens = [environment.listen for environment in config.environments.values()]
    return [port for listen in listens for port in (listen.system, listen.claude, listen.web)]


@contextlib.contextmanager
def listening(port: int) -> Iterator[None]:
    with socket.create_server(("127.0.0.1", port)):
        yield


def test_the_file_of_the_source_tree_is_the_one_it_writes() -> None:
    assert text() == (ROOT / "rollout.yaml").read_text()


@pytest.mark.parametrize("quick", [False, True])
def test_it_is_accepted_in_any_folder(short_path: Path, quick: bool) -> None:
    config, _ = written(short_path, quick=quick)
    assert config.source == "installed"
    assert {name: env.after for name, env in config.environments.items()} == {
        "dev": None,
        "staging": "dev",
        "production": "staging",
    }


def test_beside_the_services_it_builds_those(short_path: Path) -> None:
    services = short_path / "services"
    services.mkdir()
    (services / "pyproject.toml").touch()
    assert written(short_path)[0].source == services


def test_a_port_that_is_taken_is_not_written(short_path: Path) -> None:
    first = ports(written(short_path)[0])
    with listening(first[4]):  # staging's second
        config, said = written(short_path)
    there = ports(config)
    assert there[:3] == first[:3]
    assert not set(there) & set(first[3:6])
    assert any(line.startswith(f"staging listens on {there[3]}") for line in said)


def test_a_folder_too_deep_for_sockets_has_its_environments_elsewhere(short_path: Path) -> None:
    deep = short_path / ("deep" * 20)
    deep.mkdir()
    config, said = written(deep)
    roots = [host.root for env in config.environments.values() for host in env.hosts.values()]
    assert not any(root.is_relative_to(deep) for root in roots)
    assert len(set(roots)) == 3
    assert any("too long" in line for line in said)


def test_quick_is_over_in_minutes_and_says_what_was_made_easier(short_path: Path) -> None:
    config, _ = written(short_path, quick=True)
    for env in config.environments.values():
        assert env.soak <= 300
        assert sum(max(step.hold, env.max_hold) for step in env.canary) <= 600
        assert all((gate.window or 0) <= env.soak for gate in env.soak_gates)
        assert env.monitor is not None and env.monitor.every < env.soak / 10
    lines = (short_path / "rollout.yaml").read_text().splitlines()
    assert sum("quick" in line for line in lines) > 8
    assert max(map(len, lines)) <= 110
