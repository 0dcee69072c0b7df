"""What a shell gets of the environment of the services."""

from __future__ import annotations

import os
import pwd

import pytest
from terminals.manager import shell
from terminals.manager.shell import Profile, plan

SECRETS = {
    "TERMINALS_SOCKET": "/run/x",
    "TERMINALS_TEST_TOKEN": "secret",
    "PYTHONPATH": "/srv/x",
    "LD_PRELOAD": "x.so",
    "SSH_AUTH_SOCK": "/tmp/agent",
    "SUDO_USER": "operator",
    "XDG_RUNTIME_DIR": "/run/user/0",
    "LC": "no category",
    "LANGFUSE_SECRET_KEY": "begins as one that is passed",
    "PATH_TO_KEY": "/x",
    "HISTFILE": "/root/history",
    "NOTIFY_SOCKET": "/run/notify",
    "INVOCATION_ID": "1",
}
PASSED = {
    "PATH": "/opt/tools:/usr/bin",
    "TZ": "Asia/Tokyo",
    "LANG": "en_GB.UTF-8",
    "LANGUAGE": "en_GB:en",
    "LC_ALL": "C.UTF-8",
    "LC_TIME": "de_DE.UTF-8",
}


def environment(monkeypatch, inherited: dict[str, str], **profile) -> dict[str, str]:
    """What a shell has that is started by a manager with that environment."""
    for name in list(os.environ):
        monkeypatch.delenv(name)
    for name, value in inherited.items():
        monkeypatch.setenv(name, value)
    shell._inherited.cache_clear()
    try:
        return plan("system", Profile(("bash",), **profile), "session_1").env
    finally:
        shell._inherited.cache_clear()


@pytest.fixture
def own() -> dict[str, str]:
    """What says who and where one is."""
    account = pwd.getpwuid(os.getuid())
    return {
        "HOME": account.pw_dir,
        "USER": account.pw_name,
        "LOGNAME": account.pw_name,
        "SHELL": account.pw_shell,
        "TERM": "xterm-256color",
        "COLORTERM": "truecolor",
        "TERMINAL_SESSION": "session_1",
        "TERMINAL_PROFILE": "system",
    }


def test_a_shell_gets_the_path_the_time_zone_and_the_language_and_nothing_else(monkeypatch, own):
    inherited = {**PASSED, **SECRETS, "HOME": "/srv", "USER": "operator", "TERM": "dumb"}
    assert environment(monkeypatch, inherited) == {**PASSED, **own}


def test_the_profiles_own_is_stronger(monkeypatch, own):
    env = {"LANG": "C", "EDITOR": "vi", "PYTHONPATH": "/its/own"}
    assert environment(monkeypatch, {**PASSED, **SECRETS}, env=env) == {**PASSED, **own, **env}


def test_the_services_virtual_environment_is_not_on_a_shells_path(monkeypatch, own):
    inherited = {"VIRTUAL_ENV": "/srv/venv", "PATH": "/srv/venv/bin:/usr/bin:/bin"}
    assert environment(monkeypatch, inherited) == {"PATH": "/usr/bin:/bin", **own}


def test_without_a_path_it_is_the_usual_one(monkeypatch, own):
    assert environment(monkeypatch, {}) == {"PATH": os.defpath, **own}


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
def test_another_account_has_a_path_of_its_own(monkeypatch):
    shown = environment(monkeypatch, PASSED, user="nobody")
    assert shown["PATH"] == shell.OTHERS_PATH
    assert shown["TZ"] == PASSED["TZ"]
