"""A mark that was left on a host is read there, whatever its engine loses."""

from __future__ import annotations

import subprocess

import pytest

from rollout.direct.mark import NAME, Mark, ask_for_mark, read_mark

MARK = Mark(1.0, "ada@there", "g2", "2-b", "g1", "1-a", 7)
DOCKER = """#!/bin/sh
# docker exec CONTAINER sh -c SCRIPT; what is printed is lost so many times.
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
        program.write_text(DOCKER.format(folder=tmp_path, inside=inside, lost=lost, code=code))
        program.chmod(0o755)
        words = ask_for_mark(tmp_path / "root", project)
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout

    (tmp_path / "root").mkdir()
    return asked


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


@pytest.mark.parametrize("project", ["p-e", ""])
def test_a_person_s_comes_first(ask, tmp_path, project):
    (tmp_path / "root" / NAME).write_text(MARK.as_json())
    assert read_mark(ask("", project=project)) == MARK
    assert not (tmp_path / "asked").exists()


def test_a_damaged_one_is_one(ask):
    assert read_mark(ask("{")) == Mark(0.0, "?", "?", "?", "?", "?", 0)
