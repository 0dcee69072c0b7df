"""Who may read and write what: the token, the control socket, the configuration."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="module")
def manager(expected):
    return f"{expected['project']}-manager-1"


def test_token_is_for_the_services_only(ask, manager, expected, saw):
    found = ask("docker", "exec", manager, "stat", "-c", "%a %u:%g %F", "/run/terminals/token")
    assert found == f"600 {expected['user']} regular file", found
    saw(found)


def test_control_socket_is_for_the_services_only(ask, manager, expected, saw):
    found = ask("docker", "exec", manager, "stat", "-c", "%a %u:%g %F", "/run/terminals/manager.sock")
    mode, owner, kind = found.split(" ", 2)
    assert not int(mode, 8) & 0o077 and (owner, kind) == (expected["user"], "socket"), found
    saw(found)


def test_directories_of_the_services_are_theirs(ask, manager, expected):
    places = ("/run/terminals", "/var/lib/terminals", "/home/terminals")
    lines = ask("docker", "exec", manager, "stat", "-c", "%n %a %u:%g", *places).splitlines()
    wrong = [line for line in lines if line.split()[1:] != ["700", expected["user"]]]
    assert not wrong, "; ".join(wrong)


def test_nobody_else_writes_the_configuration(ask, expected, saw):
    me = ask("id", "-un")
    # All there is: Compose files, and settings of the present session manager, those before, and the monitor.
    lines = ask("find", expected["root"], "!", "-type", "l", "-printf", "%p %m %u\\n").splitlines()
    wrong = []
    for line in lines:
        name, mode, owner = line.rsplit(" ", 2)
        if int(mode, 8) & 0o022 or owner not in (me, "root"):
            wrong.append(f"{name} is {mode} {owner}")
    assert not wrong, "; ".join(wrong)
    saw(f"only {me} and root")
