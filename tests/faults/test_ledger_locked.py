"""Somebody else writes to the ledger while a rollout is on, and does not end: a backup, a database browser.

What a rollout cannot write down it does not go on with; and nobody is left with a build that nobody judges.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from rollout.errors import ExitCode
from tests.support.project import TwoStages

pytestmark = [pytest.mark.rollout, pytest.mark.slow("rollouts that wait for their ledger")]

KILLER = str(Path(__file__).with_name("killer.py"))


@pytest.fixture(scope="module")
def project():
    with TwoStages.deployed() as project:
        canary = [{"weight": 50, "hold": "8s"}, {"weight": 100, "hold": "1s"}]
        project.configure(canary=canary)
        yield project


def deploy(project: TwoStages, point: str) -> int:
    return project.run("deploy", "dev", program=(KILLER, point))


def whole(project: TwoStages) -> None:
    assert project.json("status", "dev")[0]["unfinished"] is None
    assert project.run("ledger", "verify") == 0, project.said


def test_not_for_as_long_as_the_lease_lasts_it_goes_on(project):
    assert deploy(project, "watch-50:begin=locked:1") == ExitCode.DONE, project.said
    newest = project.json("history", "dev")[0]
    assert newest["state"] == "promoted"
    assert project.weights("dev") == {newest["generation"]: 100}
    whole(project)


def test_for_good_everybody_is_led_back(project):
    before = project.weights("dev")
    somebody = project.resident("dev")
    assert deploy(project, "watch-50:begin=locked") == ExitCode.ROLLBACK_FAILED, project.said
    assert "the ledger cannot be written (" in project.said
    assert f"all traffic was led back to {next(iter(before))}" in project.said
    assert "go on with: rollout resume dev" in project.said
    assert project.weights("dev") == before
    assert project.json("status", "dev")[0]["unfinished"] is not None
    assert project.run("resume", "dev") == ExitCode.DONE, project.said
    whole(project)
    somebody.leave()


def test_before_anybody_was_led_nobody_is_touched(project):
    before = project.weights("dev")
    assert deploy(project, "start:begin=locked") == ExitCode.ROLLBACK_FAILED, project.said
    assert "nobody had been led to it" in project.said
    assert project.weights("dev") == before
    assert project.run("resume", "dev") == ExitCode.DONE, project.said
    whole(project)
