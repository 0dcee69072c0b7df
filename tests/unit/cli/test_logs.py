"""``rollout logs`` of what has said nothing."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import summaries


@pytest.fixture
def project() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="rollout-") as folder:
        config = summaries.project(Path(folder))
        log = config.environment("dev").hosts["local"].root / "log"
        log.mkdir(parents=True)
        (log / "worker-g1-1.log").write_text("serving\n")
        yield Path(folder)


def logs(project: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "rollout", "logs", "dev", *words]
    return subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=60)


def test_a_generation_that_said_nothing_is_named_with_the_way_out(project: Path) -> None:
    done = logs(project, "--generation", "g99")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == "local: g99 said nothing; what runs there: rollout status dev\n"


def test_one_that_spoke_is_shown_and_nothing_else_said(project: Path) -> None:
    done = logs(project, "--generation", "g1")
    assert "serving" in done.stdout and done.stderr == ""
