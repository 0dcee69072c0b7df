# Copyright: (c) 2026, The rollout authors
# MIT License (see LICENSE or https://opensource.org/license/mit)
"""What a session manager is told, by ``terminals ctl``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from ansible_collections.terminals.rollout.plugins.module_utils.host import Answer, Failed, Host

NOBODY = ("unknown generation", "no session manager at", "No such container", "is not running")


class Control:
    """The session manager of a host. ``ctl``: the words of ``terminals ctl`` there."""

    def __init__(self, host: Host, ctl: Sequence[str]) -> None:
        self._host = host
        self._ctl = list(ctl)

    def ask(self, *words: object, fence: int | None = None, text: str = "") -> Answer:
        """Ask it, and give its answer whatever it is. ``text``: the standard input of who asks."""
        token = [] if fence is None else ["--fence", str(fence)]
        return self._host.ask([*self._ctl, *token, *map(str, words)], text=text)

    def expect(self, what: str, *words: object, fence: int | None = None, text: str = "") -> dict[str, Any]:
        """Ask or tell it what it must not refuse.

        Raises:
            Failed: it did, or it is not there.
        """
        answer = self.ask(*words, fence=fence, text=text)
        if answer.code != 0:
            raise Failed(f"{what}: {answer.reason}")
        found: dict[str, Any] = json.loads(answer.out)
        return found

    def in_charge(self, fence: int | None) -> dict[str, Any] | None:
        """See that nobody else leads the users by now. Gives its status; ``None`` where it does not answer,
        which is no hindrance.

        Raises:
            Failed: somebody else does.
        """
        answer = self.ask("status")
        if answer.code != 0:
            return None
        status: dict[str, Any] = json.loads(answer.out)
        if fence is not None and (seen := status.get("fence", 0)) > fence:
            raise Failed(f"stale fence {fence}: a command with {seen} has been here")
        return status

    def until_ready(self, generation: str, workers: int, seconds: int) -> None:
        """Wait until all processes of a generation are there.

        Raises:
            Failed: they have not come in time.
        """
        words = ("wait", generation, "--workers", workers, "--timeout", seconds)
        self.expect(f"generation {generation} is not ready", *words)

    def stop(self, generation: str, fence: int | None) -> None:
        """Stop the processes of a generation.

        One that never came up is as good as stopped. Where there is no session manager, it serves nobody,
        and it ends with its programs.

        Raises:
            Failed: it refused.
        """
        if self._host.check:
            return
        answer = self.ask("stop", generation, fence=fence)
        if answer.code == 0:
            self._host.did.append(f"Stop the generation {generation}")
        elif not any(words in answer.err for words in NOBODY):
            raise Failed(f"{generation} cannot be stopped: {answer.reason}")
