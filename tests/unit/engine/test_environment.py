"""What a task does on its host, without Ansible around it."""

from __future__ import annotations

import os
import subprocess

import pytest
from ansible_collections.terminals.rollout.plugins.module_utils import docker, process, root
from ansible_collections.terminals.rollout.plugins.module_utils.host import Failed, Host


@pytest.mark.parametrize("check", [False, True], ids=["for real", "check mode"])
def test_a_directory_with_something_else_in_it_is_neither_taken_nor_removed(tmp_path, check):
    precious = tmp_path / "precious things"
    precious.mkdir()
    (precious / "thesis.txt").write_text("of years")
    (precious / "conf").mkdir()
    with pytest.raises(Failed, match="is not empty, and no environment of rollout"):
        root.claim(Host(check=check), precious, 0o750)
    with pytest.raises(Failed, match=r"has no \.rollout-root"):
        root.check(precious)
    assert sorted(path.name for path in precious.iterdir()) == ["conf", "thesis.txt"]


@pytest.mark.parametrize(
    "there", [None, [], ["conf/programs"], ["lost+found"]], ids=["none", "empty", "of before", "a disk"]
)
def test_a_directory_of_ones_own_is_taken_and_given_back(tmp_path, there):
    path = tmp_path / "root"
    for name in there or []:
        (path / name).mkdir(parents=True)
    if there == []:
        path.mkdir()
    host = Host()
    root.claim(host, path, 0o750)
    assert (path / root.MARK).is_file()
    assert host.did == ["Take the environment's directory"]
    root.claim(host, path, 0o750)
    assert len(host.did) == 1
    root.check(path)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "kept").touch()
    (path / "full of" / "things").mkdir(parents=True)
    (path / ".hidden").touch()
    (path / "link").symlink_to(elsewhere)
    root.remove(Host(check=True), path)
    assert (path / "full of" / "things").is_dir()
    root.remove(host, path)
    assert not path.exists()
    assert (elsewhere / "kept").exists()
    root.remove(host, path)


def test_an_environment_that_is_not_there_is_gone_already(tmp_path):
    root.check(tmp_path / "nowhere")


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    host, path = Host(), tmp_path / "file"
    assert host.write("Write it", path, "one\n", 0o600)
    assert not host.write("Write it", path, "one\n", 0o600)
    assert path.stat().st_mode & 0o777 == 0o600
    tmp_path.chmod(0o500)
    try:
        if os.geteuid():
            with pytest.raises(PermissionError):
                host.write("Write it", path, "two\n", 0o600)
    finally:
        tmp_path.chmod(0o700)
    assert Host(check=True).write("Write it", path, "two\n", 0o600)
    assert path.read_text() == "one\n"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]
    assert host.diff == [
        {"before_header": str(path), "after_header": str(path), "before": "", "after": "one\n"}
    ]


def test_what_is_secret_is_in_no_difference(tmp_path):
    host = Host()
    host.write("Make the token", tmp_path / "token", "secret\n", 0o600, secret=True)
    assert (host.did, host.diff) == (["Make the token"], [])


def test_a_program_that_fails_says_why_in_one_line():
    host = Host()
    with pytest.raises(Failed, match=r"^it failed: one two$"):
        host.expect("it failed", ["sh", "-c", "echo one >&2; echo two >&2; exit 3"])
    with pytest.raises(Failed, match=r"^it failed: exit status 3$"):
        host.expect("it failed", ["sh", "-c", "exit 3"])
    with pytest.raises(Failed, match="no-such-program: No such file"):
        host.expect("it failed", ["no-such-program"])
    assert host.expect("it", ["cat"], text="in\n") == "in"


def test_in_check_mode_nothing_is_run(tmp_path):
    host = Host(check=True)
    assert host.run("Make it", ["touch", str(tmp_path / "made")]) == ""
    assert host.did == ["Make it"]
    assert not any(tmp_path.iterdir())


def test_the_first_holder_knows_of_which_build_it_is(tmp_path):
    """Or whoever replaces it has nothing to go back to."""
    assert "--build" not in process.Environment(Host(), tmp_path).supervised()
    complete = tmp_path / "base" / "venv" / ".complete"
    complete.parent.mkdir(parents=True)
    complete.touch()
    assert "--build" not in process.Environment(Host(), tmp_path).supervised()
    complete.write_text("0.1.0-ab12cd34ef56\n")
    assert "holder.sock --build 0.1.0-ab12cd34ef56\n" in process.Environment(Host(), tmp_path).supervised()


def test_a_secret_is_brought_whole_and_to_its_owner_only_and_once(tmp_path):
    def bring(text: str) -> str:
        command = ["sh", "-c", docker.KEEP_FILE, "sh", "oidc-secret", str(tmp_path)]
        done = subprocess.run(command, input=text, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    assert bring("one") == "changed"
    assert bring("one") == ""
    assert bring("two") == "changed"
    (found,) = (tmp_path / "secrets").iterdir()
    assert (found.name, found.read_text()) == ("oidc-secret", "two")
    assert found.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "secrets").stat().st_mode & 0o777 == 0o700
