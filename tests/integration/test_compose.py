"""The Compose files on a real engine: a terminal at once, and a generation beside another."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from docker.errors import APIError
from terminals.client import Terminal
from terminals.protocol.backoff import Backoff

from tests.support.docker import COMPOSE, Project, client
from tests.support.ports import free_ports
from tests.support.stack import until

pytestmark = pytest.mark.docker

NAME = "terminals-test"
NUMBERED = b"""bind 'set enable-bracketed-paste off'; PS1=; stty -echo; n=0
r() { n=$((n+1)); echo "<$1:$n>"; }; echo ready-$((1+1))
"""


@pytest.fixture(scope="module")
def ports():
    return dict(zip(("system", "claude", "web"), free_ports(3), strict=True))


@pytest.fixture(scope="module")
def variables(built, ports, tmp_path_factory):
    config = json.loads((COMPOSE / "manager.json").read_text())
    for name, port in ports.items():
        config["listeners"][name]["port"] = port
    config["stable_seconds"] = 0
    path = tmp_path_factory.mktemp("config") / "manager.json"
    path.write_text(json.dumps(config))
    path.parent.chmod(0o755)
    monitor = json.loads((COMPOSE / "monitor.json").read_text())
    for name, door in monitor["profiles"].items():
        door["url"] = f"ws://holder:{ports[name]}/"
    path.with_name("monitor.json").write_text(json.dumps({**monitor, "every": 2}))
    names = {f"TERMINALS_{name.upper()}_PORT": str(port) for name, port in ports.items()}
    return {
        **names,
        "TERMINALS_IMAGE": built[1].tag,
        "TERMINALS_MANAGER_MEMORY": "400m",
        "TERMINALS_MANAGER_CONFIG": str(path),
        "TERMINALS_MONITOR_CONFIG": str(path.with_name("monitor.json")),
    }


@pytest.fixture(scope="module")
def project(variables):
    project = Project(NAME, "compose.yaml", **variables, TERMINALS_BUILD="b1")
    try:
        project("up", "--detach", "--wait")
        yield project
    finally:
        project("down", "--volumes", "--timeout", "5")


def ctl(project: Project, *arguments: str) -> dict:
    """Ask the session manager, inside its container."""
    done = project.container("manager").exec_run(["terminals", "ctl", *arguments])
    assert done.exit_code == 0, done.output
    return json.loads(done.output)


def generation(project: Project, name: str) -> dict:
    return next((entry for entry in ctl(project, "status")["generations"] if entry["name"] == name), {})


def peer(project: Project, role: str) -> dict:
    """What the manager knows of the process in the container; its pid is that inside."""
    host = project.container(role).id[:12]
    return until(
        lambda: next((entry for entry in ctl(project, "peers")["items"] if entry["host"] == host), None), role
    )


@pytest.fixture
def terminal(project, ports):
    url, token = f"ws://127.0.0.1:{ports['system']}/", project.token()
    with Terminal(url, token=token, backoff=Backoff(base=0.05, cap=0.2), stable_after=0) as terminal:
        yield terminal


def test_one_command_gives_a_login_shell(terminal):
    terminal.send(b"echo [$((6 * 7))] $(id -un) $PWD $TERM\n")
    terminal.expect(rb"\[42\] terminals /home/terminals xterm-256color")
    terminal.send(
        b"shopt -q login_shell && echo login-$((1+1)); touch ~/kept /tmp/kept && echo kept-$((1+1))\n"
    )
    terminal.expect(rb"login-2")
    terminal.expect(rb"kept-2")
    # Nothing of the services' own settings is in people's shells.
    terminal.send(b"env | grep -c ^TERMINALS_; echo none-$((1+1))\n")
    terminal.expect(rb"\b0\r\nnone-2")


@pytest.mark.parametrize("service", ["worker", "web"])
def test_processes_have_no_network_no_capabilities_and_no_root(project, service):
    container = project.container(service)
    settings = container.attrs["HostConfig"]
    assert settings["NetworkMode"] == "none"
    assert settings["ReadonlyRootfs"]
    assert settings["CapDrop"] == ["ALL"]
    assert settings["SecurityOpt"] == ["no-new-privileges:true"]
    assert settings["Memory"] and settings["PidsLimit"]
    status = container.exec_run(f"cat /proc/{peer(project, service)['pid']}/status").output.decode()
    assert "Uid:\t10001\t10001\t10001\t10001" in status
    assert "CapBnd:\t0000000000000000" in status
    interfaces = container.exec_run("cat /proc/net/dev").output.decode().splitlines()[2:]
    assert [line.split(":")[0].strip() for line in interfaces] == ["lo"]
    mounts = [(mount["Destination"], mount["RW"]) for mount in container.attrs["Mounts"]]
    assert mounts == [("/run/terminals", False)]


def test_ports_and_network_are_the_holder_s_and_the_manager_has_neither(project, ports):
    manager, holder = project.container("manager"), project.container("holder")
    assert manager.attrs["HostConfig"]["NetworkMode"] == "none"
    interfaces = manager.exec_run("cat /proc/net/dev").output.decode().splitlines()[2:]
    assert [line.split(":")[0].strip() for line in interfaces] == ["lo"]
    assert not manager.attrs["NetworkSettings"]["Ports"]
    published = holder.attrs["NetworkSettings"]["Ports"]
    assert {int(one["HostPort"]) for bound in published.values() for one in bound or ()} == {*ports.values()}
    # Whoever has a shell sees nothing of the manager but its socket.
    mounts = {mount["Destination"]: mount["RW"] for mount in holder.attrs["Mounts"]}
    assert mounts == {"/run/terminals": True, "/home/terminals": True}
    for container in (manager, holder):
        settings = container.attrs["HostConfig"]
        assert settings["ReadonlyRootfs"] and settings["PidsLimit"]
        assert (settings["CapDrop"], settings["SecurityOpt"]) == (["ALL"], ["no-new-privileges:true"])
        assert settings["RestartPolicy"]["Name"] == "unless-stopped"


def test_holder_starts_and_buries_the_shells(project, terminal):
    terminal.send(b"(sleep 0.1 &) ; echo [$PPID]; exit 3\n")
    holder = int(re.search(rb"\[(\d+)\]", terminal.expect(rb"\[\d+\]"))[1])
    container = project.container("holder")
    assert ctl(project, "status")["holder"]["pid"] == holder
    assert b"holder" in container.exec_run(f"cat /proc/{holder}/cmdline").output
    until(lambda: terminal.pump(0.1) or terminal.exit_status is not None, "its end")
    assert terminal.exit_status == 3

    def dead() -> list[str]:
        # Of the container as a whole: tini buries those whose parents are gone.
        states = container.exec_run("ps -e -o stat=,comm=").output.decode().splitlines()
        return [line for line in states if line.startswith("Z")]

    until(lambda: not dead(), "nobody left unburied")
    for name in ("holder", "manager"):
        assert b"Tini is not running as PID 1" not in project.container(name).logs()


@pytest.mark.slow("on a host, monitors in containers are in the second tier, too")
def test_monitor_sees_the_terminals_from_a_container_that_may_do_nothing_else(project):
    monitor = project.container("monitor")
    settings = monitor.attrs["HostConfig"]
    assert settings["ReadonlyRootfs"] and settings["Memory"] and settings["PidsLimit"]
    assert settings["CapDrop"] == ["ALL"]
    assert settings["SecurityOpt"] == ["no-new-privileges:true"]
    mounts = {mount["Destination"]: mount["RW"] for mount in monitor.attrs["Mounts"]}
    assert mounts == {
        "/run/terminals": False, "/var/lib/monitor": True, "/etc/terminals/monitor.json": False
    }  # fmt: skip
    command, began = "terminals monitor-records --directory /var/lib/monitor", time.time()

    def checks() -> list[dict]:
        records = json.loads(monitor.exec_run(command).output)["records"]
        # Before, it saw what other tests did to the worker; a check that began then may be among the first.
        return [record for record in records if record["kind"] == "check" and record["at"] > began][2:]

    found = until(lambda: len(seen := checks()) >= 4 and seen, "two rounds")
    assert all(check["ok"] for check in found), found
    assert {check["build"] for check in found} == {"b1"}
    assert monitor.attrs["State"]["Health"]["Status"] == "healthy"


def test_memory_is_that_of_the_processes_in_their_containers(project):
    for role in ("worker", "web"):
        known = peer(project, role)
        rollup = project.container(role).exec_run(f"cat /proc/{known['pid']}/smaps_rollup").output.decode()
        pss = next(int(line.split()[1]) * 1024 for line in rollup.splitlines() if line.startswith("Pss:"))
        assert 0.5 * pss < known["memory_bytes"] < 2 * pss
    assert generation(project, "g1")["memory_bytes"] > 0


@pytest.mark.slow("the engine's own patience with each process")
def test_health_tells_a_hanging_process(project):
    worker = project.container("worker")
    assert worker.exec_run("terminals health").output == b"worker of g1\n"
    assert project.container("manager").exec_run("terminals health").output == b"session manager\n"
    pid = peer(project, "worker")["pid"]
    worker.exec_run(["bash", "-c", f"kill -STOP {pid}"])
    try:
        found = until(lambda: (run := worker.exec_run("terminals health")).exit_code and run, "unhealthy")
        assert b"has been silent for" in found.output
    finally:
        worker.exec_run(["bash", "-c", f"kill -CONT {pid}"])
    until(lambda: worker.exec_run("terminals health").exit_code == 0, "healthy again")


@pytest.mark.slow("fills all the memory that containers may have")
def test_programs_that_take_all_memory_end_and_nobodys_terminal_does(project, terminal, ports):
    holder = project.container("holder")
    assert holder.attrs["HostConfig"]["Memory"] == 400 << 20
    started = holder.attrs["State"]["StartedAt"]
    # Many, each of them small. One after the other, and of one program that is in memory anyway: where many
    # grow at once, or each needs files of its own, the kernel reads the same pages of programs from the disk
    # again and again for minutes before it calls that too little memory.
    # None of them ends before one has been killed, however long it takes to start them all.
    hog = shlex.quote("printf -v x %12000000s; read -r <&8")
    hogs = (
        f"exec 8<> <(:); p=(); for i in {{1..60}}; do bash -c {hog} & p+=($!); sleep 0.05; done; all=1; "
        "while [ $all = 1 ]; do read -rt 0.1 <&8; for x in ${p[@]}; do kill -0 $x || all=0; done; done; "
        "for i in {1..60}; do echo >&8; done; wait"
    ).encode()
    with Terminal(f"ws://127.0.0.1:{ports['system']}/", token=terminal.token) as greedy:
        greedy.send(hogs + b"; echo ended-$((1+1))\n")
        # The very shell that had started them goes on, too.
        assert re.search(b"Killed|Exit 137", greedy.expect(rb"ended-2", timeout=240))
    terminal.send(b"echo after-$((1+1))\n")
    terminal.expect(rb"after-2")
    assert terminal.stats.reconnects == 0
    holder.reload()
    assert holder.attrs["State"]["StartedAt"] == started


def exactly_once(terminal: Terminal, last: int) -> None:
    """Everything that was typed has run once, in order, in one and the same shell."""
    text = terminal.expect(rb"<%d:\d+>" % last, timeout=60)
    assert [line for line in text.split(b"\r\n") if line] == [b"<%d:%d>" % (n, n) for n in range(1, last + 1)]


def test_a_killed_container_loses_nothing(project, terminal):
    terminal.send(NUMBERED)
    terminal.expect(rb"ready-2\r\n")
    worker, kills = project.container("worker"), 0
    for index in range(1, 41):
        terminal.send(f"r {index}\n".encode())
        if index == 10:
            worker.kill("SIGKILL")
            worker.start()
        elif index == 25:
            pid = peer(project, "worker")["pid"]
            worker.exec_run(["bash", "-c", f"kill -KILL {pid}"])  # the engine starts it again
        else:
            continue
        kills += 1
        until(lambda: terminal.pump(0.1) or terminal.stats.reconnects == kills, "back again")  # noqa: B023
    exactly_once(terminal, 40)


def started(project: Project, service: str) -> str:
    return project.container(service).attrs["State"]["StartedAt"]


def kill_from_outside(project: Project, service: str) -> None:
    """As the kernel does, short of memory. Whom `docker kill` has killed, the engine does not start again."""
    os.kill(project.container(service).attrs["State"]["Pid"], signal.SIGKILL)


def kill_from_inside(project: Project, service: str) -> None:
    pid = ctl(project, "status")["manager"]["pid"]
    project.container(service).exec_run(["bash", "-c", f"kill -KILL {pid}"])


def answers(project: Project) -> bool:
    try:
        return project.container("manager").exec_run("terminals health").exit_code == 0
    except APIError:  # it does not run
        return False


def remake(project: Project, service: str) -> None:
    project("up", "--detach", "--force-recreate", service)


def test_managers_go_and_every_shell_goes_on(project, terminal):
    terminal.send(NUMBERED)
    terminal.expect(rb"ready-2\r\n")
    terminal.send(b"echo [$$]; kept=1\n")
    pid = int(re.search(rb"\[(\d+)\]", terminal.expect(rb"\[\d+\]\r\n"))[1])
    holder, ends = started(project, "holder"), {10: kill_from_outside, 20: kill_from_inside, 30: remake}
    for index in range(1, 41):
        terminal.send(f"r {index}\n".encode())
        if index in ends:
            before = started(project, "manager")
            ends[index](project, "manager")
            until(lambda: started(project, "manager") != before, "another manager")  # noqa: B023
            until(lambda: answers(project), "its health")
    exactly_once(terminal, 40)
    terminal.send(b"echo [$$ $kept]\n")
    terminal.expect(rb"\[%d 1\]" % pid)
    assert started(project, "holder") == holder
    status = ctl(project, "status")
    assert status["holder"]["number"] >= 4
    assert status["sessions"]["left"] == 0


def test_after_the_end_of_the_holder_all_are_back_by_themselves(project, ports):
    token = project.token()
    number = ctl(project, "status")["holder"]["number"]
    before = {name: started(project, name) for name in ("holder", "manager")}
    kill_from_outside(project, "holder")
    for name in before:
        until(lambda: started(project, name) != before[name], f"another {name}")  # noqa: B023
    until(lambda: answers(project), "its health")
    assert ctl(project, "status")["holder"]["number"] <= number
    with Terminal(f"ws://127.0.0.1:{ports['system']}/", token=token) as terminal:
        terminal.send(b"echo new-$((1+1))\n")
        terminal.expect(rb"new-2")


@pytest.mark.slow("the same on a host, by the playbooks, is in the first tier")
def test_a_generation_of_its_own_project_takes_over(project, variables, terminal):
    terminal.send(NUMBERED)
    terminal.expect(rb"ready-2\r\n")
    other = Project(
        f"{NAME}-g2",
        "generation.yaml",
        **variables,
        TERMINALS_PROJECT=NAME,
        TERMINALS_GENERATION="g2",
        TERMINALS_BUILD="b2",
        TERMINALS_WORKERS="2",
    )
    try:
        other("up", "--detach", "--wait", "worker", "web")
        assert generation(project, "g2")["workers"] == 2
        for index in range(1, 31):
            terminal.send(f"r {index}\n".encode())
        ctl(project, "weights", "g2=100")
        with ThreadPoolExecutor() as pool:
            move = pool.submit(ctl, project, "move", "--to", "g2")
            index = 30
            while index < 100 or not move.done():
                index += 1
                terminal.send(f"r {index}\n".encode())
                terminal.pump(0.05)
            exactly_once(terminal, index)
        assert (move.result()["severed"], move.result()["remaining"]) == (0, 0)
        assert terminal.stats.reconnects == 1
        # Not the number that are attached to it: the monitor's own terminal comes and goes beside this one.
        assert terminal.attached.generation == "g2"
        ctl(project, "weights", "g1=100")
        ctl(project, "stop", "g2")
        terminal.send(f"r {index + 1}\n".encode())
        terminal.expect(rb"<%d:%d>" % (index + 1, index + 1), timeout=60)
    finally:
        other("down", "--timeout", "5")
    assert f"{NAME}_run" in [volume.name for volume in client().volumes.list()]


@pytest.mark.slow("the same on a host, by the playbooks, is in the first tier")
def test_limits_and_logs_that_are_asked_for_are_those_of_the_containers(variables, project):
    other = Project(
        f"{NAME}-g3",
        "generation.yaml",
        **variables,
        TERMINALS_PROJECT=NAME,
        TERMINALS_GENERATION="g3",
        TERMINALS_PROCESS_MEMORY=str(512 << 20),
        TERMINALS_PROCESS_CPUS="2",
        TERMINALS_LOG_FORMAT="json",
        TERMINALS_LOG_SIZE="50000000",
    )
    try:
        other("up", "--detach", "--wait", "worker", "web")
        worker = other.container("worker").attrs
        assert worker["HostConfig"]["Memory"] == 512 << 20
        assert worker["HostConfig"]["NanoCpus"] == 2 * 10**9
        assert worker["HostConfig"]["RestartPolicy"]["Name"] == "unless-stopped"
        assert worker["HostConfig"]["LogConfig"]["Config"]["max-size"] == "50000000"
        assert json.loads(other.container("worker").logs().splitlines()[0])["level"] == "info"
    finally:
        other("down", "--timeout", "5")
