"""What hosts with containers are asked, where their engine answers oddly: ``ssh`` is a program of ours."""

from __future__ import annotations

from pathlib import Path

import pytest

from rollout.config import load
from rollout.engine.docker import DockerEngine
from rollout.errors import EngineError
from tests.unit.config.test_peers import ALONE, written

SSH = """#!/bin/sh
# The first time and the second, what was printed is lost.
echo "$*" >> {folder}/asked
[ $(wc -l < {folder}/asked) -gt {lost} ] && echo the-token
exit 0
"""


@pytest.fixture
def engine(tmp_path: Path, monkeypatch):
    program = tmp_path / "bin" / "ssh"
    program.parent.mkdir()
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")

    def made(lost: int) -> DockerEngine:
        program.write_text(SSH.format(folder=tmp_path, lost=lost))
        program.chmod(0o755)
        config = load(written(tmp_path, hosts={"a": {"root": "/srv/t"}}, listen=ALONE, authority=None))
        return DockerEngine(config, config.environment("e"))

    return made


def test_a_token_whose_text_the_engine_has_lost_is_read_again(engine, tmp_path):
    made = engine(2)
    assert [target.token for target in made.targets()] == ["the-token"]
    assert [target.token for target in made.targets()] == ["the-token"]
    asked = (tmp_path / "asked").read_text().splitlines()
    assert len(asked) == 3
    assert all("docker exec p-e-manager-1 cat /run/terminals/token" in line for line in asked)


def test_nothing_is_no_token(engine):
    with pytest.raises(EngineError, match=r"^a: /run/terminals/token of its session manager is empty; try"):
        engine(3).targets()
