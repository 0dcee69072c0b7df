"""Back to the build before with SSH alone: two hosts, a live session, and no Ansible and no ledger."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from demo.source import copy_of_services
from lab import faults, hosts
from rollout.build import BuildStore
from rollout.checks.runner import compute
from rollout.config import load
from rollout.engine.docker import DockerEngine
from rollout.errors import EngineError, ExitCode
from tests.support import docker
from tests.support.hosts import Deployment, with_folder

pytestmark = [
    pytest.mark.docker("lab"),
    pytest.mark.slow("two hosts with engines of their own, and three builds on them"),
]

# Whoever imports one of these fails, as where they are not installed.
FORBIDDEN = (
    "ansible",
    "ansible_runner",
    "sqlalchemy",
    "rollout.ledger",
    "rollout.pipeline",
    "rollout.engine",
)


@pytest.fixture(scope="module")
def deployed(the_lab) -> Iterator[Deployment]:
    with tempfile.TemporaryDirectory(prefix="rollout-") as text:
        folder = Path(text)
        deployed = Deployment(with_folder(the_lab.fresh(dev=2)), folder)
        _, first = docker.make_image(folder / "state")
        source = folder / "source"
        copy_of_services(source)
        (source / "terminals" / "health.py").open("a").write("# another build\n")
        deployed.run("deploy", "dev")
        _, second = docker.make_image(folder / "state", source)
        deployed.run("deploy", "dev")
        # The first is the very image that others of this run work with.
        docker.remove_after_the_run(first)
        docker.remove_after_the_run(second)
        yield deployed


@contextmanager
def without_ansible_and_ledger(deployed: Deployment, tmp_path: Path) -> Iterator[dict[str, str]]:
    """An environment in which neither Ansible nor the ledger can be used."""
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "class Gone:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name in {FORBIDDEN}:\n"
        "            raise ImportError(name + ' is gone')\n"
        "sys.meta_path.insert(0, Gone())\n"
    )
    ledger, kept = deployed.folder / "state" / "ledger.db", deployed.folder / "ledger.kept"
    shutil.copy(ledger, kept)
    ledger.write_bytes(b"not a ledger" * 100)
    yield {"PYTHONPATH": str(tmp_path)}
    shutil.move(kept, ledger)
    for other in ("-wal", "-shm"):
        Path(f"{ledger}{other}").unlink(missing_ok=True)


def test_hosts_are_led_back_with_ssh_alone_and_the_ledger_adopts_it(deployed, tmp_path):
    with without_ansible_and_ledger(deployed, tmp_path) as bare:
        hosts_are_led_back_with_ssh_alone(deployed, bare)
    nothing_goes_on_before_the_ledger_knows(deployed)
    an_unreachable_host_is_named_and_the_others_are_led_back(deployed)


def hosts_are_led_back_with_ssh_alone(deployed, bare):
    config = load(deployed.folder / "rollout.yaml")
    engine = DockerEngine(config, config.environment("dev"))
    assert deployed.serving("dev-1") == deployed.serving("dev-2") == ["g2"]
    fence = deployed.status("dev-1")["fence"]
    terminal = engine.targets()[0].terminal()
    terminal.open()
    try:
        terminal.send(b"kept=7\n")
        assert compute(terminal, "kept") == 7
        # Everything else fails, so that what works below works without.
        status = [sys.executable, "-m", "rollout", "status"]
        broken = subprocess.run(status, cwd=deployed.folder, env={**os.environ, **bare}, capture_output=True)
        assert b"is gone" in broken.stderr
        with ThreadPoolExecutor(1) as pool:
            rollback = pool.submit(deployed.run, "rollback", "dev", "--break-glass", "--yes", **bare)
            while not rollback.done():
                assert compute(terminal, "kept + 1") == 8  # at work all the while
            said = rollback.result()
        assert "dev-1: serves g1" in said
        assert "dev-2: serves g1" in said
        assert "1 session moved, 0 severed" in said
        assert compute(terminal, "kept * 6") == 42
        assert terminal.stats.reconnects == 1
    finally:
        terminal.close(kill=True)
    for host in ("dev-1", "dev-2"):
        assert deployed.serving(host) == ["g1"]
        ends = {entry["name"]: entry["retire_at"] for entry in deployed.status(host)["generations"]}
        assert ends["g1"] is None  # it was to end within the hour
        assert ends["g2"] is not None
    # The same again goes to the same generation, not further back; a rollout that ran is cut off.
    again = deployed.run("rollback", "dev", "--break-glass", "--yes", **bare)
    assert "going on with it" in again
    assert deployed.status("dev-1")["fence"] == fence + 1


def nothing_goes_on_before_the_ledger_knows(deployed):
    assert deployed.serving("dev-1") == ["g1"]
    assert "glass broken" in deployed.run("status")
    for command in ("deploy", "rollback"):
        assert "rollout adopt dev" in deployed.run(command, "dev", code=ExitCode.REFUSED)
    deployed.run("adopt", "dev")
    assert "glass" not in deployed.run("status")
    deployed.run("history", "dev", "--output", "json")
    newest = json.loads(deployed.out)[0]
    assert (newest["kind"], newest["generation"], newest["state"]) == ("rollback", "g1", "promoted")
    assert "glass broken" in newest["reason"]
    # The lease that comes next is let through by the managers.
    assert "no earlier build" in deployed.run("rollback", "dev", code=ExitCode.REFUSED)


def an_unreachable_host_is_named_and_the_others_are_led_back(deployed):
    """Also: what is not warm any more is started again, and who was left out follows later."""
    lab = deployed.lab
    for host in ("dev-1", "dev-2"):
        stop = f"docker exec {docker.PROJECT}-dev-manager-1 terminals ctl stop g1"
        weights = f"docker exec {docker.PROJECT}-dev-manager-1 terminals ctl weights g2=100"
        hosts.ssh(lab, lab.host(host), f"{weights} && {stop}", timeout=120)
    faults.cut(lab, lab.host("dev-2"))
    try:
        started = time.monotonic()
        said = deployed.run(
            "rollback", "dev", "--break-glass", "--yes", "--to", "g1", code=ExitCode.ROLLBACK_FAILED
        )
        assert time.monotonic() - started < 60
    finally:
        faults.mend(lab, lab.host("dev-2"))
    assert "dev-2: FAILED: not reachable over SSH" in said
    assert "not led back: dev-2" in said
    (back,) = deployed.serving("dev-1")
    assert back.startswith("g1r")
    assert deployed.serving("dev-2") == ["g2"]
    deployed.run("rollback", "dev", "--break-glass", "--yes", "--host", "dev-2")
    assert deployed.serving("dev-2") == [back]
    deployed.run("adopt", "dev")


def test_without_yes_it_asks_and_touches_nothing(deployed):
    before = deployed.serving("dev-1")
    deployed.run("rollback", "dev", "--break-glass", "--to", "g2", code=ExitCode.INTERRUPTED)
    assert deployed.serving("dev-1") == before
    said = deployed.run("rollback", "dev", "--break-glass", "--yes", "--to", "g7", code=ExitCode.REFUSED)
    assert "g7 is not known there" in said


def test_logs_and_commands_of_all_hosts_at_once(deployed):
    said = deployed.run("logs", "dev", "--generation", "g2")
    assert "serving for generation g2" in said
    assert {line.split()[0] for line in said.splitlines()} == {"dev-1", "dev-2"}
    assert "g1" not in {line.split()[1].split("-")[0] for line in said.splitlines()}
    assert "g2 said nothing in the last 1s" in deployed.run(
        "logs", "dev", "--generation", "g2", "--since", "1s"
    )
    assert deployed.out == ""
    said = deployed.run("exec", "dev", "--", "sh", "-c", "hostname; exit $(hostname | tail -c 2)", code=2)
    assert sorted(said.split()) == ["dev-1", "dev-1", "dev-2", "dev-2"]


def test_following_ends_with_the_command_here_and_on_the_host(deployed):
    follower = subprocess.Popen(
        [sys.executable, "-m", "rollout", "logs", "dev", "--host", "dev-1", "--follow"],
        cwd=deployed.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert follower.stdout is not None
    assert follower.stdout.readline().startswith("dev-1")
    follower.send_signal(signal.SIGINT)
    said, _ = follower.communicate(timeout=120)
    assert follower.returncode == ExitCode.INTERRUPTED
    assert "Traceback" not in said
    left = "pgrep -f '[d]ocker logs --follow' || true"
    deadline = time.monotonic() + 60
    while hosts.ssh(deployed.lab, deployed.lab.host("dev-1"), left):
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_a_kept_connection_to_a_host_that_was_cut_is_an_error_soon(deployed):
    config = load(deployed.folder / "rollout.yaml")
    engine = DockerEngine(config, config.environment("dev"))
    assert engine.host("dev-1").run(["true"]).status == 0
    faults.cut(deployed.lab, deployed.lab.host("dev-1"))
    try:
        started = time.monotonic()
        with pytest.raises(EngineError, match="dev-1"):
            engine.install(BuildStore(config.builds_dir).find(None), hosts=["dev-1"])
        assert time.monotonic() - started < 60
    finally:
        faults.mend(deployed.lab, deployed.lab.host("dev-1"))
