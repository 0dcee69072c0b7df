"""The progress of a rollout on a screen, and in a file."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.support.window import Window

SCRIPT = """
import sys, time
from rollout.cli.progress import Progress
from rollout.model import EngineEvent
from rollout.observer import Ahead
with Progress() as progress:
    progress.step_started(1, 4, "start", "start g2", Ahead(40.0, 80.0, True))
    sys.stdin.readline()
    progress.step_finished(1, "start", "done", 12.3, "all well")
    progress.step_started(2, 4, "watch-100", "watch for 30 s", Ahead(None, 90.0, False))
    sys.stdin.readline()
    progress.step_finished(2, "watch-100", "failed", 3.0, "load.loops == 0: 3 in 9 observations")
    for status in ("ok", "changed", "noted", "skipped"):
        progress.engine_event(EngineEvent("eu-1", f"docker.io: {status}", status, "", 0.0))
    progress.step_started(0, 2, "rollback-shift", "all traffic back", Ahead(None, 20.0, False))
    progress.step_finished(0, "rollback-shift", "done", 0.1, "")
"""


def taken(window: Window) -> int:
    """Seconds of the step, as they stand on the screen."""
    form = re.compile(r"\[2/4\] (\d+) s of about 40 s, about [^:]* left: start g2")
    found = form.search(window.until(form.search))
    assert found is not None
    return int(found[1])


def test_a_step_says_what_it_has_taken_and_what_is_left(tmp_path: Path) -> None:
    window = Window([sys.executable, "-c", SCRIPT], tmp_path, columns=80)
    try:
        first = taken(window)
        window.until(lambda text: taken(window) > first)
        assert "1 min 5" in window.text, "of 2 min something has passed"
        window.keys(b"\n")
        window.until(lambda text: "12.3 s  all well  (about 1 min 20 s left)" in text)
        window.until(lambda text: "s, at least 1 min 30 s left: watch for 30 s" in text)
        window.keys(b"\n")
        assert window.end() == 0
        said = window.text
        assert "✗ [3/4] watch-100" in said and "✓ [1/2] rollback-shift" in said
    finally:
        window.close()


def test_to_a_file_goes_a_line_a_step_and_what_was_noted(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], input="\n\n", capture_output=True, text=True, cwd=tmp_path, timeout=60
    )
    *lines, noted, last = done.stderr.splitlines()
    assert noted == "  eu-1: docker.io: noted", "of a host that is well, only what somebody ought to know"
    lines.append(last)
    assert [line.split()[2] for line in lines] == ["[2/4]", "[3/4]", "[1/2]"], done.stderr
    assert lines[0].endswith("all well  (about 1 min 20 s left)")
    assert "left" not in lines[1] and "left" not in lines[2]
