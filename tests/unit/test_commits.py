"""Subjects of commits: short, more than a word, used once; in the history and in git's hook."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GIT = shutil.which("git")

pytestmark = pytest.mark.skipif(GIT is None, reason="git is not installed")


class Repository:
    """A repository with the script and the hook, whose history broke the rule until ``base``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        copy_scripts(folder)
        self.git("init", "--quiet")
        self.commit("Format")
        self.commit("Format")
        self.base = self.commit("A subject that was used in the days before the rule")

    def git(self, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Git, on its own: nothing of this machine's or an outer git's settings."""
        people = {
            f"GIT_{who}_{what}": text
            for who in ("AUTHOR", "COMMITTER")
            for what, text in (("NAME", "Ada"), ("EMAIL", "ada@example.org"))
        }
        clean = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        nobody = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "GIT_EDITOR": "true"}
        return subprocess.run(
            ["git", *words],
            cwd=self.folder,
            env=clean | nobody | people | variables,
            check=False,
            capture_output=True,
            text=True,
        )

    def commit(self, message: str, day: int = 1) -> str:
        """Commit, past the hook, what is in the index, long ago; the new commit's id."""
        words = ("--quiet", "--allow-empty", "--no-verify", f"--date=1970-02-{day:02}T00:00:00Z")
        done = self.git("commit", *words, "--message", message)
        assert done.returncode == 0, done.stderr
        return self.git("rev-parse", "HEAD").stdout.strip()

    def check(self) -> subprocess.CompletedProcess[str]:
        return check(self.folder, "--base", self.base)

    def hooked(self, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Commit by git itself with the hook in place, as ``make hooks`` puts it."""
        self.git("config", "core.hooksPath", "scripts/hooks")
        return self.git("commit", "--quiet", "--allow-empty", *words, **variables)


def copy_scripts(folder: Path) -> None:
    """The script and the hook, where they are in the project."""
    (folder / "scripts").mkdir(parents=True)
    shutil.copy(ROOT / "scripts/check-commits.py", folder / "scripts")
    shutil.copytree(ROOT / "scripts/hooks", folder / "scripts/hooks")


def check(folder: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """The script in that folder."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return subprocess.run(
        [sys.executable, "scripts/check-commits.py", *words],
        cwd=folder,
        env=clean | variables,
        check=False,
        capture_output=True,
        text=True,
    )


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "project")


def test_commits_that_keep_the_rule_pass(repository):
    repository.commit(
        "x" * 35 + " " + "y" * 36 + "\n\n" + "The reason, which may be as long as it likes. " * 5
    )
    repository.commit("Another subject of few words")
    done = repository.check()
    assert (done.returncode, done.stderr) == (0, "")


def test_what_was_before_the_rule_passes(repository):
    done = repository.check()
    assert (done.returncode, done.stderr) == (0, "")


def test_a_subject_that_is_too_long(repository):
    repository.commit("x" * 36 + " " + "y" * 36)
    done = repository.check()
    assert done.returncode == 1
    assert "the subject has 73 characters, 72 at most" in done.stderr
    assert "`git commit --amend`" in done.stderr


def test_characters_count_and_not_bytes(repository):
    repository.commit("ä" * 35 + " " + "ö" * 36)
    done = check(repository.folder, "--base", repository.base, LC_ALL="C")
    assert (done.returncode, done.stderr) == (0, "")


def test_a_subject_that_is_used_twice(repository):
    repository.commit("The same thing once more")
    repository.commit("Something in between")
    second = repository.commit("The same thing once more")
    repository.commit("The newest of them all")
    done = repository.check()
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "the subject is used already" in line
    short = repository.git("rev-parse", "--short", second).stdout.strip()
    assert f"`git rebase -i {short}~`" in line


def test_a_subject_that_was_used_before_the_rule(repository):
    repository.commit("A subject that was used in the days before the rule")
    done = repository.check()
    assert done.returncode == 1
    assert "the subject is used already" in done.stderr


def test_a_bare_word(repository):
    repository.commit("Formatting")
    done = repository.check()
    assert done.returncode == 1
    assert "a bare word" in done.stderr


def test_each_fault_is_one_line(repository):
    repository.commit("Format")
    done = repository.check()
    assert done.returncode == 1
    assert [line.partition(":")[0] for line in done.stderr.splitlines()] == ["check-commits"] * 2


def test_merges_are_left_out(repository):
    repository.git("branch", "side", repository.base)
    repository.commit("A commit here")
    repository.git("checkout", "--quiet", "side")
    repository.commit("A commit there")
    repository.git("merge", "--quiet", "--no-ff", "--message", "z" * 100, "-")
    assert repository.git("log", "-1", "--format=%s").stdout.strip() == "z" * 100
    assert repository.check().returncode == 0


def test_without_a_repository_nothing_is_checked(tmp_path):
    copy_scripts(tmp_path / "copy")
    done = check(tmp_path / "copy", GIT_CEILING_DIRECTORIES=str(tmp_path))
    assert done.returncode == 0
    assert "nothing is checked: " in done.stderr


def test_a_copy_within_another_repository_is_not_that_one(repository):
    repository.commit("Formatting")
    copy_scripts(repository.folder / "copy")
    done = check(repository.folder / "copy", "--base", repository.base)
    assert done.returncode == 0
    assert "not a git repository of its own" in done.stderr


def test_a_shallow_copy_is_not_checked(repository, tmp_path):
    repository.git("add", "scripts")
    repository.commit("The scripts are part of it")
    repository.commit("Formatting")
    repository.git(
        "clone", "--quiet", "--depth", "1", f"file://{repository.folder}", str(tmp_path / "shallow")
    )
    done = check(tmp_path / "shallow", "--base", repository.base)
    assert done.returncode == 0
    assert "is not in the history of this checkout" in done.stderr


def test_a_history_that_does_not_begin_where_ours_does_is_not_checked(repository):
    done = check(repository.folder)
    assert done.returncode == 0
    assert "44d3135 is not in the history" in done.stderr


def test_without_git_nothing_is_checked(repository, tmp_path):
    (tmp_path / "empty").mkdir()
    done = check(repository.folder, "--base", repository.base, PATH=str(tmp_path / "empty"))
    assert done.returncode == 0
    assert "git is not installed" in done.stderr


@pytest.mark.parametrize(
    ("message", "fault"),
    [
        ("x" * 36 + " " + "y" * 36, "73 characters"),
        (
            "A subject in two lines, which git makes into one\nof more than seventy-two characters",
            "characters",
        ),
        ("Formatting", "bare word"),
        ("A subject that was used in the days before the rule", "used already"),
    ],
)
def test_the_hook_refuses(repository, message, fault):
    done = repository.hooked("--message", message)
    assert done.returncode == 1
    assert fault in done.stderr
    assert "nothing is committed, the message is in " in done.stderr
    assert repository.git("rev-parse", "HEAD").stdout.strip() == repository.base


@pytest.mark.parametrize(
    "message",
    [
        "A subject nobody has used\n\nThe reason. " + "z" * 100,
        "fixup! A subject that was used in the days before the rule, which a rebase takes away",
    ],
)
def test_the_hook_lets_pass(repository, message):
    done = repository.hooked("--message", message)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_hook_lets_comments_and_shown_changes_alone(repository):
    file = repository.folder / "message"
    file.write_text(
        f"# {'b' * 100}\n\nA fine subject\n# {'c' * 100}\n# {'-' * 24} >8 {'-' * 24}\n{'d' * 100}\n"
    )
    done = check(repository.folder, "--message", str(file))
    assert (done.returncode, done.stderr) == (0, "")
    file.write_text(f"# Please enter\n\n# {'-' * 24} >8 {'-' * 24}\nFormatting\n")
    assert check(repository.folder, "--message", str(file)).returncode == 0  # without text git refuses it


def test_the_hook_lets_the_last_commit_be_amended_but_not_repeated(repository):
    message = "A subject that stays"
    assert repository.hooked("--message", message, GIT_AUTHOR_DATE="@1000 +0000").returncode == 0
    done = repository.hooked("--amend", "--message", f"{message}\n\nAnd its reason.")
    assert (done.returncode, done.stderr) == (0, "")
    done = repository.hooked("--message", message)
    assert done.returncode == 1
    assert "used already" in done.stderr


def test_the_hook_lets_a_commit_be_reworded_in_a_rebase(repository):
    for day, name in ((2, "first"), (3, "second")):
        (repository.folder / name).touch()
        repository.git("add", name)
        repository.commit(f"A {name} subject", day)
    repository.git("config", "core.hooksPath", "scripts/hooks")
    done = repository.git(
        "rebase", "--interactive", repository.base, GIT_SEQUENCE_EDITOR="sed -i 's/^pick/reword/'"
    )
    assert done.returncode == 0, done.stderr
    assert repository.check().returncode == 0


def test_the_hook_lets_a_first_commit_and_a_merge_be(repository, tmp_path):
    copy_scripts(tmp_path / "new")
    repository.folder = tmp_path / "new"
    repository.git("init", "--quiet")
    done = repository.hooked("--message", "A first commit")
    assert (done.returncode, done.stderr) == (0, "")
    repository.git("branch", "side")
    assert repository.hooked("--message", "A commit here").returncode == 0
    repository.git("checkout", "--quiet", "side")
    assert repository.hooked("--message", "A commit there").returncode == 0
    done = repository.git("merge", "--quiet", "--no-ff", "--message", "z" * 100, "-")
    assert (done.returncode, done.stderr) == (0, "")
