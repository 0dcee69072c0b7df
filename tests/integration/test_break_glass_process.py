"""Breaking the glass on this machine, where an environment is a folder of processes."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from demo.source import copy_of_services
from rollout.build import build
from rollout.config import load
from rollout.direct.mark import NAME, Mark
from rollout.errors import ExitCode
from tests.support.control import admin
from tests.support.project import ROOT, TwoStages
from tests.support.stack import until

pytestmark = [pytest.mark.rollout, pytest.mark.slow("three rollouts and two ways back")]


def hand_over_in_the_middle(project: TwoStages) -> None:
    """Somebody breaks the glass while a rollout is at work: it stops there, and takes nothing back."""
    known = set(project.generations("dev"))
    rollout = subprocess.Popen(
        [sys.executable, "-m", "rollout", "deploy", "dev"],
        cwd=project.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    started = until(lambda: set(project.generations("dev")) - known, "the new generation")
    fence = int(project.manager("dev")["fence"])
    mark = Mark(time.time(), "somebody", *started, "the new one", "g1", "the old one", fence)
    (project.folder / "dev" / NAME).write_text(mark.as_json())
    said, _ = rollout.communicate(timeout=120)
    assert rollout.returncode == ExitCode.REFUSED, said
    assert "rollout adopt dev" in said
    assert project.weights("dev").get(*started, 0) < 100
    assert project.run("resume", "dev") == ExitCode.REFUSED
    admin(str(project.folder / "dev" / "run" / "manager.sock"), "weights", weights={"g1": 100})
    assert project.run("adopt", "dev") == 0, project.said
    newest, last, *_ = project.json("history", "dev")
    assert (newest["kind"], newest["generation"], newest["state"]) == ("rollback", "g1", "promoted")
    assert (last["generation"], last["state"]) == (*started, "rolled-back")


def test_processes_are_led_back_while_warm_and_refused_clearly_when_not():
    with tempfile.TemporaryDirectory(prefix="rollout-") as text:
        folder = Path(text)
        project = TwoStages(folder)

        def run(*arguments: str) -> tuple[int, str]:
            done = subprocess.run(
                [sys.executable, "-m", "rollout", *arguments], cwd=folder, capture_output=True, text=True
            )
            assert "Traceback" not in done.stderr, done.stderr
            return done.returncode, done.stdout + done.stderr

        try:
            assert project.run("build") == 0
            assert project.run("deploy", "dev") == 0
            source = folder / "source"
            copy_of_services(source)
            (source / "terminals" / "health.py").open("a").write("# another build\n")
            build(source, load(folder / "rollout.yaml").builds_dir, lock_root=ROOT)
            assert project.run("deploy", "dev") == 0
            socket = str(folder / "dev" / "run" / "manager.sock")
            code, said = run("rollback", "dev", "--break-glass", "--yes")
            assert code == 0, said
            assert "local: serves g1" in said
            weights = {entry["name"]: entry["weight"] for entry in admin(socket, "status")["generations"]}
            assert weights == {"g1": 100, "g2": 0}
            assert "glass broken" in run("status")[1]
            assert run("deploy", "dev")[0] == ExitCode.REFUSED
            assert run("adopt", "dev")[0] == 0
            hand_over_in_the_middle(project)
            admin(socket, "stop", generation="g2")
            code, said = run("rollback", "dev", "--break-glass", "--yes", "--to", "g2")
            assert code == ExitCode.ROLLBACK_FAILED
            assert "use: rollout rollback dev" in said
            assert "serving for generation" in run("logs", "dev", "--generation", "g1", "--since", "1h")[1]
            assert run("exec", "dev", "--", "sh", "-c", "exit 3")[0] == 3
        finally:
            project.close()
