"""An environment as `rollout` makes it: whatever of it is killed, its supervisor too, nobody loses anything.

The order is random and its seed is in the message of a failure; `CAMPAIGN=seed` has the same again.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from terminals.control.asking import ControlError

from tests.support.control import admin
from tests.support.project import PROFILES, Project
from tests.support.stack import runs, until
from tests.support.typist import TALKER, Typist

pytestmark = [pytest.mark.rollout, pytest.mark.slow("an environment of its own, and thirty deaths")]

PEOPLE, EVENTS = 4, 30


class Supervised(Project):
    """One environment of the process engine, with a monitor, and what happens to it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.root = self.folder / "dev"
        self.socket = str(self.root / "run" / "manager.sock")
        environment = {
            "hosts": {"local": {"root": "dev"}},
            "listen": self.listen("dev"),
            "profiles": {**PROFILES, "claude": {"command": [sys.executable, "-c", TALKER]}},
            "workers": 2,
            "canary": [{"weight": 100, "hold": "100ms"}],
            "checks": ["smoke"],
            "gates": [{"metric": "smoke.pass_ratio", "op": ">=", "threshold": 1}],
            "monitor": {"every": "1s", "timeout": "5s", "profiles": ["system"]},
        }
        # So that screens are kept, by a keeper that can be killed.
        self.write({"dev": environment}, defaults={"ring_bytes": 65536})

    def asked(self, question: Callable[[], Any], why: str = "an answer") -> Any:
        """What comes of it, once a session manager answers: one whose supervisor was killed is replaced by
        the next supervisor's, a moment after it has answered."""
        answers = []

        def answered() -> bool:
            with contextlib.suppress(ControlError):
                answers.append(question())
            return bool(answers)

        until(answered, why)
        return answers[0]

    def kill(self, pid: int | None) -> None:
        if pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def kill_manager(self) -> None:
        self.kill(self.manager("dev")["manager"]["pid"])

    def kill_keeper(self) -> None:
        self.kill(self.manager("dev")["screens"]["keeper"])

    def kill_worker(self) -> None:
        self._kill_peer("worker")

    def kill_web(self) -> None:
        self._kill_peer("web")

    def _kill_peer(self, role: str) -> None:
        pids = [peer["pid"] for peer in admin(self.socket, "peers")["items"] if peer["role"] == role]
        self.kill(random.choice(pids) if pids else None)

    def kill_monitor(self) -> None:
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                words = path.read_bytes().split(b"\0")
                if b"monitor" in words and any(str(self.root).encode() in word for word in words):
                    self.kill(int(path.parent.name))

    def kill_supervisor(self) -> None:
        """And start it again, as `rollout` does; all that it had started has outlived it."""
        file = self.root / "run" / "supervisord.pid"
        pid = int(file.read_text())
        self.kill(pid)
        until(lambda: not runs(pid), "its end")
        supervisord = self.root / "base" / "venv" / "bin" / "supervisord"
        subprocess.run([supervisord, "-c", self.root / "conf" / "supervisord.conf"], check=True)
        # It writes its number when it has become a daemon, which is after that has returned.
        until(lambda: (now := file.read_text().strip()) and int(now) != pid, "its number")

    def events(self) -> list[Callable[[], None]]:
        often = [self.kill_manager, self.kill_worker, self.kill_supervisor]
        return [*often, *often, self.kill_keeper, self.kill_web, self.kill_monitor]


@pytest.fixture
def project() -> Iterator[Supervised]:
    with Supervised.deployed() as project:
        yield project


def test_nobody_loses_anything_whatever_is_killed(project):
    seed = int(os.environ.get("CAMPAIGN", random.randrange(1 << 30)))
    random.seed(seed)
    token = (project.root / "run" / "token").read_text().strip()
    url = f"ws://127.0.0.1:{project.listen('dev')['claude']}/"
    people = [Typist(url, f"user-{number}", token) for number in range(PEOPLE)]
    until(lambda: all(one.is_on(1, 60) for one in people), "everybody at work")

    def shells() -> dict[str, int]:
        sessions = project.asked(lambda: project.sessions("dev"))
        return {entry["id"]: entry["pid"] for entry in sessions if entry["user"].startswith("user-")}

    def status() -> dict[str, Any]:
        return project.asked(lambda: project.manager("dev"))

    before, holder = shells(), status()["holder"]["pid"]
    happened: Counter[str] = Counter()
    for _ in range(EVENTS):
        act = random.choice(project.events())
        happened[act.__name__] += 1
        project.asked(act, f"an answer after {dict(happened)} with CAMPAIGN={seed}")
        if random.random() < 0.7:
            more = max(one.typed for one in people) + 30
            what = f"everybody at work again, after {dict(happened)} with CAMPAIGN={seed}"
            until(lambda n=more: all(one.is_on(1, n) for one in people), what)
    assert (shells(), status()["holder"]["pid"]) == (before, holder)
    assert all(runs(pid) for pid in before.values())
    seen = status()["monitor"]["started"]
    project.kill_monitor()
    until(lambda: status()["monitor"]["started"] > seen, "the next monitor")
    for one in people:
        one.leave()
    print(f"CAMPAIGN={seed}: {dict(happened)}; {sum(one.typed for one in people)} lines typed")
