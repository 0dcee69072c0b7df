"""A disk that takes nothing any more stops neither housekeeping nor the way back; shells wait for room."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator

import pytest
from terminals.client import Terminal
from terminals.manager.ring import FIRST_RESERVED
from terminals.manager.session import DISK_SECONDS

from tests.support.casts import cast_at
from tests.support.disk import Disk, small_disk
from tests.support.resident import Resident
from tests.support.stack import TERMINALS, Stack, running, until


@pytest.fixture
def disk(tmp_path) -> Iterator[Disk]:
    with small_disk(tmp_path) as disk:
        yield disk


@pytest.fixture
def stack(disk) -> Iterator[Stack]:
    """g1 and g2, everybody on g2."""
    stack = Stack(state_dir=str(disk.path / "state"), ring_bytes=65536, idle_seconds=1.0)
    try:
        for name in ("g1", "g2"):
            stack.start_generation(name)
        stack.admin("weights", weights={"g2": 100}, fence=5)
        yield stack
    finally:
        stack.close()


def saved(disk: Disk, name: str) -> dict:
    known = json.loads((disk.path / "state" / "generations.json").read_text())["generations"]
    return next((entry for entry in known if entry["name"] == name), {})


def test_housekeeping_goes_on(disk, stack):
    left = stack.terminal()
    left.open()
    somebody = Resident(stack.terminal())
    # Due when nothing can be written any more.
    stack.admin("retire", generation="g1", after=2.0)
    disk.fill()
    left.close()
    until(lambda: not stack.generation("g1")["workers"], "g1 ending with its window")
    assert stack.generation("g1")["state"] == "retired"
    until(lambda: stack.status()["sessions"]["expired"] == 1, "a limit of time being kept")
    assert stack.status()["unsaved"]
    assert "No space left" in stack.log("manager")
    assert stack.log("manager").count("No space left") < 5
    doctor = [*TERMINALS, "doctor", "--config", str(stack.root / "manager.json"), "--output", "json"]
    found = json.loads(subprocess.run(doctor, capture_output=True).stdout)
    assert [entry["verdict"] for entry in found if entry["subject"] == "generations"] == ["wrong"]
    disk.room()
    until(lambda: saved(disk, "g1")["retired"], "what had to wait being written")
    until(lambda: not stack.status()["unsaved"], "nothing waiting any more")
    somebody.leave()


def test_the_way_back_needs_no_disk(disk, stack):
    stack.admin("retire", generation="g1", after=3600, way_back_from="g2", fence=5)
    somebody = Resident(stack.terminal())
    disk.fill()
    stack.admin("cancel-retire", generation="g1", fence=6)
    stack.admin("weights", weights={"g1": 100}, fence=6)
    pace = {"batch": 5, "interval": 0.1, "deadline": 30}
    tally = stack.admin("move", to="g1", share=100, fence=6, **pace)
    assert (tally["moved"], tally["severed"]) == (1, 0)
    assert stack.admin("stop", generation="g2", fence=6)["stopped"]
    assert stack.admin("sessions")["items"][0]["generation"] == "g1"
    somebody.leave()
    disk.room()
    until(lambda: saved(disk, "g1")["weight"] == 100, "the weights being written")
    stack.kill("manager")
    stack.start_manager()
    assert stack.status()["fence"] == 6
    assert stack.generation("g2")["state"] == "retired"


def test_a_manager_starts_on_a_full_disk(disk, stack):
    disk.fill()
    stack.kill("manager")
    stack.start_manager()
    stack.start_generation("g3")
    assert stack.generation("g2")["weight"] == 100
    disk.room()
    until(lambda: saved(disk, "g3"), "the newcomer being written")


@pytest.fixture
def roomy(disk) -> Iterator[Stack]:
    """Rings that are much larger than what they have of the disk at first."""
    with running(state_dir=str(disk.path / "state"), ring_bytes=1 << 20, stable_seconds=0) as stack:
        yield stack


@pytest.fixture
def recorded(disk) -> Iterator[Stack]:
    """Recordings on a disk that fills, and rings that have all of theirs."""
    bash = ["env", "TERM=dumb", "bash", "--norc", "--noprofile"]
    with running(
        state_dir=str(disk.path / "state"),
        ring_bytes=FIRST_RESERVED,
        stable_seconds=0,
        profiles={"system": {"command": bash, "record": True}},
        recordings={"when_lost": "notify", "lost_seconds": 2},
    ) as stack:
        yield stack


def test_what_cannot_be_recorded_is_said_and_marked(disk, recorded):
    terminal = recorded.terminal()
    terminal.open()
    text = bytearray(terminal.expect(rb"is recorded\]"))
    terminal.send(b"PS1=; stty -echo; echo rea''dy\n")
    text += terminal.expect(rb"ready\r\n")
    disk.fill()
    terminal.send(b"seq 20000; echo last-$((1 + 1))\n")  # twice the ring
    text += terminal.expect(rb"not recorded any more: No space left on device\]")
    until(lambda: text.extend(terminal.read(0.05)) or b"last-2" in text, "the shell running on")
    disk.room()
    until(lambda: text.extend(terminal.read(0.05)) or b"is recorded again]" in text, "the recorder")
    terminal.send(b"exit 3\n")
    until(lambda: text.extend(terminal.read(0.1)) or terminal.exit_status is not None, "the end")
    until(lambda: recorded.admin("recordings")["items"][0]["state"] == "ended", "the end being recorded")
    (path,) = (disk.path / "state" / "recordings").glob("*.cast")
    cast = cast_at(path)
    assert cast.of("x") == ["3"]
    # What is there, and what is said to be missing, is all that was seen.
    assert cast.of("m")
    at = 0
    for _, code, data in cast.events:
        if code == "m":
            count, words = data.split(" ", 1)
            assert words == "bytes were not recorded"
            at += int(count)
        elif code == "o":
            assert text[at : at + len(data)] == data.encode()
            at += len(data)
    assert at == len(text)


LINES = 30_000


def waits(stack: Stack, terminal: Terminal) -> bool:
    terminal.pump(0.05)
    return f"{terminal.session}: its shell has to wait" in stack.log("manager")


@pytest.mark.parametrize("manager_ends", [False, True])
def test_a_shell_waits_for_room_and_goes_on_with_nothing_lost(disk, roomy, manager_ends):
    other, terminal = roomy.terminal(), roomy.terminal()
    for one in (other, terminal):
        one.open()
        one.send(b"PS1=; stty -echo; echo rea''dy\n")
        one.expect(rb"ready\r\n")
    disk.fill()
    terminal.send(b"exec sh -c 'seq %d; exit 6'\n" % LINES)
    until(lambda: waits(roomy, terminal), "the shell waiting")
    assert terminal.received <= FIRST_RESERVED
    if manager_ends:
        roomy.kill("manager")
        roomy.start_manager()
        until(lambda: waits(roomy, terminal), "the shell waiting again")
    # Who prints little works on, and what has to be said of it is said once, not each second.
    end = time.monotonic() + 3 * DISK_SECONDS
    while time.monotonic() < end:
        terminal.pump(0.05)
        other.send(b"echo [$((6 * 7))]\n")
        other.expect(rb"\[42\]")
    assert roomy.log("manager").count("has to wait") == 1 + manager_ends
    assert terminal.exit_status is None
    assert terminal.received <= FIRST_RESERVED
    disk.room()
    text = bytearray()
    until(lambda: text.extend(terminal.read(0.1)) or terminal.exit_status is not None, "the shell's end")
    text += terminal.read()
    assert text.split() == [b"%d" % number for number in range(1, LINES + 1)]
    assert terminal.exit_status == 6
    assert terminal.stats.skipped == 0
    other.close(kill=True)
