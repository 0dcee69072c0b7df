"""A lab of two hosts: what it promises, what can happen to a host, and that nothing is left of it."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from ipaddress import IPv4Network
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from lab import faults, hosts, image
from lab.engine import docker, owned
from lab.model import Host, Lab, LabError
from tests.support.stack import until

NAME = f"rollout-lab-{os.getpid()}"
SUBNET = f"10.214.{os.getpid() % 256}.0/24"
LAB = [sys.executable, "-m", "lab"]
# A container image out of the host's own files: Python and what it needs, nothing else.
IMAGE = (
    "tar -C / -chf - usr/bin/python3 usr/lib/python3.11 $(ldd /usr/bin/python3 | grep -o '/[^ ]*')"
    " | docker import - python"
)


SERVE = "docker run --detach --init --name web --publish 4110:80 python /usr/bin/python3 -m http.server 80"


def engine_is_there() -> bool:
    command = ["docker", "version", "--format", "{{.Server.Version}}"]
    return shutil.which("docker") is not None and not subprocess.run(command, capture_output=True).returncode


pytestmark = [
    pytest.mark.slow("labs that come up, are broken and go"),
    pytest.mark.docker("lab"),
    pytest.mark.skipif(
        not engine_is_there() or not all(map(shutil.which, ["mmdebstrap", "ssh"])),
        reason="needs a Docker engine, mmdebstrap and ssh: scripts/test-requirements.sh installs them",
    ),
]


def run(*arguments: str, state: Path, code: int = 0, **environment: str) -> str:
    command = [*LAB, *arguments, "--state", str(state)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment})
    assert done.returncode == code, done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    # A space in the path: everything that is written for ssh and Ansible has to quote it.
    state = tmp_path_factory.mktemp("lab") / "the lab"
    size = ["--dev", "1", "--staging", "1", "--production", "0", "--disk", "1G"]
    try:
        run("up", *size, "--name", NAME, "--subnet", SUBNET, state=state)
        yield Lab.load(state)
    finally:
        hosts.down(Lab(NAME, state, IPv4Network(SUBNET), ()))


@pytest.fixture
def dev(lab: Lab) -> Host:
    return lab.host("dev-1")


@pytest.fixture
def staging(lab: Lab) -> Host:
    return lab.host("staging-1")


@pytest.fixture(scope="module")
def served(lab: Lab) -> str:
    """The address of a container that serves HTTP on port 4110 of dev-1."""
    host = lab.host("dev-1")
    hosts.ssh(lab, host, IMAGE, timeout=60)
    hosts.ssh(lab, host, SERVE, timeout=60)
    return f"http://{host.address}:4110/"


def get(url: str, timeout: float = 2.0) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=timeout) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def refused(lab: Lab, host: Host, *options: str) -> str:
    """What ssh says when it does not let somebody in."""
    command = ["ssh", "-F", str(lab.ssh_config), "-o", "BatchMode=yes", *options, host.name, "true"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 255
    return done.stderr


def reachable(lab: Lab, host: Host, timeout: float = 2.0) -> bool:
    try:
        return hosts.ssh(lab, host, "true", timeout=timeout) == ""
    except LabError:
        return False


def test_a_person_comes_in_by_key_and_may_use_docker(lab, staging):
    assert hosts.ssh(lab, staging, "whoami; hostname; docker info --format '{{.Driver}}'").split() == [
        "deploy",
        "staging-1",
        "overlay2",
    ]
    assert "Docker Compose version" in hosts.ssh(lab, staging, "docker compose version")
    assert hosts.ssh(lab, staging, "sudo --non-interactive whoami") == "root"


def test_private_keys_are_for_their_owner_alone(lab, staging):
    for path in (lab.state / "id_ed25519", lab.state / "hosts" / "staging-1" / "ssh_host_ed25519_key"):
        assert path.stat().st_mode & 0o777 == 0o600
    assert hosts.ssh(lab, staging, "stat -c %a:%U /etc/ssh/ssh_host_ed25519_key") == "600:root"


def test_a_host_with_another_key_is_refused(lab, dev, staging, tmp_path):
    known = tmp_path / "known_hosts"
    lines = (lab.state / "known_hosts").read_text().splitlines()
    keys = {line.split()[0]: line.partition(" ")[2] for line in lines}
    known.write_text(f"{staging.address} {keys[f'{dev.name},{dev.address}']}\n")
    assert "Host key verification failed" in refused(lab, staging, "-o", f"UserKnownHostsFile={known}")
    known.write_text("")
    assert "Host key verification failed" in refused(lab, staging, "-o", f"UserKnownHostsFile={known}")


def test_a_person_with_another_key_is_refused(lab, staging, tmp_path):
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    config = tmp_path / "ssh_config"
    config.write_text(lab.ssh_config.read_text().replace(str(lab.state / "id_ed25519"), str(key)))
    assert "Permission denied" in refused(lab, staging, "-F", str(config))
    assert "Permission denied" in refused(lab, staging, "-l", "root")


def test_a_port_of_a_container_is_reached_from_here(lab, dev, served):
    until(lambda: get(served), "the container serving")


def test_hosts_reach_neither_the_internet_nor_each_others_engine(lab, dev, staging):
    for port in (2375, 2376):
        with pytest.raises(LabError):
            hosts.ssh(lab, staging, f"timeout 2 bash -c '</dev/tcp/{dev.address}/{port}'")
    assert hosts.ssh(lab, staging, f"timeout 2 bash -c '</dev/tcp/{dev.address}/22' && echo open") == "open"

    # Somewhere outside that this machine itself reaches: where it gets its packages.
    sites = subprocess.run(["apt-get", "indextargets", "--format", "$(SITE)"], capture_output=True, text=True)
    name = next(filter(None, (urlsplit(line).hostname for line in sites.stdout.split())), "")
    try:
        mirror = socket.gethostbyname(name)
        socket.create_connection((mirror, 80), 10).close()
    except OSError:
        pytest.skip("this machine reaches nothing outside by itself either")
    with pytest.raises(LabError):
        hosts.ssh(lab, staging, f"timeout 2 bash -c '</dev/tcp/{mirror}/80'")


def test_ansible_reaches_every_host_through_the_inventory(lab):
    command = [str(Path(sys.executable).with_name("ansible")), "-i", str(lab.inventory)]
    ping = subprocess.run([*command, "all", "-m", "ping", "-o"], capture_output=True, text=True)
    assert ping.returncode == 0, ping.stdout + ping.stderr
    assert ping.stdout.count("SUCCESS") == 2
    who = subprocess.run([*command, "staging", "-b", "-a", "whoami", "-o"], capture_output=True, text=True)
    assert "staging-1" in who.stdout
    assert who.stdout.strip().endswith("root")
    # A host that goes without a word leaves Ansible with a connection to it; the new one is not asked there.
    faults.cut(lab, lab.host("staging-1"))
    docker("rm", "--force", lab.container(lab.host("staging-1")))
    before = lab.inventory.read_text()
    hosts.up(lab)
    assert lab.inventory.read_text() != before, "connections are kept under another path"
    again = subprocess.run([*command, "all", "-m", "ping", "-o"], capture_output=True, text=True, timeout=60)
    assert again.stdout.count("SUCCESS") == 2


def test_a_cut_host_comes_back_with_its_connections(lab, dev):
    told = subprocess.Popen(
        ["ssh", "-F", str(lab.ssh_config), dev.name, "echo here; read line; echo $line"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert told.stdout is not None
    assert told.stdout.readline() == "here\n"
    faults.cut(lab, dev)
    try:
        assert not reachable(lab, dev)
        assert faults.engine_answers(lab, dev)
    finally:
        faults.mend(lab, dev)
    assert told.communicate("still there\n", timeout=60)[0] == "still there\n"
    until(lambda: reachable(lab, dev), "the host coming back")


def test_a_paused_host_goes_on_where_it_was(lab, dev):
    faults.pause(lab, dev)
    try:
        assert not reachable(lab, dev)
        assert (
            run("status", "--output", "json", state=lab.state, code=8).count("the container is paused") == 1
        )
    finally:
        faults.resume(lab, dev)
    assert reachable(lab, dev, timeout=20)


def test_an_engine_stopped_takes_its_containers_with_it(lab, dev, served):
    faults.stop_engine(lab, dev)
    assert not get(served)
    assert reachable(lab, dev, timeout=20)
    faults.start_engine(lab, dev)
    assert hosts.ssh(lab, dev, "docker start web") == "web"
    until(lambda: get(served), "the container serving again")


def test_an_engine_killed_leaves_its_containers(lab, dev, served):
    until(lambda: get(served), "the container serving")
    faults.kill_engine(lab, dev)
    assert not faults.engine_answers(lab, dev)
    assert "http.server" in hosts.ssh(lab, dev, "ps -eo args")
    faults.start_engine(lab, dev)
    assert faults.engine_answers(lab, dev)
    hosts.ssh(lab, dev, "docker start web", timeout=60)


def test_a_full_disk_takes_no_image_and_does_once_there_is_room(lab, staging):
    free = shutil.disk_usage(lab.state).free
    faults.fill_disk(lab, staging, leave=8 << 20)
    with pytest.raises(LabError, match="no space left on device"):
        hosts.ssh(lab, staging, IMAGE, timeout=60)
    with pytest.raises(LabError, match="No space left on device"):
        hosts.ssh(lab, staging, "head -c 32M /dev/zero >file")
    assert free - shutil.disk_usage(lab.state).free < 900 << 20, "the filler is not to take room here"
    faults.free_disk(lab, staging)
    assert hosts.ssh(lab, staging, IMAGE, timeout=60).startswith("sha256:")
    faults.fill_disk(lab, staging)
    with pytest.raises(LabError, match="No space left on device"):
        hosts.ssh(lab, staging, "head -c 2M /dev/zero >other")
    faults.free_disk(lab, staging)


def test_a_second_up_changes_nothing_and_fewer_hosts_are_fewer(lab, dev):
    before = docker("inspect", "--format", "{{.State.StartedAt}}", lab.container(dev))
    same = ["--dev", "1", "--production", "0", "--disk", "1G", "--name", NAME, "--subnet", SUBNET]
    run("up", *same, "--staging", "1", state=lab.state)
    assert docker("inspect", "--format", "{{.State.StartedAt}}", lab.container(dev)) == before
    run("up", *same, "--staging", "0", state=lab.state)
    assert [entry["host"] for entry in json.loads(run("status", "--output", "json", state=lab.state))] == [
        "dev-1"
    ]
    assert owned("volume", NAME) == [f"{NAME}_dev-1"]
    run("up", *same, "--staging", "1", state=lab.state)


def test_addresses_that_are_taken_are_named(lab, tmp_path):
    said = run("up", "--subnet", SUBNET, "--name", f"{NAME}-other", state=tmp_path / "other", code=8)
    assert f"taken by Docker's network {NAME}_hosts" in said
    assert "--subnet" in said
    assert not (tmp_path / "other").exists()


def test_a_lab_of_another_folder_is_not_touched(lab, dev, tmp_path):
    before = docker("inspect", "--format", "{{.State.StartedAt}}", lab.container(dev))
    said = run("up", "--name", NAME, "--subnet", SUBNET, state=tmp_path / "other", code=8)
    assert f"down --state '{lab.state}'" in said
    assert "--name" in said
    assert not (tmp_path / "other").exists()
    assert docker("inspect", "--format", "{{.State.StartedAt}}", lab.container(dev)) == before


def test_what_is_missing_is_said_with_its_remedy(lab, tmp_path, monkeypatch):
    said = run("status", state=lab.state, code=8, DOCKER_HOST=f"unix://{tmp_path}/none.sock")
    assert "no Docker engine answers" in said
    assert "scripts/docker-engine.sh" in said
    assert "python -m lab up" in run("down", state=tmp_path / "nothing", code=8)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LabError, match="apt-get install mmdebstrap"):
        image.make()


def test_down_leaves_nothing_whatever_state_the_hosts_are_in(tmp_path, monkeypatch):
    name, state = f"{NAME}-down", tmp_path / "lab"
    size = ["--dev", "1", "--staging", "1", "--production", "0", "--disk", "1G"]
    run("up", *size, "--name", name, "--subnet", f"10.215.{os.getpid() % 256}.0/24", state=state)
    lab = Lab.load(state)
    dev = lab.host("dev-1")
    hosts.ssh(lab, dev, IMAGE, timeout=60)
    hosts.ssh(lab, dev, SERVE, timeout=60)
    faults.cut(lab, dev)
    faults.pause(lab, dev)
    started = time.monotonic()
    run("down", state=lab.state)
    assert time.monotonic() - started < 30
    for kind in ("container", "network", "volume"):
        assert owned(kind, name) == []
    disks = [path.read_text() for path in Path("/sys/block").glob("loop*/loop/backing_file")]
    assert not [path for path in disks if name in path]
    assert (lab.state / "id_ed25519").exists()
    run("down", state=lab.state)
    # The image is for the next run: the one that goes is another name of it.
    docker("tag", image.tag(), f"{name}:1")
    monkeypatch.setattr(image, "REPOSITORY", name)
    hosts.erase(lab)
    assert docker("image", "ls", "--quiet", name) == ""
    assert not lab.state.exists()


def test_disks_of_a_lab_whose_keys_are_gone_are_taken_away(tmp_path):
    subnet = f"10.213.{os.getpid() % 256}.0/24"
    size = ["--dev", "1", "--staging", "0", "--production", "0", "--disk", "1G"]
    same = [*size, "--name", f"{NAME}-x", "--subnet", subnet]
    try:
        run("up", *same, state=tmp_path / "old")
        made = docker("volume", "inspect", "--format", "{{.CreatedAt}}", f"{NAME}-x_dev-1")
        shutil.rmtree(tmp_path / "old")
        run("up", *same, state=tmp_path / "new")
        assert docker("volume", "inspect", "--format", "{{.CreatedAt}}", f"{NAME}-x_dev-1") != made
        new = Lab.load(tmp_path / "new")
        assert reachable(new, new.host("dev-1"), timeout=20)
    finally:
        hosts.down(Lab(f"{NAME}-x", tmp_path / "new", IPv4Network(subnet), ()))
