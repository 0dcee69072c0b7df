"""``rollout doctor``: things are broken one at a time, and each is found, with its remedy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lab import faults, hosts
from rollout.errors import ExitCode
from tests.support.hosts import Deployment, with_folder

pytestmark = [
    pytest.mark.docker("lab"),
    pytest.mark.slow("a host with an engine of its own, broken in many ways"),
]


@pytest.fixture(scope="module")
def deployment(the_lab, tmp_path_factory) -> Deployment:
    return Deployment(with_folder(the_lab.fresh(dev=1)), tmp_path_factory.mktemp("doctor"))


@pytest.fixture
def on_host(deployment):
    return lambda script: hosts.ssh(deployment.lab, deployment.lab.host("dev-1"), script, timeout=30)


def findings(deployment: Deployment, *, code: int, **environment: str) -> dict[str, dict[str, Any]]:
    """By subject; those of a host after those of this machine."""
    deployment.run("doctor", "dev", "--output", "json", code=code, **environment)
    found = json.loads(deployment.out)
    assert all(bool(entry["remedy"]) == (entry["verdict"] != "ok") for entry in found)
    return {(f"host {entry['subject']}" if entry["where"] else entry["subject"]): entry for entry in found}


def wrong(deployment: Deployment, **environment: str) -> dict[str, dict[str, Any]]:
    found = findings(deployment, code=ExitCode.CHECKS_FAILED, **environment)
    return {subject: entry for subject, entry in found.items() if entry["verdict"] == "wrong"}


def test_a_good_host_is_found_good(deployment):
    found = findings(deployment, code=0)
    assert {subject for subject, entry in found.items() if entry["verdict"] == "wrong"} == set()
    for subject in ("SSH", "clock", "Docker engine", "Compose plugin", "directory", "port 4001"):
        assert found[f"host {subject}"]["verdict"] == "ok", found[f"host {subject}"]
    assert found["host session manager"]["text"] == "none runs"


def test_an_engine_that_is_stopped(deployment):
    host = deployment.lab.host("dev-1")
    faults.stop_engine(deployment.lab, host)
    try:
        assert "service docker start" in wrong(deployment)["host Docker engine"]["remedy"]
    finally:
        faults.start_engine(deployment.lab, host)


def test_a_user_who_may_not_use_docker(deployment, on_host):
    on_host("sudo gpasswd --delete deploy docker")
    try:
        assert "usermod -aG docker" in wrong(deployment)["host docker group"]["remedy"]
    finally:
        on_host("sudo gpasswd --add deploy docker")


def test_a_directory_that_may_not_be_written(deployment, on_host):
    on_host("sudo chown root /srv/terminals")
    try:
        assert "may not be written" in wrong(deployment)["host directory"]["text"]
    finally:
        on_host("sudo chown deploy /srv/terminals")


def test_a_disk_that_is_full(deployment):
    host = deployment.lab.host("dev-1")
    faults.fill_disk(deployment.lab, host, leave=50_000_000)
    try:
        assert "docker system df" in wrong(deployment)["host disk"]["remedy"]
    finally:
        faults.free_disk(deployment.lab, host)


def test_a_port_that_somebody_else_listens_on(deployment, on_host):
    serve = "import socket,time; s=socket.create_server(('', 4002)); print(1, flush=True); time.sleep(60)"
    on_host(f'nohup python3 -c "{serve}" > /tmp/serving 2>&1 & until [ -s /tmp/serving ]; do sleep 0.1; done')
    try:
        assert "somebody else" in wrong(deployment)["host port 4002"]["text"]
    finally:
        on_host("pkill -f '[c]reate_server'")


def test_a_host_that_is_gone(deployment):
    host = deployment.lab.host("dev-1")
    faults.cut(deployment.lab, host)
    try:
        found = wrong(deployment)["host SSH"]
        assert "not reachable over SSH" in found["text"]
        assert "ssh dev-1 true" in found["remedy"]
    finally:
        faults.mend(deployment.lab, host)


def test_a_host_key_that_is_not_known(deployment):
    known = deployment.lab.state / "known_hosts"
    kept = known.read_text()
    known.write_text("")
    try:
        found = wrong(deployment)["host SSH"]
        assert "host key is not known" in found["text"]
        assert "log in once with: ssh dev-1" in found["remedy"]
    finally:
        known.write_text(kept)


def test_a_ledger_that_is_damaged(deployment):
    deployment.run("status")  # makes one
    path = deployment.folder / "state" / "ledger.db"
    kept = path.read_bytes()
    path.write_bytes(b"not a ledger" * 100)
    try:
        found = wrong(deployment)["ledger"]
        assert "--break-glass" in found["remedy"]
    finally:
        path.write_bytes(kept)
        for other in ("-wal", "-shm"):
            Path(f"{path}{other}").unlink(missing_ok=True)


def test_a_machine_without_ssh_and_without_engine(deployment, tmp_path):
    found = wrong(deployment, PATH=str(tmp_path))
    assert "openssh-client" in found["SSH client"]["remedy"]
    found = findings(deployment, code=0, DOCKER_HOST=f"unix://{tmp_path}/none.sock")
    assert found["Docker engine"]["verdict"] == "warning"
