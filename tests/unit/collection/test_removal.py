"""Containers that end by themselves while they are removed: the engine then says that it cannot, once."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.terminals.rollout.plugins.module_utils import docker
from ansible_collections.terminals.rollout.plugins.module_utils.host import Failed, Host

ENGINE = """#!/bin/sh
# An engine that has the containers whose names are in its folder, and cannot remove one as often as it says.
cd {folder}
case $1 in
  ps) ls containers;;
  rm) shift 2
      for name in "$@"; do
        if [ -s containers/$name ]; then
          sed -i 1d containers/$name
          echo "Could not kill running container $name, cannot remove - Container $name is not running" >&2
          failed=1
        elif [ -e containers/$name ]; then rm containers/$name
        else echo "No such container: $name" >&2; failed=1
        fi
      done
      exit ${{failed:-0}};;
esac
"""


@pytest.fixture
def engine(tmp_path: Path, monkeypatch):
    """Gives the folder of its containers: a file each, with a line for each time that it cannot be
    removed."""
    program = tmp_path / "bin" / "docker"
    program.parent.mkdir()
    program.write_text(ENGINE.format(folder=tmp_path))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    monkeypatch.setattr(docker, "REMOVED_POLL", 0.01)
    monkeypatch.setattr(docker, "REMOVED_SECONDS", 1.0)
    containers = tmp_path / "containers"
    containers.mkdir()
    return containers


def test_one_that_ends_meanwhile_is_removed_all_the_same(engine, monkeypatch):
    (engine / "one").write_text("now\nand now\n")
    (engine / "two").write_text("")
    host = Host()
    environment = docker.Environment(host, Path("/srv/terminals"), "terminals")
    environment._remove("Remove them", ["one", "two", "gone"])
    assert list(engine.iterdir()) == []
    assert host.did == ["Remove them"]


def test_one_that_cannot_be_removed_is_said_with_the_engine_s_reason(engine):
    (engine / "one").write_text("never\n" * 10_000)
    environment = docker.Environment(Host(), Path("/srv/terminals"), "terminals")
    with pytest.raises(Failed, match="Remove it: Could not kill running container one"):
        environment._remove("Remove it", ["one"])


def test_in_check_mode_it_is_only_said(engine):
    (engine / "one").write_text("")
    host = Host(check=True)
    docker.Environment(host, Path("/srv/terminals"), "terminals")._remove("Remove it", ["one"])
    assert [path.name for path in engine.iterdir()] == ["one"]
    assert host.did == ["Remove it"]
