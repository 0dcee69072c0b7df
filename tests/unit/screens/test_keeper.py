"""The keeper of screens, spoken to as by the session manager."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading

import pytest
from terminals.control import framing
from terminals.manager.ring import Ring
from terminals.protocol.messages import MAX_SNAPSHOT
from terminals.screens.keeper import Keeper

from tests.support.control import say
from tests.unit.screens.test_emulator import colourful


@pytest.fixture
def manager():
    """The manager's end."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

    def run() -> None:
        with contextlib.suppress(ConnectionError):  # as its program does
            Keeper(theirs).run()

    keeper = threading.Thread(target=run)
    keeper.start()
    ours.settimeout(30)
    yield ours
    ours.close()
    keeper.join(30)
    theirs.close()


def answer(manager: socket.socket) -> dict:
    data, _ = framing.receive(manager)
    assert data, "the keeper has ended"
    return dict(json.loads(data))


def test_a_ring_whose_descriptor_got_lost_is_said_to_be_lost_and_the_others_are_kept(manager, tmp_path):
    ring = Ring.create(tmp_path / "a.ring", 1 << 16)
    ring.append(b"hello")
    say(
        manager, {"type": "follow", "key": "a", "cols": 80, "rows": 24, "start": 0}, (shared := ring.share(),)
    )
    os.close(shared)
    # As the kernel brings it to a process that can open no more files.
    say(manager, {"type": "follow", "key": "b", "cols": 80, "rows": 24, "start": 0})
    say(manager, {"type": "advance", "key": "b"})
    assert answer(manager) == {"type": "lost", "key": "b"}
    say(manager, {"type": "snapshot", "key": "b", "request": 7, "most": MAX_SNAPSHOT})
    assert answer(manager) == {"type": "lost", "key": "b", "request": 7}
    say(manager, {"type": "advance", "key": "a"})
    assert answer(manager) == {"type": "kept", "key": "a", "offset": 5}
    ring.close()


def test_a_screen_that_is_too_much_now_is_kept_and_painted_later(manager, tmp_path):
    ring = Ring.create(tmp_path / "a.ring", 1 << 22)
    shared = ring.share()
    say(manager, {"type": "follow", "key": "a", "cols": 300, "rows": 160, "start": 0}, (shared,))
    os.close(shared)
    ring.append(b"\x1b]2;its title\x07" + colourful(300, 160))
    say(manager, {"type": "snapshot", "key": "a", "request": 7, "most": MAX_SNAPSHOT})
    assert answer(manager) == {"type": "unpaintable", "key": "a", "request": 7}
    ring.append(b"\x1b[2J\x1b[Hsmall again")
    say(manager, {"type": "snapshot", "key": "a", "request": 8, "most": MAX_SNAPSHOT})
    data, fds = framing.receive(manager)
    painted = json.loads(data)
    assert painted["type"] == "painted"
    assert b"small again" in os.pread(fds[0], painted["length"], 0)
    os.close(fds[0])
    ring.close()


def follow(manager: socket.socket, key: str, ring: Ring, cols: int, rows: int) -> None:
    shared = ring.share()
    say(manager, {"type": "follow", "key": key, "cols": cols, "rows": rows, "start": 0}, (shared,))
    os.close(shared)


@pytest.fixture
def busy(manager, tmp_path):
    """Its screen is huge, and cleared again and again: half a minute of work in 400 KiB."""
    ring = Ring.create(tmp_path / "busy.ring", 1 << 19)
    follow(manager, "busy", ring, 1000, 1000)
    ring.append(b"\x1b[2J" * 100_000)
    say(manager, {"type": "advance", "key": "busy"})
    yield ring
    ring.close()


def test_a_screen_that_is_much_work_keeps_nobody_else_waiting(manager, busy, tmp_path):
    ring = Ring.create(tmp_path / "a.ring", 1 << 16)
    follow(manager, "a", ring, 80, 24)
    ring.append(b"hello")
    say(manager, {"type": "advance", "key": "a"})
    say(manager, {"type": "snapshot", "key": "a", "request": 7, "most": MAX_SNAPSHOT})
    told = []
    while not told or told[-1]["type"] != "painted":
        data, fds = framing.receive(manager)
        told.append(json.loads(data))
        for fd in fds:
            os.close(fd)
    assert {"type": "kept", "key": "a", "offset": 5} in told
    assert all(one["offset"] < busy.head for one in told if one["key"] == "busy"), "it is not over yet"
    ring.close()


def test_of_a_screen_that_takes_long_it_is_told_how_far_it_has_come(manager, busy):
    first, second = answer(manager), answer(manager)
    assert (first["type"], second["type"]) == ("kept", "kept")
    assert 0 < first["offset"] < second["offset"] < busy.head
    say(manager, {"type": "snapshot", "key": "busy", "request": 8, "most": MAX_SNAPSHOT})
    say(manager, {"type": "forget", "key": "busy"})
    told = answer(manager)
    while told["type"] == "kept":
        told = answer(manager)
    assert told == {"type": "lost", "key": "busy", "request": 8}
