"""What a configuration says of files reaches the session manager."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError
from terminals.configfile import ConfigError
from terminals.manager.config import ManagerConfig
from terminals.manager.filerules import NO_FILES, FileRules

from rollout.config import Defaults, Environment, Host, Listen, Profile
from rollout.engine.manager import manager_config

SHELL = ("/bin/bash",)


def settings(files: dict[str, object] | None) -> dict[str, object]:
    """The settings of the session manager of an environment whose profile says that."""
    profile = Profile.model_validate({"command": SHELL, **({} if files is None else {"files": files})})
    environment = Environment.model_construct(
        profiles={"system": profile}, hosts={"local": Host(root="/srv")}
    )
    listen = Listen(system=1, claude=2, web=3)
    return manager_config(
        environment, listen, Defaults(), socket="/run/x", state="/srv/x", host="127.0.0.1", name="local"
    )


def read(path: Path, files: object) -> FileRules:
    """What a manager makes of it."""
    raw = settings(None)
    raw["profiles"] = {"system": {"command": SHELL, "files": files}}
    path.write_text(json.dumps(raw))
    return ManagerConfig.load(path).profiles["system"].files


def test_off_by_default_and_then_unknown_to_managers_of_before(tmp_path):
    raw = settings(None)
    assert raw["profiles"] == {"system": {"command": list(SHELL)}}
    path = tmp_path / "manager.json"
    path.write_text(json.dumps(raw))
    assert ManagerConfig.load(path).profiles["system"].files == NO_FILES
    assert not NO_FILES.on


def test_what_is_said_is_what_the_manager_has(tmp_path):
    files = {"upload": True, "download": True, "max_bytes": "5MB", "at_once": 2, "folder": "/srv/in"}
    path = tmp_path / "manager.json"
    path.write_text(json.dumps(settings(files)))
    found = ManagerConfig.load(path).profiles["system"].files
    assert found == FileRules(True, True, 5_000_000, 2, "/srv/in")


@pytest.mark.parametrize(
    "files",
    [
        {"upload": "yes"},
        {"max_bytes": 0},
        {"max_bytes": 1.5},
        {"at_once": 0},
        {"at_once": True},
        {"folder": "relative"},
        {"folder": ""},
        {"folder": "/a\0b"},
        {"nonsense": 1},
    ],
    ids=str,
)
def test_nonsense_is_refused_at_both_ends(tmp_path, files):
    with pytest.raises(ConfigError, match=r"profiles\.system\.files"):
        read(tmp_path / "manager.json", files)
    with pytest.raises(ValidationError, match="files"):
        settings(files)


def test_a_manager_refuses_what_is_no_object(tmp_path):
    with pytest.raises(ConfigError, match="an object"):
        read(tmp_path / "manager.json", True)
