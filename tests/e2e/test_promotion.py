"""The main job, as short as it gets: a good build goes to staging, and a bad one is taken back from there."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from rollout.errors import ExitCode
from tests.support.project import ROOT, TwoStages, source_of

pytestmark = [pytest.mark.rollout, pytest.mark.in_order]

BAD = ROOT / "demo" / "reconnection-loop.patch"
"""The bug that this project began with: sessions that an earlier build made are dropped as they attach."""


@pytest.fixture(scope="module")
def project() -> Iterator[TwoStages]:
    """A build serves dev."""
    folder = tempfile.mkdtemp(prefix="rollout-")
    project = TwoStages(Path(folder))
    project.configure(canary=[{"weight": 100, "hold": "1s"}])
    try:
        assert project.run("build") == 0, project.said
        assert project.run("deploy", "dev") == 0, project.said
        yield project
    finally:
        project.close()
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def promoted(project: TwoStages) -> TwoStages:
    """It serves staging, too."""
    assert project.run("promote", "staging", "--wait") == 0, project.said
    return project


@pytest.fixture(scope="module")
def bad_in_dev(promoted: TwoStages) -> TwoStages:
    """A bad one serves dev, which cannot see it: its checks use fresh sessions."""
    source = source_of("0.2.0", promoted.folder / "source", BAD)
    assert promoted.run("build", "--source", str(source)) == 0, promoted.said
    assert promoted.run("deploy", "dev") == 0, promoted.said
    return promoted


def test_a_build_is_deployed_to_dev(project):
    first = project.json("history", "dev")[-1]
    assert (first["state"], first["kind"]) == ("promoted", "deploy")
    assert project.run("smoke", "dev") == 0, project.said


def test_it_is_promoted_to_staging_on_evidence(promoted):
    good = promoted.json("history", "staging")[-1]
    assert good["state"] == "promoted"
    assert good["figures"]["bytes_lost"] == good["figures"]["commands_twice"] == 0
    assert promoted.weights("staging") == {good["generation"]: 100}


def test_a_bad_build_is_taken_back_from_under_people_who_notice_nothing(bad_in_dev):
    project = bad_in_dev
    good = project.json("history", "staging")[0]
    manager = project.manager("staging")["manager"]
    somebody = project.resident("staging")
    assert project.run("promote", "staging", "--wait") == ExitCode.GATE_FAILED, project.said
    somebody.leave()
    bad = project.json("history", "staging")[0]
    assert bad["state"] == "rolled-back"
    assert bad["build"] != good["build"]
    assert bad["figures"]["load_loops"] > 0
    assert bad["figures"]["bytes_lost"] == bad["figures"]["sessions_severed"] == 0
    assert project.weights("staging") == {good["generation"]: 100}
    assert project.manager("staging")["manager"] == manager
    assert project.json("report", "staging")["decision"] == "no-go: rolled back"
