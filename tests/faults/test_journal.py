"""Bytes between terminals and rings through SIGKILLs at any moment: each once, in order, both ways."""

from __future__ import annotations

import contextlib
import os
import random
import select
import signal
import threading
import time
import tty
from pathlib import Path

import pytest
from terminals.manager.journal import Journal
from terminals.manager.ring import Ring, slot_of

from tests.support.stack import until
from tests.support.tiers import examples

KILLS = examples(250)
SLOT = 3


@pytest.fixture
def terminal():
    master, slave = os.openpty()
    tty.setraw(slave)
    os.set_blocking(master, False)
    yield master, slave
    for fd in (master, slave):
        os.close(fd)


def numbered(first: int, count: int) -> bytes:
    return b"".join(b"%08d\n" % number for number in range(first, first + count))


def mover(path: Path, fds: list[int], master: int, source: bytes) -> None:
    """What a session manager does all the time, from where another one was killed."""
    ring = Ring.open(path)
    journal = Journal(fds)
    journal.recover({ring.number: ring})
    while True:
        with contextlib.suppress(BlockingIOError):
            journal.output(ring, master, ring.reserve(1 << 14))
        at = ring.words[slot_of(SLOT) + 1]
        if data := source[at : at + random.randrange(1, 3000)]:
            with contextlib.suppress(BlockingIOError):
                journal.input(ring, SLOT, at, master, data)


def test_no_byte_is_lost_or_doubled_whenever_the_mover_is_killed(tmp_path, terminal):
    master, slave = terminal
    path = tmp_path / "a.ring"
    ring = Ring.create(path, 1 << 22)
    journal = Journal.create()
    typed, printed, taken = numbered(0, 400_000), 0, bytearray()
    done = threading.Event()

    def print_on_and_on() -> None:
        nonlocal printed
        while not done.is_set() and ring.head < ring.capacity - (1 << 17):
            data = numbered(printed // 9, 100)
            while data:
                count = os.write(slave, data)
                printed += count
                data = data[count:]

    def read_what_is_typed() -> None:
        while not done.is_set():
            taken.extend(os.read(slave, 1 << 16))

    threads = [threading.Thread(target=work, daemon=True) for work in (print_on_and_on, read_what_is_typed)]
    for thread in threads:
        thread.start()
    for _ in range(KILLS):
        pid = os.fork()
        if pid == 0:
            try:
                mover(path, journal.fds, master, typed)
            finally:
                os._exit(1)
        time.sleep(random.uniform(0.001, 0.02))
        os.kill(pid, signal.SIGKILL)
        assert os.WIFSIGNALED(os.waitpid(pid, 0)[1])
    done.set()
    journal.recover({ring.number: ring})
    while True:  # the rest
        try:
            journal.output(ring, master, ring.reserve(1 << 14))
        except BlockingIOError:
            if not threads[0].is_alive():
                break
            time.sleep(0.01)
    position = ring.words[slot_of(SLOT) + 1]
    os.write(master, b".")  # lets the reader end
    threads[1].join(10)
    assert ring.head == printed > 100_000
    held = ring._data[: ring.head]
    assert bytes(held) == numbered(0, printed // 9 + 1)[:printed]
    held.release()
    assert position > 100_000
    assert bytes(taken[:position]) == typed[:position]
    assert taken[position:] in (b"", b".")
    ring.close()
    journal.close()


def test_what_the_terminal_does_not_take_is_not_counted(tmp_path, terminal):
    master, slave = terminal
    ring = Ring.create(tmp_path / "a.ring", 1 << 16)
    journal = Journal.create()
    sent = 0
    while True:
        try:
            sent += journal.input(ring, SLOT, sent, master, b"x" * 5000)
        except BlockingIOError:
            break
        assert ring.words[slot_of(SLOT) + 1] == sent
    assert ring.words[slot_of(SLOT) + 1] == sent
    assert len(os.read(slave, 1 << 16)) > 0
    until(lambda: select.select([], [master], [], 0)[1], "room in the terminal")
    assert journal.input(ring, SLOT, sent, master, b"y") == 1
    ring.close()
    journal.close()


def test_a_ring_that_is_gone_is_no_trouble(tmp_path, terminal):
    master, slave = terminal
    ring = Ring.create(tmp_path / "a.ring", 1 << 16)
    journal = Journal.create()
    os.write(slave, b"some output")
    os.splice(master, journal.fds[2], 100)
    journal.recover({})
    os.write(slave, b"more")
    assert journal.output(ring, master, 100) == 4
    ring.close()
    journal.close()
