"""``rollout status`` in windows of any width, in none, and while things happen."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rollout.cli.common import show
from rollout.cli.overview import Line, Overview, layout, lines
from rollout.config import load
from rollout.ledger import Lease, Ledger, RolloutRecord, State
from rollout.pipeline import EnvironmentStatus
from tests.support import summaries
from tests.support.rollouts import begun
from tests.support.window import Window

ROLLOUT = [sys.executable, "-m", "rollout"]
BUILD = "10.12.0-04210d5abcde"
LINE = Line(
    ("production", BUILD, "8.4 h", "production-1", "g4=100", "12/640"),
    ("declared otherwise, session manager of another build: rollout apply production", "g3 warm"),
    "soaked 8.4 h of 24 h",
)


@pytest.fixture
def project() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="rollout-") as folder:
        summaries.seed(summaries.project(Path(folder)))
        yield Path(folder)


@pytest.fixture
def ledger(project: Path) -> Iterator[Ledger]:
    with Ledger(load(project / "rollout.yaml").ledger_url) as ledger:
        yield ledger


def build_of(ledger: Ledger) -> str:
    current = ledger.current("dev")
    assert current is not None
    return current.build


@pytest.mark.parametrize("width", [20, 40, 60, 80, 100, 120, 200, None])
def test_nothing_is_wider_than_the_window_and_the_build_is_whole(width: int | None) -> None:
    found = layout([LINE, LINE], width)
    assert sum(BUILD in text for text in found) == 2
    for text in found:
        assert width is None or len(text) <= max(width, len(BUILD) + 13)
    everything = " ".join(" ".join(found).split())
    for word in ("production-1", "g4=100", "12/640", "g3 warm", "8.4 h", "24 h"):
        assert word in everything


def test_the_form_is_that_which_the_window_has_room_for() -> None:
    assert len(layout([LINE], None)) == 2
    assert [text.split()[0] for text in layout([LINE], 80)[:2]] == ["environment", "production"]
    block = layout([LINE], 40)
    assert block[0] == "production production-1"
    assert block[1] == f"  build      {BUILD}"


@pytest.mark.parametrize("columns", [40, 80])
def test_in_a_terminal_it_can_be_read(project: Path, ledger: Ledger, columns: int) -> None:
    window = Window([*ROLLOUT, "status"], project, columns=columns)
    try:
        assert window.end() == 0
        said = window.text
    finally:
        window.close()
    build = build_of(ledger)
    assert any(build in line for line in said.splitlines()), said
    assert "…" not in said
    first = said.splitlines()[0]
    assert first == "dev local" if columns == 40 else first.startswith("environment  build")


def test_in_no_window_nothing_is_cut_off(capsys: pytest.CaptureFixture[str]) -> None:
    long = Line(LINE.cells, ("a note without an end " * 30,))
    show("text", None, lambda: Overview([long]))
    assert [text.rstrip() for text in capsys.readouterr().out.splitlines()] == layout([long], None)


def test_piped_it_is_one_line_a_host(project: Path, ledger: Ledger) -> None:
    begun(ledger, env="staging", build="1.0.0-" + "f" * 12)
    with Lease(ledger, "staging"):
        done = subprocess.run([*ROLLOUT, "status"], cwd=project, capture_output=True, text=True, timeout=60)
    assert len(done.stdout.splitlines()) == 3, done.stdout


def status_of(record: RolloutRecord | None, **fields: Any) -> EnvironmentStatus:
    usual: dict[str, Any] = {"hosts": {"local": None}, "marks": {}, "current": None, "unfinished": record}
    return EnvironmentStatus("dev", None, **{**usual, **fields})


def test_a_host_that_says_nothing_is_not_said_to_run_nothing(ledger: Ledger) -> None:
    current = ledger.current("dev")
    (alone,) = lines([status_of(None, current=current)])
    assert alone.said == "no session manager answers: rollout doctor dev"
    one, lost = lines([status_of(None, current=current, hosts={"a": None}, lost=("b",))])
    assert (one.said, lost.said) == (alone.said, "stated to be lost")
    for line in lines([status_of(None, current=current, hosts={"a": None, "b": None})]):
        assert line.said == f"{alone.said}, where the host is new: rollout apply dev"
    (bare,) = lines([status_of(None)])
    assert bare.said == "", "nothing was ever brought there"


def test_who_is_at_work_is_named_and_nobody_told_to_resume(ledger: Ledger) -> None:
    record = begun(ledger)
    assert lines([status_of(record)])[0].said == f"#{record.number} running: rollout resume dev"
    assert lines([status_of(record, held_by="root@vm")])[0].said == f"#{record.number} running (root@vm)"
    assert lines([status_of(record, unfinished=None, held_by="root@vm")])[0].said == "held by root@vm"


def test_the_lease_says_who(project: Path, ledger: Ledger) -> None:
    begun(ledger, env="staging")

    def said() -> str:
        command = [*ROLLOUT, "status", "staging"]
        return subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=60).stdout

    with Lease(ledger, "staging"):
        assert "#1 running (" in said() and "resume" not in said()
    assert "#1 running: rollout resume staging" in said()


@pytest.mark.parametrize("columns", [40, 80])
def test_watched_it_is_kept_up_to_date_in_place_until_ctrl_c(
    project: Path, ledger: Ledger, columns: int
) -> None:
    command = [*ROLLOUT, "status", "--watch", "--interval", "100ms"]
    window = Window(command, project, columns=columns)
    try:
        window.until(lambda text: "Ctrl-C" in text)
        record = begun(ledger, env="staging")
        window.until(lambda text: f"#{record.number} running" in text)
        ledger.transition(record.id, State.ROLLING_BACK, reason="x")
        said = window.until(lambda text: "rolling-back" in text)
        assert said.count("staging local" if columns == 40 else "staging  ") == 1, said
        assert said.count("Ctrl-C") == 1
        window.keys(b"\x03")
        assert window.end() == 0
        assert "interrupted" not in window.text and "Traceback" not in window.text
    finally:
        window.close()


def test_watched_through_a_pipe_it_says_what_changes_once(project: Path, ledger: Ledger) -> None:
    command = [*ROLLOUT, "status", "staging", "--watch", "--interval", "100ms"]
    child = subprocess.Popen(command, cwd=project, stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None
        first = [child.stdout.readline() for _ in range(3)]
        assert first[0].endswith(" UTC\n") and first[2].startswith("staging")
        time.sleep(1)  # some looks at nothing new
        record = begun(ledger, env="staging")
        second = [child.stdout.readline() for _ in range(3)]
        assert f"#{record.number} running" in second[2], second
    finally:
        child.kill()
        child.wait()


def test_an_interval_that_is_none_is_one_line(project: Path) -> None:
    command = [*ROLLOUT, "status", "--watch", "--interval", "soon"]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr.startswith("rollout: --interval: expected a duration") and done.stderr.count("\n") == 1
