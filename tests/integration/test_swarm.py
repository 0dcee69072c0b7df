"""Hosts in two regions that are nodes of one Swarm: it has the generations, and never the shells."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from lab import hosts as lab_hosts
from rollout.engine.swarm import SwarmEngine
from rollout.errors import EngineError, ExitCode
from tests.support.docker import PROJECT
from tests.support.lab import VAULT, encrypted_vault, engine_of, serving
from tests.support.lab_host import LabHost
from tests.support.newer import MAKE, SUFFIX, VERSION
from tests.support.resident import Resident
from tests.support.stack import until

pytestmark = [
    pytest.mark.docker("lab 2"),
    pytest.mark.in_order,
    pytest.mark.slow("five hosts of a lab, a Swarm of them, and deployments to it"),
]

ENV = f"{PROJECT}-dev"
GATES = [
    *({"metric": f"{suite}.pass_ratio", "op": ">=", "threshold": 1} for suite in ("smoke", "infra")),
    *({"metric": f"load.{what}", "op": "==", "threshold": 0}
      for what in ("bytes_lost", "bytes_doubled", "commands_twice", "loops")),
]  # fmt: skip
CLOSED = """rules=$(sudo iptables -S INPUT); echo "$rules" | grep -q -- '-P INPUT DROP' || exit
for of in 'tcp 2377' 'tcp 7946' 'udp 7946'; do
    set -- $of; echo "$rules" | grep -q -- "-p $1 .*--dport $2 .*-j ACCEPT" || exit; done"""
"""Whether a host's firewall lets in what the nodes of a Swarm talk by, and not all there is."""
CUTS = [25, *map(int, os.environ.get("CUTS", "").split())]
"""Seconds. After the first a Swarm with its usual heartbeat has given a node up, and ends all that it ran
there. Longer ones, ``CUTS="60 600"``, are tried by hand."""


class Four(LabHost):
    """Four hosts of a lab in one environment, of two regions, and one more that is not among them yet."""

    def __init__(self, folder: Path, lab: Any, build: Any) -> None:
        *self.names, self.new = [host.name for host in lab.hosts]
        encrypted_vault(folder)
        super().__init__(
            folder,
            lab,
            build,
            engine="swarm",
            hosts=self.known(lab, self.names),
            vault=VAULT,
            checks=["smoke", "infra"],
            canary=[{"weight": 50, "hold": "2s"}, {"weight": 100, "hold": "1s"}],
            load={"users": 20, "spawn_rate": 10, "cut_every": "4s"},
            gates=GATES,
            max_hold="60s",
            firewall=True,
        )

    def known(self, lab: Any, names: Sequence[str]) -> dict[str, Any]:
        return {
            host.name: {
                "root": "/srv/terminals/dev",
                "address": host.address,
                "tag": f"ho0{number}",
                "region": "eu" if number < 4 else "us",
            }
            for number, host in enumerate(lab.hosts, 1)
            if host.name in names
        }

    def engine(self) -> SwarmEngine:
        return cast(SwarmEngine, engine_of(self.folder / "rollout.yaml", "dev"))

    def on(self, name: str, script: str) -> int:
        """How a script ends on a host."""
        return self.engine().host(name).run(["sh", "-c", script]).status

    def at(self, name: str, *words: str) -> str:
        """What the engine of a host says to a command."""
        return self.engine().host(name).run(["docker", *words]).output

    def containers(self, name: str, generation: str) -> set[str]:
        """Ids of those of a generation that run on a host."""
        which = f"label=com.docker.compose.project={ENV}-{generation}"
        return set(self.at(name, "ps", "--quiet", "--filter", which).split())

    def services(self) -> set[str]:
        """Names of all that the Swarm runs."""
        return {service.name for service in self.engine()._swarm.services()}

    def serving(self) -> set[tuple[str, ...]]:
        """Which generations have traffic, over the hosts: one entry where they agree."""
        return serving(self.engine())

    @property
    def generation(self) -> str:
        """The one that has all traffic, on all hosts."""
        ((name,),) = self.serving()
        return name

    @contextlib.contextmanager
    def dropping(self, name: str, *rules: str) -> Iterator[None]:
        """While a host's packets that match are dropped."""
        try:
            for rule in rules:
                assert self.on(name, f"sudo iptables -I {rule} -j DROP") == 0
            yield
        finally:
            for rule in rules:
                self.on(name, f"sudo iptables -D {rule} -j DROP")


@pytest.fixture(scope="module")
def four(built, the_lab, tmp_path_factory: pytest.TempPathFactory) -> Four:
    return Four(tmp_path_factory.mktemp("swarm"), the_lab.fresh(dev=5), built[0])


@pytest.fixture(scope="module")
def residents(four) -> dict[str, Resident]:
    """At work on each host from the first build to the end."""
    return {target.host: Resident(target.terminal()) for target in four.engine().targets()}


def test_setting_hosts_up_makes_one_swarm_of_them(four):
    assert four.run("provision", "dev", "--check") == 0, four.said
    assert "Make a Swarm" in four.said
    assert four.at(four.names[0], "info", "--format", "{{.Swarm.LocalNodeState}}").strip() in ("", "inactive")
    assert four.run("deploy", "dev") == ExitCode.REFUSED, four.said
    assert "rollout provision dev" in four.said
    assert four.run("provision", "dev") == 0, four.said
    nodes = {node.host: node for node in four.engine()._swarm.nodes()}
    assert [nodes[name].manager for name in four.names] == [True, True, True, False]
    assert [nodes[name].labels["region"] for name in four.names] == ["eu", "eu", "eu", "us"]
    cluster = json.loads(four.at(four.names[0], "info", "--format", "{{json .Swarm.Cluster.Spec}}"))
    assert cluster["Dispatcher"]["HeartbeatPeriod"] == 300 * 10**9
    for name in four.names:
        assert four.on(name, CLOSED) == 0
    assert four.run("provision", "dev", "--output", "json") == 0, four.said
    assert [host["changed"] for host in json.loads(four.printed)] == [[]] * 4


def test_generations_are_services_and_what_holds_the_shells_is_none(four):
    assert four.run("deploy", "dev") == 0, four.said
    assert four.serving() == {("g1",)}
    assert four.services() == {f"{ENV}-g1-worker-1", f"{ENV}-g1-web-1"}
    label = '{{index .Config.Labels "com.docker.swarm.service.id"}}'
    for name in four.names:
        assert len(four.containers(name, "g1")) == 2
        for part in ("holder", "manager"):
            assert four.at(name, "inspect", "--format", label, f"{ENV}-{part}-1").strip() == ""


def test_a_build_goes_from_region_to_region_and_back_under_load(four, residents):
    assert four.run("deploy", "dev") == 0, four.said
    assert four.serving() == {("g2",)}
    assert four.services() == {f"{ENV}-{g}-{part}-1" for g in ("g1", "g2") for part in ("worker", "web")}
    assert four.run("rollback", "dev") == 0, four.said
    assert four.serving() == {("g1",)}
    assert four.run("infra", "dev") == 0, four.said
    assert all(resident.terminal.stats.skipped == 0 for resident in residents.values())


def test_a_worker_that_dies_for_good_is_replaced_by_itself(four, residents):
    name = four.names[3]
    before, stats = four.containers(name, "g1"), residents[name].terminal.stats
    reconnects = stats.reconnects
    assert four.on(name, f"docker rm --force {' '.join(before)}") == 0
    until(lambda: len(four.containers(name, "g1") - before) == 2, "others in their place", 60)
    until(lambda: stats.reconnects == reconnects + 1, "who was served by it being served by another", 60)


@pytest.mark.parametrize("seconds", CUTS)
def test_a_host_cut_off_from_the_others_keeps_all_that_runs_there(four, residents, seconds):
    name = four.names[3]
    reconnects, before = residents[name].terminal.stats.reconnects, four.containers(name, "g1")
    others = [four.lab.host(other).address for other in four.names if other != name]
    knock = f"timeout 2 bash -c '</dev/tcp/{others[0]}/2377'"
    assert four.on(name, knock) == 0
    with four.dropping(name, *(f"{way} {other}" for other in others for way in ("INPUT -s", "OUTPUT -d"))):
        assert four.on(name, knock) != 0
        time.sleep(seconds)
        residents[name].terminal.send(b"echo apart-$((kept+2))\n")
    # It hears of the others again: what they want of it, it does.
    image = four.at(name, "inspect", "--format", "{{.Image}}", f"{ENV}-manager-1").strip()
    where = f"node.labels.{four.engine()._swarm.labels.host}=={name}"
    new = f"after-{seconds}"
    words = ["service", "create", "--detach", "--no-resolve-image", "--name", new, "--constraint", where]
    four.at(four.names[0], *words, "--entrypoint", "sleep", image, "1000")
    until(lambda: f"{new}.1." in four.at(name, "ps"), "what was asked of it since", 120)
    four.at(four.names[0], "service", "rm", new)
    assert four.containers(name, "g1") == before
    assert residents[name].terminal.stats.reconnects == reconnects


def test_the_loss_of_the_leader_in_the_middle_stops_nothing(four, residents):
    swarm = four.engine()._swarm

    def leader() -> str:
        said = swarm.tell("docker", "node", "ls", "--format", "{{.ID}} {{.ManagerStatus}}")
        found = next(line.split()[0] for line in said.splitlines() if line.endswith("Leader"))
        return next(node.host for node in swarm.nodes() if node.id == found)

    def another() -> bool:
        try:
            return leader() != first
        except EngineError:  # No leader for the moment: a busy machine's vote takes longer.
            return False

    first = leader()
    others = [four.lab.host(name).address for name in four.names if name != first]
    rules = [f"{way} {other} -p tcp --dport 2377" for other in others for way in ("INPUT -s", "OUTPUT -d")]
    results: list[int] = []
    process = threading.Thread(target=lambda: results.append(four.run("deploy", "dev")))
    process.start()
    until(lambda: f"{ENV}-g4-worker-1" in four.services() or not process.is_alive(), "the new services", 300)
    try:
        with four.dropping(first, *rules):
            until(another, "another leader", 240)
            process.join(900)
    finally:  # The lease goes with it, whatever was found: the next test wants it.
        process.join(900)
    assert results == [0], four.said
    assert four.serving() == {("g4",)}
    # What retired before went with the start.
    assert {name.removeprefix(f"{ENV}-").partition("-")[0] for name in four.services()} == {"g1", "g4"}
    # The one that led is one of them again.
    until(lambda: "Leader" in four.at(first, "node", "ls"), "its hearing of the new one", 120)


def test_a_host_that_joins_gets_what_serves(four, residents):
    before = four.generation
    four.environment["hosts"] = four.known(four.lab, [*four.names, four.new])
    four.configure()
    assert four.run("provision", "dev") == 0, four.said
    nodes = {node.host: node for node in four.engine()._swarm.nodes()}
    assert not nodes[four.new].manager, "three are enough"
    assert four.run("deploy", "dev") == ExitCode.REFUSED, four.said
    assert f"{four.new}: not on {before}" in four.said
    assert four.run("apply", "dev") == 0, four.said
    assert four.generation == before
    assert len(four.containers(four.new, before)) == 2
    assert four.run("infra", "dev") == 0, four.said


def test_a_host_that_has_left_is_found_and_comes_back_under_its_shells(four, residents):
    name = four.names[3]
    assert four.on(name, "docker swarm leave") == 0
    assert four.run("infra", "dev") == ExitCode.CHECKS_FAILED, four.said
    assert "host is a node of the swarm" in four.said
    assert "it is inactive: rollout provision makes it one" in " ".join(four.said.split())
    assert four.run("provision", "dev") == 0, four.said
    assert len([node for node in four.engine()._swarm.nodes() if node.host == name]) == 1
    generation = four.generation
    until(lambda: len(four.containers(name, generation)) == 2, "what the others serve", 120)
    assert four.run("infra", "dev") == 0, four.said


def test_a_session_manager_of_the_swarm_s_is_found(four, residents):
    name, manager = four.names[2], f"{ENV}-manager-1"
    image = four.at(name, "inspect", "--format", "{{.Image}}", manager).strip()
    labels = {
        "com.docker.compose.project": ENV,
        "com.docker.compose.service": "manager",
        "com.docker.swarm.service.id": "theirs",
    }
    options = " ".join(f"--label {key}={value}" for key, value in labels.items())
    run = f"docker run --detach --name {manager} {options} --network none --entrypoint sleep {image} 1d"
    assert four.on(name, f"docker rename {manager} aside && {run}") == 0
    try:
        assert four.run("infra", "dev", "--output", "json") == ExitCode.CHECKS_FAILED, four.said
    finally:
        assert four.on(name, f"docker rm --force {manager}; docker rename aside {manager}") == 0
    found = {
        one["name"]: one["detail"]
        for one in json.loads(four.printed)
        if one["group"] == name and not one["ok"]
    }
    assert found["swarm has what may end and nothing else"] == f"a Swarm may end: {manager}", found


def test_an_engine_is_brought_up_to_date_where_nobody_works_any_more(four, residents):
    """The shells of a node of a Swarm end with its engine."""
    name, before = four.new, four.generation
    assert four.on(name, f"sudo sh -c {shlex.quote(MAKE)}") == 0
    nothing = "rm -f /etc/apt/sources.list.d/*; : > /etc/apt/sources.list"
    assert {four.on(other, f"sudo sh -c '{nothing}'") for other in four.names} == {0}
    target = next(target for target in four.engine().targets() if target.host == name)
    with target.terminal() as somebody:
        upgrade = ("provision", "dev", "--upgrade", "--deadline", "1h")
        results: list[int] = []
        process = threading.Thread(target=lambda: results.append(four.run(*upgrade)))
        process.start()
        until(lambda: four.engine().status()[name]["host_state"] == "draining", "its being emptied", 400)
        somebody.send(b"echo here-$((1+1))\n")
        somebody.expect(b"here-2")
        assert four.on(name, f"{VERSION} | grep -F {SUFFIX}") == 1, "nobody's shell has ended with its engine"
        somebody.send(b"exit\n")
        until(lambda: somebody.pump(0.05) or somebody.exit_status is not None, "the end of the shell")
    process.join(600)
    assert results == [0], four.said
    assert four.on(name, f"{VERSION} | grep -F {SUFFIX}") == 0
    status = four.engine().status()
    assert {entry["host_state"] for entry in status.values()} == {"ready"}
    assert len(four.containers(name, before)) == 2
    with target.terminal() as somebody:
        somebody.send(b"echo anew-$((1+1))\n")
        somebody.expect(b"anew-2")
        somebody.close(kill=True)
    assert four.run("infra", "dev") == 0, four.said


def test_what_has_the_shells_volumes_is_not_the_swarm_s(four, residents):
    image = four.at(four.names[0], "inspect", "--format", "{{.Image}}", f"{ENV}-manager-1").strip()
    mount = f"type=volume,source={ENV}_state,destination=/var/lib/terminals"
    words = ["service", "create", "--detach", "--quiet", "--no-resolve-image", "--replicas", "0"]
    four.at(four.names[0], *words, "--name", "theirs", "--mount", mount, image, "manager")
    try:
        with pytest.raises(EngineError, match=rf"the Swarm runs the service theirs \({ENV}_state\)"):
            four.engine()._swarm.ours()
        assert four.run("provision", "dev") == ExitCode.ENGINE
        assert "docker service rm theirs" in four.said
    finally:
        four.at(four.names[0], "service", "rm", "theirs")


def test_all_shells_were_there_all_the_time(four, residents):
    for resident in residents.values():
        resident.leave()


def test_a_teardown_leaves_the_swarm_and_nothing_in_it(four):
    assert four.run("teardown", "dev", "--yes") == 0, four.said
    assert four.services() == set()
    for name in (*four.names, four.new):
        assert four.at(name, "ps", "--all", "--quiet", "--filter", f"name={ENV}").split() == []
        volumes = four.at(name, "volume", "ls", "--quiet", "--filter", f"name={ENV}_").split()
        assert volumes == [], "token and secrets are in them"
    nodes = four.engine()._swarm.nodes()
    assert len(nodes) == len(lab_hosts.status(four.lab))
    assert [key for node in nodes for key in node.labels if ".g" in key] == []
