"""Whoever stands still for longer than the lease lasts, and then goes on, changes nothing any more.

One rollout has it happen at every entry of its journal, forward and backward: each time another operator goes
on, and stands still in turn. When all is over, all of them wake up.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from rollout.errors import ExitCode
from tests.support.project import TwoStages
from tests.support.stack import until

pytestmark = [pytest.mark.rollout, pytest.mark.slow("a rollout that stands still at each of its steps")]

KILLER = str(Path(__file__).with_name("killer.py"))


@pytest.fixture
def project():
    with TwoStages.deployed() as project:
        yield project


class Sleeper:
    """An operator who stands still at a point of the journal."""

    def __init__(self, project: TwoStages, point: str, command: tuple[str, ...]) -> None:
        self._log = (project.folder / f"{point.replace(':', '-')}.log").open("w+")
        self._process = subprocess.Popen(
            [sys.executable, KILLER, f"{point}=SIGSTOP", *command],
            cwd=project.folder,
            stdout=subprocess.DEVNULL,
            stderr=self._log,
        )

    def refused(self) -> bool:
        """Whether it has ended because somebody else has the lease still.

        Raises:
            AssertionError: it has ended for another reason; says what it said.
        """
        code = self._process.poll()
        assert code in (None, ExitCode.LOCKED), self.said()
        return code is not None

    def stands_still(self) -> bool:
        """Whether it does."""
        return Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"

    def wakes(self) -> int:
        """Its exit code, once it goes on."""
        os.kill(self._process.pid, signal.SIGCONT)
        return self._process.wait(300)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def said(self) -> str:
        self._log.seek(0)
        return self._log.read()


def test_who_stood_still_at_any_step_changes_nothing_any_more(project):
    weights, current = project.weights("dev"), project.json("status", "dev")[0]["current"]
    somebody = project.resident("dev")
    canary = [{"weight": 50, "hold": "1s"}, {"weight": 100, "hold": "1s"}]
    # A gate that no build can pass.
    gate = {"metric": "generation.memory_bytes", "op": "<", "threshold": "1MB"}
    project.configure(canary=canary, gates=[gate])
    plan = project.json("deploy", "dev", "--plan")
    forward = [step["name"] for step in plan["forward"]]
    forward = forward[: forward.index("watch-50")]
    names = [*forward, *(step["name"] for step in plan["backward"])]
    points = [f"{name}:{phase}" for name in names for phase in ("begin", "end")]
    assert len(points) >= 16
    sleepers: list[Sleeper] = []
    command = ("deploy", "dev")
    try:
        for point in points:
            sleepers.append(at(project, point, command))
            command = ("resume", "dev")
        until(lambda: project.run(*command) != ExitCode.LOCKED, "the end of the last one's lease", 60)
        assert project.json("history", "dev")[0]["state"] == "rolled-back", project.said
        number = project.json("history", "dev")[0]["number"]
        codes = {point: sleeper.wakes() for point, sleeper in zip(points, sleepers, strict=True)}
        said = {point: sleeper.said()[-500:] for point, sleeper in zip(points, sleepers, strict=True)}
        # What a step of it was refused by says "stale"; before or after it, that the lease is lost.
        assert set(codes.values()) <= {ExitCode.LOCKED, ExitCode.ENGINE, ExitCode.ROLLBACK_FAILED}, (
            codes,
            said,
        )
    finally:
        for sleeper in sleepers:
            sleeper.kill()
    assert project.weights("dev") == weights
    status = project.json("status", "dev")[0]
    assert (status["unfinished"], status["current"]) == (None, current)
    newest = project.json("history", "dev")[0]
    assert (newest["number"], newest["state"]) == (number, "rolled-back")
    bad = project.generations("dev").get(newest["generation"], {"workers": 0, "web": 0})
    assert (bad["workers"], bad["web"]) == (0, 0)
    assert not (project.folder / "dev" / "conf" / "programs" / f"{newest['generation']}.conf").exists()
    somebody.leave()


def at(project: TwoStages, point: str, command: tuple[str, ...]) -> Sleeper:
    """Go on with a rollout up to a point; first somebody else's lease has to end."""
    found: list[Sleeper] = []

    def there() -> bool:
        if not found or found[-1].refused():
            found.append(Sleeper(project, point, command))
        return not found[-1].refused() and found[-1].stands_still()

    until(there, f"{point}", 120)
    return found[-1]
