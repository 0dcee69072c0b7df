"""What hosts with containers are asked, where their engine answers oddly: ``ssh`` is a program of ours."""

from __future__ import annotations

from pathlib import Path

import pytest

from rollout.checks.runner import CheckFailed, Target
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


@pytest.mark.parametrize(
    ("says", "held"),
    [("echo abc", {"a"}), ("true", set()), ("exit 127", set())],
    ids=["a holder", "none", "no Docker"],
)
def test_whose_session_manager_is_silent_holds_shells_where_a_holder_runs(engine, tmp_path, says, held):
    made = engine(0)
    (tmp_path / "bin" / "ssh").write_text(f"#!/bin/sh\n{says}\n")
    assert made._holding({"a": None}) == held
    assert made._holding({"a": {}}) == {"a"}


@pytest.mark.parametrize(("code", "text"), [(255, "not reachable over SSH"), (1, "docker ps")])
def test_where_nobody_can_say_whether_one_runs_that_is_said(engine, tmp_path, code, text):
    made = engine(0)
    (tmp_path / "bin" / "ssh").write_text(f"#!/bin/sh\nexit {code}\n")
    with pytest.raises(EngineError, match=text):
        made._holding({"a": None})


@pytest.mark.parametrize(
    ("root", "given"),
    [("/srv/terminals/dev", "/srv/terminals"), ("/srv/t", "/srv/t"), ("/t", "/t")],
)
def test_no_directory_of_the_system_is_given_away(tmp_path, root, given):
    path = written(tmp_path, hosts={"a": {"root": root}}, listen=ALONE, authority=None)
    assert str(load(path).environment("e").hosts["a"].directory) == given


def test_the_front_door_is_asked_first_and_the_command_line_where_it_does_not_answer(
    engine, tmp_path, monkeypatch
):
    """Over SSH, a program has to start there for each answer."""
    made = engine(0)
    answers = {"door": True}

    def http(self, path, *, token=None, method="GET"):
        assert (path, token) == ("/api/status", "the-token")
        if not answers["door"]:
            raise CheckFailed("not reachable")
        return 200, {"sessions": {}}

    monkeypatch.setattr(Target, "http", http)
    assert made.status() == made.status() == {"a": {"sessions": {}}}
    assert len((tmp_path / "asked").read_text().splitlines()) == 1, "its token was read, once"
    answers["door"] = False
    assert made.status() == {"a": None}
    assert (tmp_path / "asked").read_text().splitlines()[-1].endswith("terminals ctl status")
    bare = engine(0)
    (tmp_path / "bin" / "ssh").write_text("#!/bin/sh\nexit 1\n")
    assert bare.status() == {"a": None}, "where nothing runs there is no token, and that is no error"


def test_nothing_is_no_token(engine):
    with pytest.raises(EngineError, match=r"^a: /run/terminals/token of its session manager is empty; try"):
        engine(3).targets()
