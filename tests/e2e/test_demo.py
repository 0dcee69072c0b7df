"""The first of the README's two commands, on this machine."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.support.lab import require_lab

ROOT = Path(__file__).parents[2]
ENGINES = ("docker", "swarm")


def play(*words: str) -> tuple[dict[str, str], str]:
    """The table at the end, and everything that was printed."""
    done = subprocess.run(["make", "demo", *words], cwd=ROOT, capture_output=True, text=True, timeout=3500)
    print(done.stdout, done.stderr)
    assert done.returncode == 0
    return dict(re.findall(r"(?m)^[✓✗]  (\S.*?)\s{2,}(\S.*?)\s*$", done.stdout)), done.stdout


@pytest.mark.rollout
@pytest.mark.slow("the whole demo: three builds, under people and load")
def test_make_demo_shows_what_it_promises():
    table, said = play()
    assert table["soak gates of dev that the good build passed"] == "5 of 5"
    assert table["bytes lost"] == table["bytes doubled"] == table["commands run twice"] == "0"
    assert table["reconnection loops, good build"] == "0"
    assert int(table["reconnection loops, bad build"]) > 0
    assert int(table["sessions carried across the promotion"]) > 8
    assert int(table["sessions carried across the rollback"]) > 0
    assert table["session manager replaced under 8 live shells"] == "0 ended, 0 bytes lost, 0 doubled"
    assert table["session manager killed (SIGKILL) under 8 live shells"] == "0 ended"
    assert table["residents' shells still there at the end"] == "8 of 8"
    for whom in ("all new connections", "the last session"):
        assert float(table[f"failed gate to {whom} on the old build"].split()[0]) > 0
    assert "no-go: rolled back" in said


# Builds are judged by how quickly they answer, which says nothing beside everything else on the same cores.
@pytest.mark.alone
@pytest.mark.docker("demo")
@pytest.mark.slow("the whole demo on six hosts, each with an engine of its own")
@pytest.mark.timeout(3600)
def test_make_demo_on_six_hosts(pytestconfig):
    """With one of two engines, by the run's seed, or ENGINE's: both would take a quarter of an hour. What is
    peculiar to a Swarm is in tests/integration/test_swarm.py, in each run."""
    require_lab()
    engine = os.environ.get("ENGINE") or ENGINES[pytestconfig.getoption("randomly_seed") % 2]
    assert engine in ENGINES
    table, said = play(f"ENGINE={engine}")
    assert table["soak gates of staging that the good build passed"] == "5 of 5"
    assert table["bytes lost"] == table["bytes doubled"] == table["commands run twice"] == "0"
    assert table["sessions severed"] == table["reconnection loops, good build"] == "0"
    assert int(table["reconnection loops, bad build"]) > 0
    assert int(table["sessions carried across the promotion"]) > 9
    assert int(table["sessions carried across the rollback"]) > 0
    assert table["session manager replaced under 9 live shells"] == "0 ended, 0 bytes lost, 0 doubled"
    assert table["session manager killed (SIGKILL) under 9 live shells"] == "0 ended"
    assert table["residents' shells still there at the end"] == "9 of 9"
    assert table["hosts that the bad build was kept from"] == "4 of 4"
    assert "no-go: rolled back" in said
