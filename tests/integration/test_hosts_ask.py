"""Two hosts that `rollout` has ask each other: certificates, ports, and the way from one to the other."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from terminals.protocol.ids import tag_of

from rollout.config import load
from rollout.engine.docker import DockerEngine
from rollout.errors import ExitCode
from tests.support.docker import PROJECT
from tests.support.lab import VAULT, encrypted_vault
from tests.support.lab_host import LabHost
from tests.support.resident import Resident
from tests.support.stack import until

pytestmark = [
    pytest.mark.docker("lab"),
    pytest.mark.in_order,
    pytest.mark.slow("two hosts of a lab, and a deployment to them"),
]

MANAGER = f"{PROJECT}-dev-manager-1"
LISTEN = {"host": "0.0.0.0", "system": 4001, "claude": 4002, "web": 4110}
SMOKE = {"metric": "smoke.pass_ratio", "op": ">=", "threshold": 1}


STRANGER = """
import socket, ssl
context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
secure = context.wrap_socket(socket.create_connection((%r, 4140), 5))
secure.sendall(b"GET / HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")
print(secure.recv(100))
"""


class Two(LabHost):
    """Both hosts of a lab, in one environment, with one token; they do not ask each other yet."""

    def __init__(self, folder: Path, lab: Any, build: Any) -> None:
        self.names = [host.name for host in lab.hosts]
        self.known = {
            host.name: {"root": "/srv/terminals/dev", "address": host.address, "tag": f"ho0{number}"}
            for number, host in enumerate(lab.hosts, 1)
        }
        encrypted_vault(folder)
        super().__init__(
            folder, lab, build, hosts=self.known, vault=VAULT, checks=["smoke", "infra"], gates=[SMOKE]
        )

    def ask_each_other(self) -> None:
        """Say so in the configuration."""
        self.configure(
            hosts={name: {**self.known[name], "region": name} for name in self.names},
            listen={**LISTEN, "peers": 4140},
            authority={"certificate": "hosts-ca.pem", "key": "hosts-ca.key"},
        )

    def engine(self) -> DockerEngine:
        config = load(self.folder / "rollout.yaml")
        return DockerEngine(config, config.environment("dev"))

    def at(self, name: str, *words: str) -> str:
        """What the engine of a host says to a command."""
        return self.engine().host(name).run(["docker", *words]).output

    def heard(self, name: str) -> dict[str, str]:
        """By host: how it stands with it, says this one."""
        said = json.loads(self.at(name, "exec", MANAGER, "terminals", "ctl", "hosts"))
        return {entry["name"]: entry["standing"] for entry in said["items"]}

    def wait(self, name: str, other: str, standing: str) -> None:
        until(lambda: self.heard(name).get(other) == standing, f"{other} being {standing} to {name}", 60)


@pytest.fixture(scope="module")
def two(built, the_lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Two]:
    project = Two(tmp_path_factory.mktemp("two"), the_lab.fresh(dev=2), built[0])
    assert project.run("provision", "dev") == 0, project.said
    assert project.run("deploy", "dev") == 0, project.said
    yield project


@pytest.fixture(scope="module")
def somebody(two) -> Resident:
    """At work at the first of them from before they knew of each other to the end."""
    return Resident(two.engine().targets()[0].terminal())


def test_without_an_authority_nothing_is_begun(two, somebody):
    assert two.run("certify", "dev") == ExitCode.USAGE
    assert "say listen.peers and authority first" in two.said
    two.ask_each_other()
    assert two.run("apply", "dev") == ExitCode.REFUSED
    assert "make the authority with rollout certify" in two.said
    assert (
        two.at(two.names[0], "inspect", "--format", "{{.HostConfig.NetworkMode}}", MANAGER).strip() == "none"
    )


def test_they_are_certified_and_then_ask_each_other_under_live_shells(two, somebody):
    one, other = two.names
    assert two.run("certify", "dev", "--output", "json") == 0, two.said
    said = json.loads(two.printed)
    assert (said["made"], [host["brought"] for host in said["hosts"]]) == (True, [True, True])
    assert (two.folder / "hosts-ca.key").stat().st_mode & 0o777 == 0o600
    assert two.run("certify", "dev", "--output", "json") == 0, two.said
    again = json.loads(two.printed)
    assert (again["made"], [host["brought"] for host in again["hosts"]]) == (False, [False, False])
    assert [host["ends"] for host in again["hosts"]] == [host["ends"] for host in said["hosts"]]
    assert two.run("apply", "dev") == 0, two.said
    two.wait(one, other, "there")
    two.wait(other, one, "there")
    assert two.run("status", "dev") == 0
    assert "declared otherwise" not in two.said


def test_the_way_from_one_host_to_a_session_at_the_other_is_found(two, somebody):
    one, other = two.engine().targets()
    with other.terminal() as there:
        assert tag_of(there.session) == "ho02"
        there.send(b"mark=7\n")
        there.close()
    with one.terminal(session=there.session) as here:
        here.send(b"echo [$((mark + 1))]\n")
        assert here.expect(rb"\[(\d+)\]").endswith(b"[8]")
        here.close(kill=True)


def test_the_engine_s_port_is_the_managers_alone_and_closed_to_who_has_no_certificate(two, somebody):
    assert two.run("infra", "dev") == 0, two.said
    address = two.known[two.names[1]]["address"]
    # From the other host, by a program that has none.
    two.ssh(f"cat > /tmp/ask.py <<'END'\n{STRANGER % address}\nEND")
    said = two.ssh("python3 /tmp/ask.py 2>&1 | tail -n 1")
    assert "required" in said or said == "b''", said  # an alert, or no answer at all


def test_the_doctor_says_who_is_heard_and_who_is_not(two, somebody):
    one, other = two.names
    assert two.run("doctor", "dev") == 0, two.said
    assert f"dev/{one}: other hosts: hears {other}" in two.said
    assert "dev authority: good until" in two.said
    two.at(other, "stop", MANAGER)
    two.wait(one, other, "silent")
    assert two.run("doctor", "dev") == ExitCode.CHECKS_FAILED, two.said
    assert f"host {other}: is not heard for" in two.said
    two.at(other, "start", MANAGER)
    two.wait(one, other, "there")


def test_certificates_are_renewed_under_them(two, somebody):
    one, other = two.names
    config = load(two.folder / "rollout.yaml")
    for path in config.certificates("dev").iterdir():
        path.unlink()
    pid = two.at(one, "inspect", "--format", "{{.State.Pid}}", MANAGER)
    assert two.run("certify", "dev", "--output", "json") == 0, two.said
    assert all(host["brought"] for host in json.loads(two.printed)["hosts"])
    renewed = "certificates for the other hosts were renewed"
    for name in two.names:
        until(lambda at=name: renewed in docker_logs(two, at), f"renewed at {name}", 30)
    two.wait(one, other, "there")
    two.wait(other, one, "there")
    assert two.at(one, "inspect", "--format", "{{.State.Pid}}", MANAGER) == pid


def docker_logs(two: Two, name: str) -> str:
    answer = two.engine().host(name).run(["docker", "logs", MANAGER])
    return answer.output + answer.errors


def test_taken_back_they_ask_no_more_and_no_shell_has_ended(two, somebody):
    one = two.names[0]
    two.configure()
    assert two.run("apply", "dev") == 0, two.said
    assert two.at(one, "inspect", "--format", "{{.HostConfig.NetworkMode}}", MANAGER).strip() == "none"
    assert set(two.heard(one).values()) <= {"here", "not asked"}
    somebody.leave()
