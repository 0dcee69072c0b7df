"""What the infra tests wait for on a host."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

PATH = Path(__file__).parents[2] / "infra" / "conftest.py"
EXPECTED = {"project": "p-dev", "containers": {"p-dev-manager-1": {"runs": True}}, "ended": []}


@pytest.fixture(scope="module")
def infra() -> Any:
    spec = importlib.util.spec_from_file_location("tests_of_hosts", PATH)
    assert spec is not None and spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)  # data classes look it up there
    spec.loader.exec_module(module)
    return module


class Host:
    """Its engine says that a container is only starting, until it has been asked so often."""

    def __init__(self, test: list[str], *, passes: bool, starts: int = 10_000) -> None:
        self.test, self.passes, self.starts = test, passes, starts
        self.checked: list[str] = []

    def run(self, command: str) -> Any:
        if command.startswith("docker exec"):
            self.checked.append(command)
            return SimpleNamespace(rc=0 if self.passes else 1, stdout="", stderr="")
        if command.startswith("docker ps"):
            return SimpleNamespace(rc=0, stdout="abc", stderr="")
        self.starts -= 1
        health = {"Status": "starting" if self.starts > 0 else "unhealthy"}
        facts = {
            "Name": "/p-dev-manager-1",
            "Mounts": [],
            "Config": {"Labels": {}, "Healthcheck": {"Test": self.test}},
            "State": {"Status": "running", "Health": health},
        }
        return SimpleNamespace(rc=0, stdout=json.dumps([facts]), stderr="")


@pytest.mark.parametrize(
    ("test", "asked"),
    [
        (["CMD", "test", "-S", "a b"], "docker exec p-dev-manager-1 test -S 'a b'"),
        (["CMD-SHELL", "exec x /y*"], "docker exec p-dev-manager-1 sh -c 'exec x /y*'"),
    ],
)
def test_who_has_just_started_is_asked_itself_before_the_engine_does(infra, test, asked):
    host = Host(test, passes=True)
    (found,) = infra.settled(infra.Asking(host), EXPECTED)
    assert found.health == "healthy"
    assert host.checked == [asked]


def test_who_does_not_pass_is_waited_for_and_then_what_the_engine_says(infra):
    host = Host(["CMD", "false"], passes=False, starts=3)
    (found,) = infra.settled(infra.Asking(host), EXPECTED)
    assert found.health == "unhealthy"
    assert len(host.checked) == 2
