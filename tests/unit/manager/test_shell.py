"""Starting a shell where the process has no descriptor left."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from terminals.manager.shell import Profile, fork, plan


def test_a_shell_that_cannot_be_watched_is_not_left_running(monkeypatch):
    started: list[int] = []

    def no_more(pid: int) -> int:
        started.append(pid)
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(os, "pidfd_open", no_more)
    before = set(Path("/proc/self/fd").iterdir())
    with pytest.raises(OSError, match="Too many"):
        fork(plan("system", Profile(("sleep", "60")), "session"))
    assert not Path(f"/proc/{started[0]}").exists()
    assert set(Path("/proc/self/fd").iterdir()) == before
