"""What the demo promises, said within a second and not after its third act."""

from __future__ import annotations

import ipaddress
import json
import re
from pathlib import Path

import pytest

from demo.__main__ import Outcome, Survived, verdict
from demo.stages import PROCESS_CONFIG, lab_config
from lab.model import Lab
from rollout.checks.load import LoadSummary
from rollout.config import Config, load

ROOT = Path(__file__).parents[3]
FIGURES = (
    "bytes_lost", "bytes_doubled", "commands_twice", "bytes_verified", "sessions_moved",
    "sessions_returned", "sessions_severed", "time_to_promote_s", "verdict_to_turned_s",
    "verdict_to_rolled_back_s",
)  # fmt: skip


@pytest.fixture(params=["process", "docker", "swarm"])
def config(request: pytest.FixtureRequest, tmp_path: Path) -> Config:
    """What the demo is played by."""
    if request.param == "process":
        return load(PROCESS_CONFIG)
    (tmp_path / "ssh_config").touch()
    counts = (("dev", 1), ("staging", 2), ("production", 3))
    path = tmp_path / "rollout.yaml"
    path.write_text(
        json.dumps(
            lab_config(Lab("demo", tmp_path, ipaddress.IPv4Network("10.0.0.0/24"), counts), request.param)
        )
    )
    return load(path)


def test_no_build_goes_on_but_by_what_a_monitor_saw_of_it(config):
    left = {environment.after for environment in config.environments.values() if environment.after}
    assert left
    for name in left:
        environment = config.environment(name)
        assert environment.monitor is not None
        assert environment.soak >= 4 * environment.monitor.every
        assert "monitor.success_rate" in {gate.metric for gate in environment.soak_gates}


def test_the_readme_shows_the_rows_that_the_demo_prints():
    shown = re.search(r"(?ms)^```\n(✓.*?)^```", (ROOT / "README.md").read_text())
    assert shown is not None
    # How many shells there are to be killed under is each run's own affair.
    labels = [re.sub(r"\d+ live", "8 live", re.split(r"\s{2,}", line)[1]) for line in shown[1].splitlines()]
    record = {"state": "", "figures": dict.fromkeys(FIGURES, 0)}
    people = Survived(8, 0)
    outcome = Outcome(record, record, "dev", [], LoadSummary(), people, people, 0.0, [], [], 0, 0)
    assert labels == [name for name, _, _ in verdict(outcome, 8)]
