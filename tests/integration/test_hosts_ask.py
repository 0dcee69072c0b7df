"""Two hosts that `rollout` has ask each other: certificates, ports, and the way from one to the other."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from terminals.client import Terminal
from terminals.protocol.backoff import Backoff
from terminals.protocol.ids import tag_of

from lab import hosts
from rollout.build.hosts import SshHost
from rollout.config import load
from rollout.engine.docker import DockerEngine
from rollout.engine.ssh import ssh_options
from rollout.errors import ExitCode
from tests.support import door
from tests.support.authority import Authority
from tests.support.docker import PROJECT
from tests.support.lab import TOKEN, VAULT, encrypted_vault, engine_of
from tests.support.lab_host import LabHost
from tests.support.resident import Resident
from tests.support.stack import until
from tests.support.visitor import Visitor

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
        *own, self.before_them = lab.hosts
        self.names = [host.name for host in own]
        self.known = {
            host.name: {"root": "/srv/terminals/dev", "address": host.address, "tag": f"ho0{number}"}
            for number, host in enumerate(own, 1)
        }
        encrypted_vault(folder)
        super().__init__(
            folder, lab, build, hosts=self.known, vault=VAULT, checks=["smoke", "infra"], gates=[SMOKE]
        )

    def ask_each_other(self, **more: Any) -> None:
        """Say so in the configuration."""
        self.configure(
            hosts={name: {**self.known[name], "region": name} for name in self.names},
            listen={**LISTEN, "peers": 4140},
            authority={"certificate": "hosts-ca.pem", "key": "hosts-ca.key"},
            **more,
        )

    def have_a_door(self, **said: Any) -> None:
        """Say so in the configuration."""
        there = {"root": "/srv/door", "address": self.before_them.address}
        files = {"certificate": "cert.pem", "key": "key.pem", "image": "haproxy-of:debian"}
        self.ask_each_other(door={"name": door.NAME, "hosts": {"staging-1": there}, **files, **said})

    def engine(self) -> DockerEngine:
        return engine_of(self.folder / "rollout.yaml", "dev")

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
    project = Two(tmp_path_factory.mktemp("two"), the_lab.fresh(dev=2, staging=1), built[0])
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
    assert two.run("apply", "dev") == ExitCode.REFUSED, two.said
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


@pytest.fixture(scope="module")
def authority(two) -> Authority:
    made = door.authority(two.folder)
    (two.folder / "key.pem").chmod(0o600)
    return made


@pytest.fixture
def behind_a_door(two, authority, monkeypatch) -> Authority:
    """One address before both, where it is one day; gives whose certificate is to be had there."""
    door.resolve(monkeypatch, two.before_them.address)
    return authority


def by_the_door(authority: Authority, tag: str = "", **options: Any) -> Terminal:
    name = f"h-{tag}.{door.NAME}" if tag else door.NAME
    usual = {"token": TOKEN, "ca": authority.ca, "backoff": Backoff(0.05, 0.5)}
    return Terminal(f"wss://{name}/ws/system", **{**usual, **options})


def the_door(two: Two, *words: str) -> str:
    """What the engine of the door's host says to a command."""
    return (
        SshHost("staging-1", options=ssh_options(two.lab.ssh_config)).run(["docker", *words]).output.strip()
    )


DOOR = f"{PROJECT}-dev-door-door-1"


def test_before_both_there_is_one_address_and_each_is_found_by_it(two, somebody, behind_a_door):
    two.ask_each_other()
    assert two.run("door", "dev") == ExitCode.USAGE
    assert "dev has no door; say its name" in two.said
    host = SshHost("staging-1", options=ssh_options(two.lab.ssh_config))
    assert host.run(["docker", "import", "-", "haproxy-of:debian"], [door.image()]).status == 0
    two.have_a_door()
    assert two.run("apply", "dev") == 0, two.said
    assert two.run("open", "dev", "--no-browser") == 0, two.said
    first, *others = two.printed.splitlines()
    assert first.startswith(f"https://{door.NAME}/#ticket=") and len(others) == 2
    assert two.run("door", "dev", "--check", "--output", "json") == 0, two.said
    assert {"Write where people are led", "Start the door"} <= set(json.loads(two.printed)[0]["changed"])
    assert the_door(two, "ps", "--quiet") == ""
    assert two.run("door", "dev") == 0, two.said
    for number, name in enumerate(two.names, 1):
        with by_the_door(behind_a_door, f"ho0{number}") as terminal:
            assert tag_of(terminal.session) == f"ho0{number}"
            terminal.send(b"hostname; echo at-$((1+1))\n")
            assert name.encode() in terminal.expect(rb"at-2")
    # A session at one, asked for at the door's name until it has led to the other.
    with by_the_door(behind_a_door, "ho02") as there:
        there.close()
        for _ in range(4):
            again = by_the_door(behind_a_door, session=there.session)
            assert again.open().status == "resumed"
            again.close()
        again.open()
    assert two.run("doctor", "dev") == 0, two.said
    assert f"staging-1: door: leads to {', '.join(two.names)}" in two.said


def test_again_there_is_nothing_to_do(two, somebody, behind_a_door):
    for words in (["--check"], []):
        assert two.run("door", "dev", "--output", "json", *words) == 0, two.said
        assert json.loads(two.printed) == [{"host": "staging-1", "changed": [], "noted": []}], two.said


def test_another_certificate_is_seen_by_nobody_who_is_there(two, somebody, behind_a_door):
    there = Resident(by_the_door(behind_a_door))
    before = the_door(two, "inspect", "--format", "{{.State.Pid}}", DOOR)
    behind_a_door.issue()
    (two.folder / "key.pem").chmod(0o600)
    assert two.run("door", "dev", "--check", "--output", "json") == 0, two.said
    assert json.loads(two.printed)[0]["changed"] == ["Put it in force"]
    assert two.run("doctor", "dev") == ExitCode.CHECKS_FAILED, two.said
    assert "shows another certificate than" in two.said
    assert two.run("door", "dev", "--output", "json") == 0, two.said
    changed = json.loads(two.printed)[0]["changed"]
    assert changed == ["Put it in force", "Have it read what has changed"]
    assert two.run("doctor", "dev") == 0, two.said
    assert the_door(two, "inspect", "--format", "{{.State.Pid}}", DOOR) == before
    assert there.terminal.stats.reconnects == 0
    there.leave()


def test_when_it_dies_it_comes_back_and_so_does_everybody(two, somebody, behind_a_door):
    there = Resident(by_the_door(behind_a_door))
    pid = the_door(two, "inspect", "--format", "{{.State.Pid}}", DOOR)
    hosts.ssh(two.lab, two.before_them, f"sudo kill -KILL {pid}")
    until(lambda: there.terminal.stats.reconnects == 1, "there again")
    there.leave()


def test_a_host_knows_where_people_come_from(two, somebody, behind_a_door):
    page = Visitor(f"https://h-ho01.{door.NAME}:443/", ca=behind_a_door.ca)
    status, _ = page.ask("GET", "api/sessions", X_Terminals="page", Authorization="Bearer wrong")
    assert status == 401
    own = str(two.before_them.address).rpartition(".")[0] + ".1"
    until(lambda: f"{own} presented a wrong credential" in logs_of_web(two), "who it was")


def logs_of_web(two: Two) -> str:
    name = two.names[0]
    (web,) = two.at(name, "ps", "--format", "{{.Names}}", "--filter", "name=-web-1").split()
    answer = two.engine().host(name).run(["docker", "logs", web])
    return answer.output + answer.errors


def test_a_wrong_certificate_changes_nothing(two, somebody, behind_a_door):
    two.have_a_door(name="other.test")
    assert two.run("door", "dev") == ExitCode.USAGE
    assert "cert.pem is not for other.test; get one for other.test and *.other.test" in two.said
    two.have_a_door()
    assert two.run("doctor", "dev") == 0, two.said


def test_an_engine_that_does_not_answer_may_have_a_door(two, somebody, behind_a_door):
    hosts.ssh(two.lab, two.before_them, "sudo service docker stop")
    try:
        assert two.run("door", "dev", "--remove") == ExitCode.ENGINE
        assert "Look whether it is there" in two.said
        assert "door.yaml" in hosts.ssh(two.lab, two.before_them, "sudo ls /srv/door"), "its files stay"
    finally:
        hosts.ssh(two.lab, two.before_them, "sudo service docker start")
        answers = "sudo docker info >/dev/null 2>&1 && echo yes; true"
        until(lambda: hosts.ssh(two.lab, two.before_them, answers) == "yes", "its engine is back", 30)


def test_taken_away_it_leaves_nothing(two, somebody, behind_a_door):
    assert two.run("door", "dev", "--remove") == 0, two.said
    assert the_door(two, "ps", "--all", "--quiet") == ""
    assert "No such file" in hosts.ssh(two.lab, two.before_them, "ls /srv/door 2>&1; true")
    assert two.run("door", "dev", "--remove", "--output", "json") == 0, two.said
    assert json.loads(two.printed) == [{"host": "staging-1", "changed": [], "noted": []}]


def test_taken_back_they_ask_no_more_and_no_shell_has_ended(two, somebody):
    one = two.names[0]
    two.configure()
    assert two.run("apply", "dev") == 0, two.said
    assert two.at(one, "inspect", "--format", "{{.HostConfig.NetworkMode}}", MANAGER).strip() == "none"
    assert set(two.heard(one).values()) <= {"here", "not asked"}
    somebody.leave()
