"""Old builds leave the hosts, and come back when somebody wants to go that far back."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from rollout.config import load
from rollout.engine.process import ProcessEngine
from tests.support.project import TwoStages, source_of
from tests.support.stack import until

pytestmark = [pytest.mark.rollout, pytest.mark.slow("three builds, deployed and gone back to")]

STRAY = "0.0.1-aaaaaaaaaaaa"


@pytest.fixture
def project() -> Iterator[TwoStages]:
    with tempfile.TemporaryDirectory(prefix="rollout-") as folder:
        project = TwoStages(Path(folder))
        project.configure(keep=2, rollback_window="1s", canary=[{"weight": 100, "hold": "1s"}])
        try:
            yield project
        finally:
            project.close()


def installed(project: TwoStages) -> set[str]:
    """Versions of the builds that are on dev's host."""
    return {path.name.rpartition("-")[0] for path in (project.folder / "dev" / "builds").iterdir()}


def deploy(project: TwoStages, version: str) -> None:
    source = source_of(version, project.folder / "source")
    # Another session manager, holder and monitor, too: what still runs from an old build would keep it.
    with (source / "terminals" / "__init__.py").open("a") as file:
        file.write(f"# {version}\n")
    assert project.run("build", "--source", str(source)) == 0, project.said
    assert project.run("deploy", "dev") == 0, project.said


def serves(project: TwoStages, version: str) -> None:
    """All traffic is on that version, and somebody can work there."""
    current = project.json("status", "dev")[0]["current"]
    assert current["build"].startswith(f"{version}-")
    assert project.weights("dev") == {current["generation"]: 100}
    project.resident("dev").leave()


def test_the_last_builds_stay_and_one_that_went_comes_back(project):
    deploy(project, "0.1.0")
    # What a rollout has left that came to nothing.
    stray = project.folder / "dev" / "builds" / STRAY / "venv" / ".complete"
    stray.parent.mkdir(parents=True)
    stray.touch()
    deploy(project, "0.2.0")
    assert "removed 1 old build" in project.said
    assert installed(project) == {"0.1.0", "0.2.0"}
    deploy(project, "0.3.0")
    assert "removed 1 old build" in project.said
    assert installed(project) == {"0.2.0", "0.3.0"}
    serves(project, "0.3.0")
    until(lambda: not project.generations("dev")["g2"]["workers"], "the end of the rollback window")
    # From what the host has: the control machine lost it, or is another one by now.
    lost = next((project.folder / "state" / "builds").glob("0.2.0-*"))
    lost.rename(project.folder / "lost")
    assert project.run("rollback", "dev") == 0, project.said
    assert "] install" not in project.said
    serves(project, "0.2.0")
    assert project.run("rollback", "dev") == 0, project.said
    assert "] install" in project.said
    serves(project, "0.1.0")
    # What runs stays, whatever is said.
    config = load(project.folder / "rollout.yaml")
    until(lambda: not project.generations("dev")["g2r3"]["workers"], "the end of the one that was left")
    ProcessEngine(config, config.environment("dev")).tidy(keep=())
    assert installed(project) == {"0.1.0"}
    serves(project, "0.1.0")
