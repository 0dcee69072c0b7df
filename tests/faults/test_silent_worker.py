"""A worker that is there and does nothing: nobody is led to it while others do their work."""

from __future__ import annotations

import contextlib
import itertools
import signal
import socket
import time
from collections.abc import Iterator

import pytest
from terminals.control import CONTROL_VERSION
from terminals.control.asking import connect as connect_control
from terminals.protocol.backoff import Backoff

from tests.support.control import hear, say
from tests.support.processes import stopped
from tests.support.raw import Raw
from tests.support.stack import Stack, until

HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


@pytest.fixture
def stack() -> Iterator[Stack]:
    stack = Stack(stable_seconds=0)
    try:
        yield stack
    finally:
        stack.close()


def start_worker(stack: Stack, generation: str, name: str) -> int:
    """Start one more, and give its process id once it is there."""
    before = stack.generation(generation).get("workers", 0)
    stack.start("worker", generation, name=name)
    until(lambda: stack.generation(generation).get("workers", 0) == before + 1, name)
    return stack.processes[name].pid


def passed_over(stack: Stack, pid: int) -> bool:
    """Whether nobody is led to that process any more."""
    return next(peer for peer in stack.admin("peers")["items"] if peer["pid"] == pid)["passed_over"]


def served(sock: socket.socket) -> bool:
    sock.setblocking(False)
    try:
        return sock.recv(12, socket.MSG_PEEK).startswith(b"HTTP/1.1 101")
    except OSError:
        return False


def held_by_the_kernel() -> int:
    """How many packets that pass a connection on, at most, wait in a socket as the manager's are."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        ours.setblocking(False)
        for count in itertools.count():
            try:
                ours.send(b"x" * 60)
            except BlockingIOError:
                return count
    raise AssertionError("it takes anything")


def test_newcomers_go_to_the_one_that_works_though_the_other_looks_idle(stack):
    hung = start_worker(stack, "g1", "w1")
    stack.admin("weights", weights={"g1": 100})
    busy = start_worker(stack, "g1", "w2")
    with contextlib.ExitStack() as there:
        people = [there.enter_context(stack.terminal()) for _ in range(8)]
        assert len(people) == 8
        with stopped(stack.processes["w1"]):
            until(lambda: passed_over(stack, hung), "the silence being noticed")
            assert not passed_over(stack, busy)
            for _ in range(8):
                there.enter_context(stack.terminal(connect_timeout=60))
        until(lambda: not passed_over(stack, hung), "its being heard again")
        assert stack.processes["w1"].poll() is None


@pytest.mark.slow("seconds of silence once more, with another left")
def test_sessions_of_a_generation_that_hangs_are_served_by_another(stack):
    for name in ("g1", "g2"):
        stack.start_generation(name)
    stack.admin("weights", weights={"g2": 100})
    somebody = stack.terminal(connect_timeout=5.0, backoff=Backoff(base=0.01, cap=0.1))
    somebody.open()
    stack.admin("weights", weights={"g1": 90, "g2": 10})
    with stopped(stack.processes["worker-g2"]):
        hung = stack.processes["worker-g2"].pid
        until(lambda: passed_over(stack, hung), "the silence being noticed")
        somebody.cut()
        somebody.send(b"echo [$((6 * 7))]\n")
        somebody.expect(rb"\[42\]", timeout=60)
        assert stack.admin("sessions")["items"][0]["generation"] == "g1"
    somebody.close()


def test_where_all_are_silent_newcomers_wait_for_the_first_that_is_back(stack):
    hung = start_worker(stack, "g1", "w1")
    stack.admin("weights", weights={"g1": 100})
    port = stack.status()["listeners"]["system"]
    with contextlib.ExitStack() as opened, stopped(stack.processes["w1"]):
        until(lambda: passed_over(stack, hung), "the silence being noticed")
        newcomer = opened.enter_context(socket.create_connection(("127.0.0.1", port)))
        newcomer.sendall(HANDSHAKE)
        until(lambda: stack.generation("g1")["connections"] == 1, "its being passed on")
        stack.processes["w1"].send_signal(signal.SIGCONT)
        until(lambda: served(newcomer), "the newcomer being served")


def test_what_waits_for_a_silent_one_comes_back(stack):
    hung = start_worker(stack, "g1", "w1")
    stack.admin("weights", weights={"g1": 100})
    port = stack.status()["listeners"]["system"]
    with stopped(stack.processes["w1"]), contextlib.ExitStack() as opened:
        many = held_by_the_kernel() + 300
        crowd = []
        for _ in range(many):
            crowd.append(opened.enter_context(socket.create_connection(("127.0.0.1", port))))
            crowd[-1].sendall(HANDSHAKE)
        until(lambda: stack.generation("g1")["connections"] == many, "all being passed on")
        until(lambda: passed_over(stack, hung), "the silence being noticed")
        start_worker(stack, "g1", "w2")
        until(lambda: sum(map(served, crowd)) > 200, "those being served that had to wait")


@pytest.mark.slow("seconds of silence once more")
def test_a_process_of_an_older_build_that_never_reports_is_not_passed_over(stack):
    start_worker(stack, "g1", "w1")
    with connect_control(stack.socket) as old:
        hello = {"type": "hello", "version": CONTROL_VERSION, "role": "worker", "build": "b", "pid": 1}
        say(old, {**hello, "generation": "g0", "req": 1})
        hear(old)
        with stopped(stack.processes["w1"]):
            until(lambda: passed_over(stack, stack.processes["w1"].pid), "the silence being noticed")
            assert not passed_over(stack, 1)


def test_a_process_that_says_hello_twice_is_one_and_gone_when_it_is_gone(stack):
    start_worker(stack, "g1", "w1")
    stack.admin("weights", weights={"g1": 100})
    with connect_control(stack.socket) as rude:
        hello = {"type": "hello", "version": CONTROL_VERSION, "role": "worker", "build": "b", "pid": 1}
        for number in (1, 2, 3):
            say(rude, {**hello, "generation": "g1", "req": number})
            hear(rude)
        for _ in range(10):
            say(rude, {"type": "closed"})
        assert stack.generation("g1")["workers"] == 2
    until(lambda: stack.generation("g1")["workers"] == 1, "its end")
    assert stack.generation("g1")["connections"] == 0
    started = time.monotonic()
    for _ in range(6):
        Raw(stack.url()).close()
    assert time.monotonic() - started < 60
