"""The workflow runs what the README says, and nothing else; it cannot be run here, so it is read."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]
WORKFLOW = YAML(typ="safe").load((ROOT / ".github/workflows/test.yml").read_text())
JOBS: dict[str, Any] = WORKFLOW["jobs"]


def readme_commands() -> list[str]:
    """The lines of the shell blocks under `## Two commands`."""
    section = re.search(
        r"^## Two commands\n(.*?)^## ", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE
    )
    assert section
    return "".join(re.findall(r"^```sh\n(.*?)^```", section[1], re.DOTALL | re.MULTILINE)).splitlines()


def commands(job: dict[str, Any]) -> list[str]:
    """What runs when the machine is ready: the last step, once for each entry of the matrix."""
    last = job["steps"][-1]["run"]
    if last != "${{ matrix.command }}":
        return [last]
    return list(job["strategy"]["matrix"]["command"])


def on(event: str) -> list[str]:
    """The commands that run at an event."""
    assert event in WORKFLOW["on"]
    asked = {name: re.findall(r"github\.event_name == '(\w+)'", job["if"]) for name, job in JOBS.items()}
    return [command for name, job in JOBS.items() if event in asked[name] for command in commands(job)]


def test_the_readme_names_two_commands():
    assert len(readme_commands()) == 2


@pytest.mark.parametrize("event", ["push", "pull_request"])
def test_what_the_readme_says_runs_with_each_change(event):
    assert on(event) == readme_commands()


@pytest.mark.parametrize("event", ["schedule", "workflow_dispatch"])
def test_everything_runs_each_week_and_when_asked_for(event):
    assert on(event) == ["make test-all"]


@pytest.mark.parametrize("job", JOBS.values(), ids=JOBS)
def test_nothing_but_the_machine_is_set_up_before(job):
    ready = [step["run"].split()[:2] for step in job["steps"][:-1] if "run" in step]
    assert ready == [["apt-get", "update"], ["git", "config"]]
    assert job["container"] == JOBS["readme"]["container"]
    assert job["steps"][:-1] == JOBS["readme"]["steps"][:-1]


@pytest.mark.parametrize("job", JOBS.values(), ids=JOBS)
def test_the_whole_history_is_there_and_actions_are_pinned(job):
    (checkout,) = (step for step in job["steps"] if "uses" in step)
    assert re.fullmatch(r"actions/checkout@[0-9a-f]{40}", checkout["uses"])
    assert checkout["with"] == {"fetch-depth": 0, "persist-credentials": False}


def test_a_run_may_only_read_ends_at_last_and_gives_way_to_the_next():
    assert WORKFLOW["permissions"] == {"contents": "read"}
    assert not any("permissions" in job for job in JOBS.values())
    assert all(0 < job["timeout-minutes"] <= 360 for job in JOBS.values())
    assert "${{ github.ref }}" in WORKFLOW["concurrency"]["group"]
