"""A mark that was left on a host is read there, whatever its engine loses."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

import pytest

from rollout.direct.mark import NAME, Mark, ask_for_mark, read_mark, take_mark_away

MARK = Mark(1.0, "ada@there", "g2", "2-b", "g1", "1-a", 7)
DOCKER = """#!/bin/sh
# docker exec CONTAINER sh -c SCRIPT; what is printed is lost so many times. docker cp CONTAINER:FILE -
[ "$1 $2" = "cp p-e-monitor-1:/var/lib/monitor/{name}" ] && exec cat {folder}/stopped
[ "$1 $2" = "exec p-e-monitor-1" ] || exit 3
echo asked >> {folder}/asked
said=$({inside})
[ $(wc -l < {folder}/asked) -gt {lost} ] && printf '%s\\n' "$said"
exit {code}
"""


@pytest.fixture
def ask(tmp_path, monkeypatch):
    """What the words print on a host with such an engine."""
    program = tmp_path / "bin" / "docker"
    program.parent.mkdir()
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")

    def asked(text: str, *, lost: int = 0, code: int = 0, project: str = "p-e") -> str:
        (tmp_path / "inside").write_text(text)
        inside = f"cat {tmp_path}/inside 2>/dev/null; echo ." if text else "echo ."
        program.write_text(DOCKER.format(folder=tmp_path, inside=inside, lost=lost, code=code, name=NAME))
        program.chmod(0o755)
        return told(ask_for_mark(tmp_path / "root", project)).stdout

    (tmp_path / "root").mkdir()
    return asked


def told(words: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, capture_output=True, text=True, check=True)


def stopped(folder: Path, text: str) -> None:
    """A monitor that does not run, and what it has: a tar, as the engine gives it."""
    with tarfile.open(folder / "stopped", "w") as archive:
        entry = tarfile.TarInfo(NAME)
        entry.size = len(text)
        archive.addfile(entry, io.BytesIO(text.encode()))


@pytest.mark.parametrize("lost", [0, 1, 2])
def test_the_monitor_s_is_read_though_the_engine_loses_what_was_printed(ask, tmp_path, lost):
    assert read_mark(ask(MARK.as_json(), lost=lost)) == MARK
    assert len((tmp_path / "asked").read_text().splitlines()) == lost + 1


def test_where_there_is_none_that_is_said_at_once(ask, tmp_path):
    assert read_mark(ask("")) is None
    assert len((tmp_path / "asked").read_text().splitlines()) == 1


def test_without_a_monitor_there_is_none_of_it(ask, tmp_path):
    assert read_mark(ask(MARK.as_json(), code=1)) is None
    assert len((tmp_path / "asked").read_text().splitlines()) == 1


def test_that_of_a_monitor_that_does_not_run_is_one_and_is_not_said_to_be_gone(ask, tmp_path):
    stopped(tmp_path, MARK.as_json())
    assert read_mark(ask("", code=1)) == MARK
    away = take_mark_away(tmp_path / "root", "p-e")
    with pytest.raises(subprocess.CalledProcessError) as failed:
        told(away)
    assert "p-e-monitor-1 does not run, and has a mark: docker start p-e-monitor-1" in failed.value.stderr
    (tmp_path / "stopped").unlink()
    told(away)


@pytest.mark.parametrize("project", ["p-e", ""])
def test_a_person_s_comes_first(ask, tmp_path, project):
    (tmp_path / "root" / NAME).write_text(MARK.as_json())
    assert read_mark(ask("", project=project)) == MARK
    assert not (tmp_path / "asked").exists()


def test_a_damaged_one_is_one(ask):
    assert read_mark(ask("{")) == Mark(0.0, "?", "?", "?", "?", "?", 0)
