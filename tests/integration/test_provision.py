"""Setting a host up: from one that lacks things, again, and with plain Ansible to a first build and back."""

from __future__ import annotations

import json
import os
import shlex
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from rollout.build.store import read_image
from rollout.build.transport import send_image
from rollout.config import load
from rollout.engine.docker import DockerEngine
from rollout.engine.playbooks import COLLECTION, folder
from rollout.errors import ExitCode
from tests.support.lab_host import ROOT, LabHost
from tests.support.newer import MAKE, SUFFIX, VERSION
from tests.support.stack import until

pytestmark = [
    pytest.mark.docker("lab 2"),
    pytest.mark.in_order,
    pytest.mark.slow("a host with an engine of its own, set up again and again"),
]

# A container of the host's own files, to see whether it goes on.
SLEEPER = (
    "tar -C / -chf - usr/bin/sleep $(ldd /usr/bin/sleep | grep -o '/[^ ]*') | docker import - sleeper"
    " && docker run --detach --name sleeper sleeper /usr/bin/sleep 1d"
)
PLUGIN = "/usr/local/lib/docker/cli-plugins/docker-compose"
STARTED = "docker inspect --format '{{.State.StartedAt}} {{.State.Running}}' sleeper"


@pytest.fixture(scope="module")
def new(built, the_lab, tmp_path_factory: pytest.TempPathFactory) -> LabHost:
    """A host that lacks this and that."""
    host = LabHost(tmp_path_factory.mktemp("provision"), the_lab.fresh(dev=1), built[0])
    host.ssh(SLEEPER)
    host.ssh(f"sudo rm {PLUGIN}; sudo gpasswd -d deploy docker")
    return host


@pytest.fixture
def host(new: LabHost) -> LabHost:
    """As it is by then, with the configuration as it was."""
    new.configure()
    return new


@pytest.fixture
def ready(host: LabHost) -> LabHost:
    """It was set up."""
    provision(host)
    return host


def provision(host: LabHost, *options: str) -> list[str]:
    assert host.run("provision", "dev", "--output", "json", *options) == 0, host.said
    return list(json.loads(host.printed)[0]["changed"])


def noted(host: LabHost) -> list[str]:
    """By the last of them."""
    return list(json.loads(host.printed)[0]["noted"])


def daemon(host: LabHost) -> dict[str, object]:
    return dict(json.loads(host.ssh("cat /etc/docker/daemon.json")))


def groups_and_files(host: LabHost) -> str:
    return host.ssh(f"id -Gn deploy; ls {PLUGIN} /etc/docker/daemon.json /srv/terminals 2>&1; true")


def test_a_host_gets_what_it_lacks_and_what_runs_there_goes_on(host):
    before = groups_and_files(host)
    changed = provision(host, "--check")
    assert {
        "Configure the engine",
        "Let who logs in use the engine",
        "Copy the Compose program",
        "Make the directory of the environments",
    } <= set(changed)
    assert groups_and_files(host) == before, "check mode changes nothing"

    before = host.ssh(f"sudo {STARTED}")
    assert before.endswith("true")
    assert "Copy the Compose program" in provision(host)
    assert host.ssh(STARTED) == before, "who logs in may use the engine now, and no container was stopped"
    assert host.ssh("docker info --format '{{.LiveRestoreEnabled}}'") == "true"
    assert host.ssh("docker compose version --short")
    assert host.ssh("stat -c '%U %a' /srv/terminals") == "deploy 755"
    assert daemon(host)["log-opts"] == {"max-size": "10m", "max-file": "3"}

    assert provision(host) == [], "the second time nothing changes"
    assert provision(host, "--check") == []


def test_the_engines_own_configuration_is_kept(ready):
    host = ready
    own = {"labels": ["rack=7"], "log-driver": "local", "live-restore": False}
    host.ssh(f"echo '{json.dumps(own)}' | sudo tee /etc/docker/daemon.json")
    assert provision(host) == ["Configure the engine", "Have the engine read its configuration"]
    assert daemon(host) == {**own, "live-restore": True}
    assert host.ssh("docker info --format '{{.LiveRestoreEnabled}} {{.Labels}}'") == "true [rack=7]"


def test_an_engine_that_is_stopped_is_started_and_nothing_is_fetched(ready):
    host = ready
    host.ssh("sudo service docker stop")
    assert provision(host) == ["Start the engine"]
    assert host.ssh("docker info --format '{{.LiveRestoreEnabled}}'") == "true"


def test_an_engine_is_brought_up_to_date_under_what_runs(ready):
    host = ready
    assert host.run("provision", "dev", "--deadline", "1h") == ExitCode.USAGE
    assert "--no-drain, --deadline and --message are about --upgrade" in host.said
    host.ssh(f"sudo sh -c {shlex.quote(MAKE)}")
    before, engine = host.ssh(STARTED), host.ssh("cat /var/run/docker.pid")
    assert provision(host) == [], "that is nothing that comes by itself"
    was = host.ssh(VERSION)
    newer = f"Upgrade docker.io, {was} to {was}{SUFFIX}"
    host.ssh("sudo apt-mark hold docker.io")
    assert provision(host, "--upgrade", "--check") == []
    assert noted(host) == ["docker.io stays as it is: it is held"]
    assert provision(host, "--upgrade") == [], "nor is what it says only said"
    assert noted(host) == ["docker.io stays as it is: it is held"]
    host.ssh("sudo apt-mark unhold docker.io")
    assert provision(host, "--upgrade", "--check") == [newer, "Upgrade the engine"]
    assert host.ssh(VERSION) == was
    assert newer in provision(host, "--upgrade")
    assert host.ssh(VERSION).endswith(SUFFIX)
    assert host.ssh("cat /var/run/docker.pid") != engine
    assert host.ssh(STARTED) == before
    assert provision(host, "--upgrade", "--no-drain") == [], "the second time nothing changes"


def test_the_firewall_closes_what_is_not_named_and_never_ssh(ready):
    host = ready
    serve = "import socket, time; s = [socket.create_server(('', p)) for p in (4001, 4999)]; time.sleep(600)"
    pid = host.ssh(f'nohup python3 -c "{serve}" >/dev/null 2>&1 & echo $!')
    until(lambda: open_ports(host) == {22, 4001, 4999}, "the ports being open")
    host.configure(firewall=True)
    assert provision(host)
    assert open_ports(host) == {22, 4001}
    assert provision(host) == []
    fresh = ["ssh", "-F", str(host.lab.ssh_config), "-o", "ControlPath=none", host.host.name, "echo in"]
    assert subprocess.run(fresh, capture_output=True, text=True).stdout == "in\n"
    host.ssh(f"kill {pid}")


def open_ports(host: LabHost) -> set[int]:
    found = set()
    for port in (22, 4001, 4999):
        try:
            with socket.create_connection((host.host.address, port), 2):
                found.add(port)
        except OSError:
            pass
    return found


def test_processes_need_no_host(host):
    host.configure(engine="process", hosts={"local": {"root": "here"}}, ssh_config=None)
    assert host.run("provision", "dev") == ExitCode.USAGE
    assert "nothing to provision" in host.said
    assert host.run("infra", "dev") == ExitCode.USAGE
    assert "rollout smoke dev" in host.said


def test_plain_ansible_goes_from_a_host_to_a_build_and_back(ready):
    """As docs/how-to/hosts.md says: the example inventory, and no rollout."""
    host = ready
    image = read_image(Path(host.build.path))
    assert image is not None
    config = load(host.folder / "rollout.yaml")
    send_image(DockerEngine(config, config.environment("dev")).host("dev-1"), Path(host.build.path), image)

    def play(book: str, generation: str, *words: str, ok: bool = True, **variables: str) -> str:
        values = {
            "terminals_build": host.build.id,
            "terminals_docker_image": image.tag,
            "terminals_docker_image_id": image.id,
            "terminals_generation": generation,
            **variables,
        }
        command = [str(Path(sys.executable).with_name("ansible-playbook"))]
        for inventory in (host.lab.inventory, ROOT / "playbooks" / "inventories" / "dev.yml"):
            command += ["--inventory", str(inventory)]
        command += [*words, "--extra-vars", json.dumps(values), f"{COLLECTION}.{book}"]
        environment = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(folder())}
        done = subprocess.run(
            command, cwd=host.folder, env=environment, capture_output=True, text=True, timeout=280
        )
        assert (done.returncode == 0) is ok, done.stdout + done.stderr
        return done.stdout

    def weights() -> dict[str, int]:
        status = json.loads(host.ssh("docker exec terminals-dev-manager-1 terminals ctl status"))
        return {entry["name"]: entry["weight"] for entry in status["generations"] if entry["workers"]}

    play("site", "g1")
    assert weights() == {"g1": 100}
    play("deploy", "g2")
    assert weights() == {"g1": 100, "g2": 0}
    play("shift", "g2")
    assert weights() == {"g1": 0, "g2": 100}
    assert "changed=0" in play("verify", "g2")
    assert "changed=0" in play("verify", "g2", "--check")
    play("verify", "g2", ok=False, terminals_docker_image_id=f"sha256:{64 * '0'}")
    play("verify", "g3", ok=False)
    play("rollback", "g2", terminals_previous="g1")
    assert weights() == {"g1": 100}
    assert "g2" not in host.ssh("docker ps --all --format '{{.Names}}'")
