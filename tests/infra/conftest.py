"""The infra tests ask one host, over SSH, whether it is as declared; `rollout infra` runs them for each.

`--expected` names the JSON that rollout writes from configuration and ledger (rollout/checks/infra.py says
what is in it). Without it there is nothing to compare with, and nothing here is collected.
"""

from __future__ import annotations

import json
import re
import shlex
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

SETTLE_SECONDS = 120.0
"""A container that has just started is known to be healthy by then; one that was told to end has ended."""
PROJECT = "com.docker.compose.project"
SERVICE = "com.docker.compose.service"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--expected", help="What the host is to be like: JSON that rollout writes.")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    expected = config.getoption("expected", None)
    if not expected:
        return True
    alone = (
        collection_path.name == "test_swarm.py"
        and not json.loads(Path(expected).read_text())["swarm_network"]
    )
    return True if alone else None


@dataclass(frozen=True)
class Container:
    """What the host's engine says of a container. ``declared`` is what is expected of it, if anything is;
    ``well``: its health check was run here, before the engine has, and passed."""

    name: str
    facts: dict[str, Any]
    declared: dict[str, Any] | None
    well: bool = False

    @property
    def config(self) -> dict[str, Any]:
        return self.facts["Config"]

    @property
    def limits(self) -> dict[str, Any]:
        return self.facts["HostConfig"]

    @property
    def state(self) -> dict[str, Any]:
        return self.facts["State"]

    @property
    def runs(self) -> bool:
        """Whether it does anything: one that the engine is about to start again does not."""
        return bool(self.state["Status"] == "running")

    @property
    def health(self) -> str:
        """As the engine calls it."""
        return "healthy" if self.well else str(self.state.get("Health", {}).get("Status", "not checked"))

    @property
    def labels(self) -> dict[str, str]:
        return self.config["Labels"] or {}

    @property
    def is_holder(self) -> bool:
        """Whether the shells are in it."""
        return self.labels.get(SERVICE) == "holder"

    @property
    def is_manager(self) -> bool:
        return self.labels.get(SERVICE) == "manager"

    @property
    def is_monitor(self) -> bool:
        return self.labels.get(SERVICE) == "monitor"

    @property
    def is_web(self) -> bool:
        return self.labels.get(SERVICE) == "web"

    @property
    def of_a_swarm(self) -> bool:
        """Whether a Swarm runs it: it starts another one in its place, and knows no security options."""
        return "com.docker.swarm.service.id" in self.labels

    @property
    def known_as(self) -> str:
        """Its name; of what a Swarm runs that of the service, behind which the Swarm puts node and task."""
        return self.labels.get("com.docker.swarm.service.name", self.name)

    @property
    def networks(self) -> set[str]:
        return set(self.facts["NetworkSettings"]["Networks"] or ())

    @property
    def published(self) -> set[str]:
        """Its ports on the host, as ``address:port``."""
        ports = self.facts["NetworkSettings"]["Ports"] or {}
        return {f"{one['HostIp']}:{one['HostPort']}" for bound in ports.values() for one in bound or ()}


class Asking:
    """Asks the host; a command that fails fails the test, with what the host said."""

    def __init__(self, host: Any) -> None:
        self._host = host
        self._gone: str | None = None

    def __call__(self, *words: str) -> str:
        if self._gone:
            pytest.fail(self._gone, pytrace=False)  # once is enough to know
        try:
            answer = self._host.run(shlex.join(words))
        except RuntimeError as error:
            said = getattr(error.args[0], "stderr", error) if error.args else error
            self._gone = f"not reachable over SSH: {' '.join(str(said).split())[-300:]}"
            pytest.fail(self._gone, pytrace=False)
        if answer.rc:
            said = " ".join((answer.stderr or answer.stdout).split())[-300:]
            pytest.fail(f"{shlex.join(words[:3])}: {said or answer.rc}", pytrace=False)
        return answer.stdout.strip()

    def passes(self, *words: str) -> bool:
        """Whether a command ends with 0."""
        try:
            return bool(self._host.run(shlex.join(words)).rc == 0)
        except RuntimeError:
            return False  # the next one says so


@pytest.fixture(scope="session")
def expected(pytestconfig: pytest.Config) -> dict[str, Any]:
    return json.loads(Path(pytestconfig.getoption("expected")).read_text())


@pytest.fixture
def saw(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Leaves a line of what was seen in the report."""
    return lambda text: record_property("saw", text)


@pytest.fixture(scope="module")
def ask(host: Any) -> Asking:
    return Asking(host)


@pytest.fixture(scope="module")
def containers(ask: Asking, expected: dict[str, Any]) -> list[Container]:
    """See :func:`settled`."""
    return settled(ask, expected)


def settled(ask: Asking, expected: dict[str, Any]) -> list[Container]:
    """Every container that has to do with the environment, once none is only just starting or ending."""
    end = time.monotonic() + SETTLE_SECONDS
    while True:
        ids = ask("docker", "ps", "--all", "--quiet", "--no-trunc").split()
        found = json.loads(ask("docker", "inspect", "--type", "container", *ids)) if ids else []
        ours = [container for facts in found if (container := _ours(facts, expected)) is not None]
        ours = [one for one in ours if not (_ending(one, expected) and one.runs and _lingers(one, ask))]
        ours = [replace(one, well=_starting(one) and _passes_its_check(one, ask)) for one in ours]
        waiting = [one for one in ours if one.runs and (_starting(one) or _ending(one, expected))]
        if not waiting or time.monotonic() > end:
            return sorted(ours, key=lambda container: container.name)
        time.sleep(0.5)


@pytest.fixture(scope="module")
def running(containers: list[Container]) -> list[Container]:
    """The declared containers that run: what is asked of each of them, is asked of these."""
    found = [one for one in containers if one.declared is not None and one.runs]
    if not found:
        pytest.fail("no declared container runs here", pytrace=False)
    return found


def _starting(container: Container) -> bool:
    return container.runs and bool(container.declared) and container.health == "starting"


def _passes_its_check(container: Container, ask: Asking) -> bool:
    """Run its health check, as the engine does half a minute after its start."""
    kind, *words = container.config["Healthcheck"]["Test"]
    words = words if kind == "CMD" else ["sh", "-c", *words]
    return ask.passes("docker", "exec", container.name, *words)


def _ending(container: Container, expected: dict[str, Any]) -> bool:
    return not container.declared and any(fnmatchcase(container.name, name) for name in expected["ended"])


def _lingers(container: Container, ask: Asking) -> bool:
    """Whether it is one of a retired generation, which only waits to be taken away by the next start."""
    listing = ask("docker", "top", container.name, "-o", "pid,comm").splitlines()[1:]
    return {line.split()[-1] for line in listing} <= {"tini", "sleep"}


def _ours(facts: dict[str, Any], expected: dict[str, Any]) -> Container | None:
    """A container of the environment: by its project, by its name, or because it has the shells' volumes."""
    project = expected["project"]
    container = Container(facts["Name"].lstrip("/"), facts, None)
    patterns = expected["containers"].items()
    declared = (what for pattern, what in patterns if fnmatchcase(container.known_as, pattern))
    container = replace(container, declared=next(declared, None))
    own = re.compile(rf"{re.escape(project)}(-g\d+[a-z0-9]*)?")
    volumes = {mount.get("Name", "").rpartition("_")[0] for mount in facts["Mounts"]}
    name = re.match(rf"{re.escape(project)}-(holder|manager|monitor|g\d)", container.name)
    if container.declared or name or own.fullmatch(container.labels.get(PROJECT, "")) or project in volumes:
        return container
    return None
