"""A session manager that is killed, that hangs or that another one replaces: nobody loses anything by it."""

from __future__ import annotations

import functools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from terminals.client import Terminal
from terminals.control.asking import ControlError

from tests.support.holder import RelayedManager
from tests.support.ports import free_ports
from tests.support.processes import open_files
from tests.support.raw import Raw
from tests.support.stack import TERMINALS, Stack, running, runs, until
from tests.support.typist import TALKER, Typist

BASH = ["env", "TERM=dumb", "PS1=", "bash", "--norc", "--noprofile"]
LINES = 60
PEOPLE = 5


@pytest.fixture
def stack() -> Iterator[Stack]:
    """Two generations with weights 60 and 40. Whoever loops is kept out for long."""
    talk = {"command": [sys.executable, "-c", TALKER]}
    stack = Stack(
        profiles={"system": {"command": BASH}, "claude": talk},
        breaker_cooldown=600.0,
        stable_seconds=600.0,
    )
    try:
        for name in ("g1", "g2"):
            stack.start_generation(name)
        stack.admin("weights", weights={"g1": 60, "g2": 40}, fence=7)
        yield stack
    finally:
        stack.close()


@pytest.fixture
def elsewhere(monkeypatch) -> None:
    """This very thread's clients come from another address than all others."""
    here, connect = threading.current_thread(), socket.create_connection

    @functools.wraps(connect)
    def connected(*arguments: Any, **named: Any) -> socket.socket:
        source = ("127.0.0.2", 0) if threading.current_thread() is here else None
        return connect(*arguments, **named, source_address=source)

    monkeypatch.setattr(socket, "create_connection", connected)


def sessions(stack: Stack) -> dict[str, dict[str, Any]]:
    """What is not to change of each session, by id."""
    told = ("title", "user", "profile", "live", "generation", "origin", "created", "pid", "breaker")
    return {entry["id"]: {name: entry[name] for name in told} for entry in stack.admin("sessions")["items"]}


def weights(stack: Stack) -> dict[str, tuple[int, int, str]]:
    """Weight, sessions and build of each generation."""
    known = stack.status()["generations"]
    return {entry["name"]: (entry["weight"], entry["assigned"], entry["build"]) for entry in known}


def kill_thrice(stack: Stack, people: list[Typist]) -> int:
    for connects in (2, 3, 4):
        stack.kill("manager")
        stack.start_manager()
        until(lambda n=connects: all(one.is_on(n, LINES) for one in people), "everybody being back")
    return 4


def replace(stack: Stack, people: list[Typist]) -> int:
    before = stack.status()
    assert stack.replace_manager() == 0
    assert stack.status()["manager"]["pid"] != before["manager"]["pid"]
    for entry in before["generations"]:  # one that leaves in order has its counters kept to the last
        after = stack.generation(entry["name"])
        assert after["short_lived"] == entry["short_lived"]
        assert after["breaker_opened"] == entry["breaker_opened"]
        assert after["attaches"] >= entry["attaches"]
    return 2


def hang(stack: Stack, people: list[Typist]) -> int:
    stack.processes["manager"].send_signal(signal.SIGSTOP)
    assert stack.replace_manager() == -signal.SIGKILL
    assert "has not left in time" in stack.log("holder")
    return 2


@pytest.mark.parametrize(
    "end", [kill_thrice, replace, pytest.param(hang, marks=pytest.mark.slow("waits for the limit"))]
)
def test_everybody_and_everything_goes_on(stack, elsewhere, end):
    url = stack.url("claude")
    people = [Typist(url, f"user-{number}") for number in range(PEOPLE)]
    for number, one in enumerate(people):
        stack.admin("rename", session=one.terminal.session, title=f"title {number}")
    looping = loop_on_one_session(stack)
    loop_by_new_sessions(stack)
    until(lambda: all(one.is_on(1, LINES) for one in people), "everybody at work")
    number = stack.status()["holder"]["number"]
    known, before = sessions(stack), weights(stack)
    assert sorted(entry["user"] for entry in known.values()) == sorted(
        ["", "", "", "", *(f"user-{number}" for number in range(PEOPLE))]
    )
    assert known[looping.session]["breaker"] == "open"
    assert {name: entry[0] for name, entry in before.items()} == {"g1": 60, "g2": 40}
    assert all(entry[1] for entry in before.values())

    connects = end(stack, people)
    more = max(one.typed for one in people) + LINES
    until(lambda: all(one.is_on(connects, more) for one in people), "everybody being back, and at work")

    assert stack.status()["holder"]["number"] == number + connects - 1
    assert sessions(stack) == known
    assert weights(stack) == before
    assert stack.status()["fence"] == 7
    with pytest.raises(ControlError, match="stale fence 6"):
        stack.admin("weights", weights={"g1": 100}, fence=6)
    assert "new sessions of 127.0.0.2 were lost" in refused(stack)
    assert "was lost 3 times right after attaching" in refused(stack, looping.session)
    for one in people:
        assert one.terminal.stats.failed == 0
        one.leave()


def loop_on_one_session(stack: Stack) -> Terminal:
    """Somebody loses a session again and again, until it is kept out."""
    terminal = stack.terminal()
    for lost in range(1, 4):
        terminal.open()
        terminal.cut()
        until(lambda n=lost: short_lived(stack) == n, "the loss being seen")
    return terminal


def loop_by_new_sessions(stack: Stack) -> None:
    """Somebody starts sessions and loses them, until no new one is given to that address."""
    before = short_lived(stack)
    for lost in range(1, 4):
        terminal = stack.terminal()
        terminal.open()
        terminal.cut()
        until(lambda n=lost: short_lived(stack) == before + n, "the loss being seen")


def short_lived(stack: Stack) -> int:
    return sum(entry["short_lived"] for entry in stack.status()["generations"])


def refused(stack: Stack, session: str | None = None) -> str:
    """Why a session, or a new one, is not to be had."""
    raw = Raw(stack.url())
    raw.attach(session=session)
    message = raw.want("error")
    assert message["code"] == "breaker-open"
    raw.close()
    return message["message"]


@pytest.fixture
def plain() -> Iterator[Stack]:
    """One generation, and a plain shell."""
    with running(
        profiles={"system": {"command": BASH}, "claude": {"command": BASH}}, stable_seconds=0
    ) as stack:
        yield stack


def works(terminal: Terminal, number: int) -> None:
    terminal.send(b"echo [$((%d + 70000))]\n" % number)
    terminal.expect(rb"\n\[%d\]" % (number + 70000))


def ended(terminal: Terminal) -> bool:
    terminal.pump(0.05)
    return terminal.exit_status is not None


def entry(stack: Stack, terminal: Terminal) -> dict[str, Any]:
    items = stack.admin("sessions")["items"]
    return next(item for item in items if item["id"] == terminal.session)


def waits_for(go: Path, terminal: Terminal, command: bytes) -> None:
    """Have a command run once ``go`` is written."""
    os.mkfifo(go)
    terminal.open()
    terminal.send(b"read x < %s; %s\n" % (bytes(go), command))
    until(lambda: terminal.pump(0.05) or terminal.unacknowledged == 0, "the command being there")


def test_whoever_was_not_told_of_the_end_is_told_by_the_next_manager(plain, tmp_path):
    terminal, go = plain.terminal(), tmp_path / "go"
    waits_for(go, terminal, b"echo la''st; exit 3")
    terminal.cut()
    go.write_text("now\n")
    until(lambda: entry(plain, terminal)["status"] == 3, "the end of the shell")
    plain.kill("manager")
    plain.start_manager()
    assert entry(plain, terminal)["status"] == 3
    until(lambda: ended(terminal), "the news of its end")
    assert terminal.exit_status == 3
    assert b"\nlast\r\n" in terminal.read()


def test_a_shell_that_ends_while_no_manager_is_there_is_told_with_its_status(plain, tmp_path):
    go = tmp_path / "go"
    with plain.terminal() as bystander:
        terminal = plain.terminal()
        waits_for(go, terminal, b"echo la''st; exit 5")
        pid = entry(plain, terminal)["pid"]
        plain.kill("manager")
        go.write_text("now\n")
        until(lambda: not runs(pid), "its end")
        plain.start_manager()
        until(lambda: ended(terminal), "the news of its end")
        assert terminal.exit_status == 5
        assert b"\nlast\r\n" in terminal.read()
        works(bystander, 1)
        rings = (plain.root / "state" / "sessions").glob("session_*.ring")
        assert {ring.stem for ring in rings} == {terminal.session, bystander.session}


def put(stack: Stack, key: str, fields: dict[str, Any]) -> dict[str, Any]:
    """Have the holder keep other fields, in the place of a manager that is dead; what it had before."""
    manager = RelayedManager(str(Path(stack.socket).with_name("holder.sock")))
    try:
        manager.hello()
        manager.send({"type": "put", "key": key, "fields": fields})
        manager.request("status")
        return dict(manager.items[key]["fields"])
    finally:
        manager.close()


def test_a_session_that_cannot_be_restored_stays_with_the_holder_and_all_others_go_on(plain):
    terminals = [plain.terminal() for _ in range(3)]
    for number, terminal in enumerate(terminals):
        terminal.open()
        works(terminal, number)
    broken, *others = terminals
    pid, key = entry(plain, broken)["pid"], f"session/{broken.session}"
    broken.close()
    plain.kill("manager")
    before = put(plain, key, {"session": {"profile": "system", "breaker": "no list"}})
    plain.may_break = True  # it says in its log what is wrong with it
    plain.start_manager()
    for number, terminal in enumerate(others):
        works(terminal, number)
        assert terminal.stats.reconnects == 1
    assert {item["id"] for item in plain.admin("sessions")["items"]} == {one.session for one in others}
    assert f"{broken.session} is left with the holder" in plain.log("manager")
    assert runs(pid)

    # A later build knows what to do, or somebody has mended it.
    plain.kill("manager")
    put(plain, key, {"session": before["session"]})
    plain.start_manager()
    for number, terminal in enumerate(terminals):
        works(terminal, number)
        terminal.close(kill=True)


def test_without_its_holder_a_manager_goes_on_with_what_it_has(plain):
    with plain.terminal() as somebody:
        works(somebody, 0)
        plain.kill("holder")
        until(lambda: plain.status()["holder"] is None, "the loss being seen")
        works(somebody, 1)
        somebody.cut()
        works(somebody, 2)
        newcomer = Raw(plain.url())
        newcomer.attach()
        refusal = newcomer.want("error")
        assert refusal["code"] == "unavailable"
        assert "holder" in refusal["message"]
        newcomer.close()
        doctor = [*TERMINALS, "doctor", "--config", str(plain.root / "manager.json"), "--output", "json"]
        found = json.loads(subprocess.run(doctor, capture_output=True).stdout)
        assert [finding["verdict"] for finding in found if finding["subject"] == "holder"] == ["wrong"]
        assert "the holder is gone" in plain.log("manager")
        works(somebody, 3)


def test_a_shell_that_ends_after_its_holder_is_told_without_a_status(plain):
    first, second, third = terminals = [plain.terminal() for _ in range(3)]
    for terminal in terminals:
        terminal.open()
        works(terminal, 0)
    pids = [entry(plain, terminal)["pid"] for terminal in terminals]
    plain.kill("holder")
    until(lambda: plain.status()["holder"] is None, "the loss being seen")
    first.send(b"echo la''st; exit 3\n")
    plain.admin("kill", session=second.session)
    for terminal in (first, second):
        until(lambda t=terminal: ended(t), "the news of its end")
        assert terminal.exit_status == -1  # its parent alone could have asked for another
    assert b"\nlast\r\n" in first.read()
    until(lambda: not any(map(runs, pids[:2])), "the ends of both")
    works(third, 1)
    assert plain.status()["sessions"]["live"] == 1


def listening(stack: Stack) -> int:
    """How many descriptors of listening ports the manager has."""
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    sockets = {f"socket:[{line.split()[9]}]" for line in lines if line.split()[3] == "0A"}
    return sum(name in sockets for name in open_files(stack.processes["manager"].pid))


def closed(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) != 0


def test_a_port_that_is_configured_no_more_is_closed_and_nothing_is_left_open(plain):
    with plain.terminal() as shell:
        shell.send(b"mark=$((41 + 1))\n")

        old = plain.status()["listeners"]
        for _ in range(2):
            assert plain.replace_manager() == 0
            assert plain.status()["listeners"] == old
            assert listening(plain) == len(old)
        system, other = free_ports(2)
        plain.settings["listeners"] = {
            "system": {"host": "127.0.0.1", "port": system},
            "claude": {"host": "127.0.0.1", "port": other},
        }
        assert plain.replace_manager() == 0
        assert plain.status()["listeners"] == {"system": system, "claude": other}
        assert all(closed(port) for port in old.values())
        assert listening(plain) == 2
        with plain.terminal(session=shell.session) as again:
            again.send(b"echo [still $mark]\n")
            again.expect(rb"\[still 42\]")


def test_ready_shells_that_nobody_wants_any_more_end_and_nothing_of_them_is_left_open(plain):
    def masters() -> int:
        names = open_files(plain.processes["manager"].pid)
        return sum(name in ("/dev/ptmx", "/dev/pts/ptmx") for name in names)

    plain.settings["profiles"]["claude"] = {**plain.settings["profiles"]["system"], "ready": 3}
    assert plain.replace_manager() == 0
    until(lambda: plain.status()["shells"]["ready"] == 3, "the ready ones")
    until(lambda: masters() == 3, "their terminals")
    del plain.settings["profiles"]["claude"]
    plain.settings["listeners"].pop("claude")
    assert plain.replace_manager() == 0
    assert plain.status()["shells"]["ready"] == 0
    assert masters() == 0
