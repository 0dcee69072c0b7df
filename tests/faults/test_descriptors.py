"""A process that can open no more files refuses one newcomer, and does nothing else."""

from __future__ import annotations

import contextlib
import socket
import time

import pytest
from terminals.control.asking import ControlError
from terminals.control.asking import connect as connect_control

from tests.support.processes import few_files, processor_seconds
from tests.support.raw import Raw
from tests.support.stack import Stack, running, until


@pytest.fixture
def lean():
    """A stack that never takes a quick series of cuts for a reconnection loop."""
    with running(stable_seconds=0) as stack:
        yield stack


def works(terminal, number: int) -> None:
    terminal.send(b"echo [$((%d + 70000))]\n" % number)
    terminal.expect(rb"\[%d\]" % (number + 70000), timeout=60)


def ended(sock: socket.socket) -> bool:
    """Whether the other side has closed it."""
    sock.setblocking(False)
    try:
        return sock.recv(1) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def test_the_control_socket_costs_neither_processor_nor_log(lean):
    manager = lean.processes["manager"].pid
    with lean.terminal() as somebody, contextlib.ExitStack() as connections:
        works(somebody, 0)
        with few_files(manager, 40):
            for _ in range(100):
                connections.callback(connect_control(lean.socket).close)
            works(somebody, 1)
            lines, used = lean.log("manager").count("\n"), processor_seconds(manager)
            end = time.monotonic() + 3.0
            while time.monotonic() < end:
                works(somebody, 2)
                somebody.pump(0.1)
            assert processor_seconds(manager) - used < 1.0
            assert lean.log("manager").count("\n") - lines < 10
            connections.close()
            # Also while there are few: those who have gone make room.
            until(lambda: answers(lean), "an operator being answered")
        works(somebody, 3)
        assert somebody.stats.losses == 0


def answers(stack: Stack) -> bool:
    try:
        return bool(stack.status())
    except ControlError:
        return False


def test_a_worker_refuses_newcomers_and_keeps_those_who_are_there(lean):
    worker = lean.processes["worker-g1"]
    port = lean.status()["listeners"]["system"]
    with lean.terminal() as somebody, contextlib.ExitStack() as opened:
        works(somebody, 0)
        with few_files(worker.pid, 90):
            strangers = [
                opened.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(150)
            ]
            until(lambda: sum(map(ended, strangers)) > 20, "some being refused")
            works(somebody, 1)
            assert worker.poll() is None
            lines = lean.log("worker-g1").splitlines()
            assert len(lines) < 30, lines[-1]
            opened.close()
            until(lambda: lean.generation("g1")["connections"] == 1, "the strangers having gone")
            with lean.terminal() as newcomer:
                works(newcomer, 2)
        assert somebody.stats.losses == 0


def test_a_worker_loses_one_connection_and_not_its_manager_when_no_descriptor_is_left(lean):
    worker = lean.processes["worker-g1"]
    port = lean.status()["listeners"]["system"]
    with lean.terminal() as somebody:
        works(somebody, 0)
        with few_files(worker.pid, 0), socket.create_connection(("127.0.0.1", port)) as stranger:
            until(lambda: ended(stranger), "the stranger being refused")
            works(somebody, 1)
        assert worker.poll() is None
        until(lambda: lean.generation("g1")["connections"] == 1, "the stranger not being counted")
        with lean.terminal() as newcomer:
            works(newcomer, 2)
        assert somebody.stats.losses == 0


def test_an_attach_whose_descriptors_get_lost_is_refused_and_leaves_no_shell(lean):
    worker = lean.processes["worker-g1"]
    with lean.terminal() as somebody:
        works(somebody, 0)
        newcomer = Raw(lean.url())
        with few_files(worker.pid, 0):
            newcomer.attach()
            assert newcomer.want("error")["code"] == "unavailable"
            assert newcomer.closed() == 1013
        until(lambda: lean.status()["sessions"]["live"] == 1, "the shell that nobody has being ended")
        works(somebody, 1)
        assert lean.generation("g1")["short_lived"] == 0
        assert somebody.stats.losses == 0


def test_a_manager_that_gets_no_descriptor_of_a_handover_keeps_the_worker(lean):
    lean.start_generation("g2")
    lean.admin("weights", weights={"g2": 100})
    owner = lean.terminal()
    owner.open()
    session = owner.session
    owner.close()
    lean.admin("weights", weights={"g1": 100})
    visitor = Raw(lean.url())
    with lean.terminal() as somebody:
        works(somebody, 0)
        lean.admin("weights", weights={"g1": 99, "g2": 1})
        manager = lean.processes["manager"].pid
        with few_files(manager, 0):
            visitor.attach(session=session)
            assert visitor.closed() in (None, 1006)
        works(somebody, 1)
        assert lean.processes["worker-g1"].poll() is None
        assert lean.generation("g1")["workers"] == 1
        with lean.terminal(session=session) as again:
            works(again, 1)
        assert somebody.stats.losses == 0


def test_a_full_manager_refuses_new_shells_and_lets_people_come_back(lean):
    manager = lean.processes["manager"].pid
    with lean.terminal() as somebody:
        works(somebody, 0)
        with few_files(manager, 50):
            newcomer = Raw(lean.url())
            newcomer.attach()
            refusal = newcomer.want("error")
            assert refusal["code"] == "unavailable"
            assert "files" in refusal["message"]
            newcomer.close()
            for number in range(1, 4):
                somebody.cut()
                works(somebody, number)
        assert lean.status()["sessions"]["live"] == 1
        with lean.terminal() as another:
            works(another, 9)


def test_a_full_holder_refuses_new_shells_and_keeps_those_there_are(lean):
    with lean.terminal() as somebody:
        works(somebody, 0)
        with few_files(lean.processes["holder"].pid, 1):
            newcomer = Raw(lean.url())
            newcomer.attach()
            refusal = newcomer.want("error")
            assert refusal["code"] == "unavailable"
            assert "open files" in refusal["message"]
            newcomer.close()
            somebody.cut()
            works(somebody, 1)
            sessions = lean.root / "state" / "sessions"
            assert [path.stem for path in sessions.glob("session_*.ring")] == [somebody.session]
        with lean.terminal() as another:
            works(another, 2)
