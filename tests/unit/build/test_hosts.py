"""Commands on hosts."""

from __future__ import annotations

import time

from rollout.build.hosts import TIMED_OUT, LocalHost


def test_a_command_without_an_end_is_given_up():
    started = time.monotonic()
    answer = LocalHost("here", limit=0.2).run(["sleep", "600"])
    assert answer.status == TIMED_OUT
    assert "here has not answered within 0.2 s" in answer.errors
    assert time.monotonic() - started < 300
    assert LocalHost("here", limit=60).run(["echo", "well"]).output == "well\n"
