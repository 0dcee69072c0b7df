#!/usr/bin/env python3
"""Check that commits can be told apart by their subjects. Standard library only.

A history is read by its subjects. So each has at most 72 characters, is more than a bare word, and is used
once. The rule holds for the commits after ``BASE``, merges aside; older ones broke it. ``--message FILE``
checks a message that is being written, as git's hook ``commit-msg``.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BASE = "44d31358d358c3c85584d9224d6edc37ceb22683"
MOST = 72
SCISSORS = "# ------------------------ >8 ------------------------"
"""What ``git commit --verbose`` puts above the changes that it shows."""
MEANT_TO_GO = ("fixup! ", "squash! ", "amend! ")
"""What ``git commit --fixup`` begins a subject with, which a rebase takes away."""


class NothingToCheck(Exception):
    """Why no commit can be checked here. A copy without its history is no fault."""


@dataclass(frozen=True, slots=True)
class Commit:
    """One commit of the history: its short id and the first line of its message."""

    id: str
    subject: str


def faults(subject: str, used: Collection[str]) -> Iterator[str]:
    """What is wrong with a subject, where these are used already."""
    if len(subject) > MOST:
        yield f"the subject has {len(subject)} characters, {MOST} at most; the rest belongs in the body"
    if len(subject.split()) < 2:
        yield "the subject is a bare word; say what changes"
    if subject in used:
        yield "the subject is used already; say what is different this time"


def subject_of(message: str) -> str:
    """The subject as git will take it from a message with comments: its first paragraph in one line."""
    lines: list[str] = []
    for line in message.splitlines():
        if line.startswith(SCISSORS) or (lines and not line.strip()):
            break
        if line.strip() and not line.startswith("#"):
            lines.append(line.strip())
    return " ".join(lines)


def git(*words: str) -> str:
    """What git answers.

    Raises:
        NothingToCheck: git is not installed, or has nothing of the kind here.
    """
    try:
        done = subprocess.run(
            ["git", *words],
            cwd=ROOT,
            check=False,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
        )
    except FileNotFoundError:
        raise NothingToCheck("git is not installed") from None
    if done.returncode:
        raise NothingToCheck(done.stderr.strip().partition("\n")[0] or f"git {words[0]} says no")
    return done.stdout.rstrip("\n")


def known(revision: str) -> bool:
    """Whether the repository has this commit."""
    try:
        git("rev-parse", "--quiet", "--verify", f"{revision}^{{commit}}")
    except NothingToCheck:
        return False
    return True


def history(*revisions: str) -> list[Commit]:
    """Commits without merges, the oldest first."""
    said = git("log", "--reverse", "--no-merges", "--no-show-signature", "--format=%h %s", *revisions)
    return [Commit(*line.split(" ", 1)) for line in said.splitlines()]


def check_history(base: str) -> list[str]:
    """One line for each fault of the commits since the base, each with the way out.

    Raises:
        NothingToCheck: this is no repository, or its history does not reach back to the base.
    """
    if Path(git("rev-parse", "--show-toplevel")).resolve() != ROOT:
        raise NothingToCheck(f"{ROOT} is not a git repository of its own")
    try:
        git("merge-base", "--is-ancestor", base, "HEAD")
    except NothingToCheck:
        raise NothingToCheck(f"{base[:7]} is not in the history of this checkout") from None
    used = {commit.subject for commit in history(base)}
    head = git("rev-parse", "--short", "HEAD")
    lines = []
    for commit in history(f"{base}..HEAD"):
        mend = "git commit --amend" if commit.id == head else f"git rebase -i {commit.id}~"
        lines += [
            f"{commit.id} {commit.subject!r}: {fault}: `{mend}`" for fault in faults(commit.subject, used)
        ]
        used.add(commit.subject)
    return lines


def check_message(file: Path) -> list[str]:
    """One line for each fault of a message that is being written. One without text git refuses by itself.

    Raises:
        NothingToCheck: this is no repository.
    """
    subject = subject_of(file.read_text(encoding="utf-8", errors="replace"))
    if not subject or subject.startswith(MEANT_TO_GO) or known("MERGE_HEAD"):
        return []
    used = {commit.subject for commit in _others()}
    return [f"{fault}; nothing is committed, the message is in {file}" for fault in faults(subject, used)]


def _others() -> list[Commit]:
    """All commits but one that is being amended: its date is then what git tells the hook for the new one."""
    if not known("HEAD"):
        return []
    amended = git("log", "-1", "--no-show-signature", "--format=@%ad", "--date=raw")
    return history("HEAD", *(["--skip=1"] if os.environ.get("GIT_AUTHOR_DATE") == amended else []))


def main() -> int:
    """Check, and say each fault in one line."""
    parser = argparse.ArgumentParser(description="Check that commits can be told apart by their subjects.")
    parser.add_argument(
        "--message", type=Path, metavar="FILE", help="check this message only (hook commit-msg)"
    )
    parser.add_argument(
        "--base", default=BASE, help="check the commits after this one (default: %(default).7s)"
    )
    asked = parser.parse_args()
    try:
        lines = check_message(asked.message) if asked.message else check_history(asked.base)
    except NothingToCheck as reason:
        print(f"check-commits: nothing is checked: {reason}", file=sys.stderr)
        return 0
    for line in lines:
        print(f"check-commits: {line}", file=sys.stderr)
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
