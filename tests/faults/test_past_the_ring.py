"""Coming back when the ring no longer has it all: the screen, and what was missed, exactly told."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from terminals.client.link import LinkLost
from terminals.protocol.backoff import Backoff
from terminals.protocol.messages import FrameType
from terminals.screens.emulator import Emulator

from tests.support.stack import Stack, until

QUICK = Backoff(base=0.01, cap=0.1)
RING = 1 << 16
SEQ = 688_895
"""Bytes that ``seq 1 100000`` prints on a terminal."""


@pytest.fixture
def stack():
    """Small rings, and nobody's place is held: a client that leaves soon comes too late."""
    stack = Stack(ring_bytes=RING, hold_seconds=0, stable_seconds=0)
    stack.start_generation("g1", weight=100)
    yield stack
    stack.close()


def printed(stack, terminal) -> int:
    return next(item["output"] for item in stack.admin("sessions")["items"] if item["id"] == terminal.session)


def text_of(snapshot: bytes) -> str:
    emulator = Emulator(80, 24)
    emulator.feed(snapshot)
    return emulator._terminal.contents()


def leave_and_print(stack, terminal, command: bytes, size: int) -> None:
    """Type a command that waits until its person has left, and let it print past the ring."""
    go = stack.root / "go"
    go.unlink(missing_ok=True)
    wait = b"echo waits-$((1 + 1)); until [ -e %s ]; do sleep 0.02; done" % bytes(go)
    terminal.send(b"%s; %s\n" % (wait, command))
    # The line's own echo, of which some may come late, is before it: what is printed then is the command's.
    terminal.expect(rb"waits-2\r\n")
    terminal.cut()
    before = printed(stack, terminal)
    go.touch()
    until(lambda: printed(stack, terminal) - before >= size, "the output")


def test_the_screen_and_what_follows(stack):
    terminal = stack.terminal(backoff=QUICK)
    terminal.open()
    leave_and_print(stack, terminal, b"seq 1 100000; echo last-$((1 + 1))", SEQ + 8)
    had = terminal.received
    terminal.open()
    until(lambda: terminal.pump(0.05) or terminal.screen is not None, "the screen")
    terminal.send(b"echo [$((6 * 7))]\n")
    follows = terminal.expect(rb"\[42\]") + terminal.read()
    # What was had, what was skipped and what came since is all that was ever printed.
    assert terminal.stats.skipped == terminal.received - len(follows) - had
    shown = text_of(terminal.screen)
    assert shown.rstrip().split("\n")[-3:-1] == ["100000", "last-2"]
    assert stack.status()["screens"]["snapshots"] == 1


def test_a_screen_that_is_lost_on_its_way_is_painted_the_next_time(stack):
    terminal = stack.terminal(backoff=QUICK)
    terminal.open()
    leave_and_print(stack, terminal, b"seq 1 100000; echo last-$((1 + 1))", SEQ + 8)
    had, talk = terminal.received, terminal._conversation
    receive, lost = talk.received, []

    def lose(now: float, message: str | bytes) -> None:
        if message[0] == FrameType.SNAPSHOT:
            lost.append(message)
            terminal._lost(LinkLost("it was on its way"))
        else:
            receive(now, message)

    talk.received = lose
    for times in (1, 2):
        until(lambda n=times: terminal.pump(0.05) or len(lost) >= n, "the screen being lost")
    talk.received = receive
    until(lambda: terminal.pump(0.05) or terminal.screen is not None, "the screen")
    assert text_of(terminal.screen).rstrip().split("\n")[-3:-1] == ["100000", "last-2"]
    terminal.send(b"echo [$((6 * 7))]\n")
    follows = terminal.expect(rb"\[42\]") + terminal.read()
    assert terminal.stats.skipped == terminal.received - len(follows) - had
    # Once it is there, all is as ever.
    terminal.cut()
    until(lambda: terminal.pump(0.05) or terminal.connected, "the connection")
    assert terminal.attached.skipped == 0


def test_the_next_manager_goes_on_past_the_ring_and_keeps_the_screen(stack):
    """It has neither the screen nor the ring's beginning; the shell need not wait for what nobody has."""
    terminal = stack.terminal(backoff=QUICK)
    terminal.open()
    more = stack.root / "more"
    wait = b"until [ -e %s ]; do sleep 0.02; done" % bytes(more)
    leave_and_print(stack, terminal, b"seq 1 100000; %s; seq 1 100000; echo last-$((1 + 1))" % wait, SEQ)
    had, before = terminal.received, printed(stack, terminal)
    stack.kill("manager")
    stack.start_manager()
    more.touch()
    until(lambda: printed(stack, terminal) >= before + SEQ + 8, "the output")
    terminal.open()
    until(lambda: terminal.pump(0.05) or terminal.screen is not None, "the screen")
    terminal.send(b"echo [$((6 * 7))]\n")
    follows = terminal.expect(rb"\[42\]") + terminal.read()
    assert terminal.stats.skipped == terminal.received - len(follows) - had
    assert text_of(terminal.screen).rstrip().split("\n")[-3:-1] == ["100000", "last-2"]


def test_a_program_on_the_alternate_screen_started_long_before(stack):
    terminal = stack.terminal(backoff=QUICK)
    terminal.open()
    program = (
        b"echo beneath-$((1 + 1)); printf '\\033[?1049h\\033[?2004h\\033[2J';"
        b" for i in $(seq 20000); do printf '\\033[5;5Hround %d \\033[K' $i; done;"
        b" printf '\\033[5;5Hready'; read"
    )
    output = [b"beneath-2\r\n", b"\033[?1049h\033[?2004h\033[2J", b"\033[5;5Hready"]
    output += [b"\033[5;5Hround %d \033[K" % number for number in range(1, 20_001)]
    leave_and_print(stack, terminal, program, sum(map(len, output)))
    terminal.open()
    until(lambda: terminal.pump(0.05) or terminal.screen is not None, "the screen")
    emulator = Emulator(80, 24)
    emulator.feed(terminal.screen)
    assert emulator._terminal.text().split("\n")[4].startswith("    ready")
    assert emulator._terminal.mode(2004)
    emulator.feed(b"\x1b[?1049l")
    assert "beneath-2" in emulator._terminal.text()


def test_a_page_without_history_gets_the_ring_and_then_the_right_screen(stack):
    terminal = stack.terminal(backoff=QUICK)
    terminal.open()
    leave_and_print(stack, terminal, b"printf '\\033[31m'; seq 1 100000; echo last-$((1 + 1))", SEQ + 13)
    page = stack.terminal(session=terminal.session)
    assert page.open().skipped == 0
    until(lambda: page.pump(0.05) or page.screen is not None, "the screen")
    assert len(page.read()) > RING // 2
    assert "last-2" in text_of(page.screen)
    assert b"\x1b[38;5;1m" in page.screen  # red still, though it was said far before the ring


def test_a_client_of_version_1_is_told_the_gap_and_gets_what_is_left(stack):
    terminal = stack.terminal(backoff=QUICK, versions=(1,))
    terminal.open()
    leave_and_print(stack, terminal, b"seq 1 100000; echo last-$((1 + 1))", SEQ + 8)
    attached = terminal.open()
    assert attached.skipped > 400_000
    terminal.expect(rb"last-2")
    assert terminal.screen is None


def test_a_killed_keeper_stops_no_shell_and_is_started_again(stack):
    terminal = stack.terminal(backoff=QUICK)
    terminal.open()
    leave_and_print(stack, terminal, b"seq 1 100000", SEQ)
    keeper = stack.status()["screens"]["keeper"]
    os.kill(keeper, signal.SIGKILL)
    until(lambda: stack.status()["screens"]["keeper"] is None, "the death noticed")
    terminal.open()
    leave_and_print(stack, terminal, b"seq 1 200000; echo again-$((1 + 1))", SEQ + 800_000 + 9)

    def shown() -> bool:
        """It is started again within moments: then whoever comes past the ring gets a screen."""
        terminal.screen = None
        leave_and_print(stack, terminal, b"seq 1 100000; echo again-$((1 + 1))", SEQ + 9)
        terminal.open()
        terminal.pump(0.2)
        return terminal.screen is not None and "again-2" in text_of(terminal.screen)

    until(shown, "a screen by the next keeper")
    assert stack.status()["screens"]["keeper"] not in (None, keeper)


@pytest.mark.slow("waits for a keeper that does not answer; a killed one is in the first tier")
def test_a_stopped_keeper_holds_only_those_that_nobody_sees(stack):
    terminal, other = stack.terminal(backoff=QUICK), stack.terminal(backoff=QUICK)
    terminal.open()
    other.open()
    leave_and_print(stack, terminal, b"seq 1 100000", SEQ)
    os.kill(stack.status()["screens"]["keeper"], signal.SIGSTOP)
    try:
        other.send(b"seq 1 200000; echo [$((6 * 7))]\n")
        other.expect(rb"\[42\]")
    finally:
        os.kill(stack.status()["screens"]["keeper"], signal.SIGCONT)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give rights up")
def test_the_keeper_has_hardly_any_rights(stack):
    terminal = stack.terminal(backoff=QUICK)
    terminal.open()
    leave_and_print(stack, terminal, b"seq 1 100000", SEQ)
    status = Path(f"/proc/{stack.status()['screens']['keeper']}/status").read_text()
    assert "Uid:\t65534\t65534\t65534\t65534" in status
    assert "NoNewPrivs:\t1" in status
    assert "CapEff:\t0000000000000000" in status
