"""What ``rollout.yaml`` says of recordings is what a session manager does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from terminals.configfile import ConfigError
from terminals.manager.casts import RecordingRules
from terminals.manager.config import ManagerConfig

from rollout.config import Defaults, Environment
from rollout.config.model import Recordings
from rollout.engine.manager import manager_config

ENVIRONMENT = {
    "hosts": {"local": {"root": "/srv/terminals"}},
    "listen": {"system": 4001, "claude": 4002, "web": 4110},
    "gates": [{"metric": "validate.pass_ratio", "op": ">", "threshold": 0.95}],
}


def carried(folder: Path, profiles: dict, recordings: dict) -> ManagerConfig:
    """The session manager's configuration, as it reads what an engine has written."""
    environment = Environment.model_validate({**ENVIRONMENT, "profiles": profiles})
    defaults = Defaults.model_validate({"recordings": recordings})
    raw = manager_config(
        environment,
        environment.listen,
        defaults,
        socket="/run/m.sock",
        state="/state",
        host="127.0.0.1",
        name="local",
    )
    return written(folder, raw)


def written(folder: Path, raw: dict) -> ManagerConfig:
    (folder / "manager.json").write_text(json.dumps(raw))
    return ManagerConfig.load(folder / "manager.json")


def test_what_is_declared_is_in_force(tmp_path):
    profiles = {"system": {"command": ["sh"], "record": True}, "claude": {"command": ["claude"]}}
    recordings = {
        "when_lost": "end",
        "lost_seconds": "5s",
        "max_recording_bytes": "1MiB",
        "max_bytes": "10MiB",
        "max_age_seconds": "7d",
    }
    config = carried(tmp_path, profiles, recordings)
    assert config.profiles["system"].record
    assert not config.profiles["claude"].record
    assert config.recordings == RecordingRules("end", 5.0, 1 << 20, 10 << 20, 7 * 86400.0)


def test_what_is_usual_is_so_on_both_sides_and_is_not_said(tmp_path):
    """A session manager of an earlier build knows no key of it."""
    config = carried(tmp_path, {"system": {"command": ["sh"]}, "claude": {"command": ["claude"]}}, {})
    assert config.recordings == RecordingRules(**Recordings().model_dump())
    assert not any(profile.record for profile in config.profiles.values())
    assert "record" not in config.shown


@pytest.mark.parametrize(
    ("place", "value", "text"),
    [
        ("recordings", {"when_lost": "ignore"}, "when_lost must be refuse, end or notify, not 'ignore'"),
        ("recordings", {"lost_seconds": 1}, "lost_seconds must be from 2 to 3600, not 1"),
        ("recordings", {"max_bytes": -1}, r"recordings\.max_bytes must be 0 \(off\) or more"),
        ("recordings", {"max_recording_bytes": 100}, r"must be 0 \(off\) or at least 65536, not 100"),
        ("recordings", {"when": "end"}, "recordings: unknown key 'when'"),
        ("recordings", [], "wrong"),
        ("recordings", "end", "wrong"),
        (
            "profiles",
            {"system": {"command": ["sh"], "record": "yes"}},
            "record must be true or false, not 'yes'",
        ),
    ],
)
def test_what_makes_no_sense_is_one_line(tmp_path, place, value, text):
    listener = {"host": "127.0.0.1", "port": 0}
    raw = {
        "socket": "/run/m.sock",
        "state_dir": "/state",
        "listeners": {"web": listener},
        "profiles": {},
        place: value,
    }
    if text == "wrong":
        text = "recordings: an object of settings"
    with pytest.raises(ConfigError, match=text):
        written(tmp_path, raw)
