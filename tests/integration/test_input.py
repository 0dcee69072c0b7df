"""Input that waits for its shell: taken over, cut off, come back to, and in no log."""

from __future__ import annotations

import fcntl
import json
import re
import struct
import termios
from pathlib import Path

import pytest
from terminals.client import ConnectError, TakenOver, Terminal
from terminals.protocol.backoff import Backoff
from terminals.protocol.breaker import CircuitBreaker
from terminals.protocol.client import ClientSession

from tests.support.stack import Stack, until

WINDOW = 1 << 16


def client(stack: Stack, **options) -> Terminal:
    quick = Backoff(base=0.01, cap=0.1)
    return stack.terminal(backoff=quick, breaker=CircuitBreaker(1000), stable_after=0, **options)


class Deaf:
    """A shell that reads nothing until it is told to; from then on what is typed goes to a file."""

    def __init__(self, stack: Stack, terminal: Terminal) -> None:
        self._go, self._out = stack.root / "go", stack.root / "out"
        terminal.open()
        terminal.send(
            b"tty; stty raw -echo; echo de''af; until [ -e %s ]; do sleep 0.02; done; cat > %s\n"
            % (bytes(self._go), bytes(self._out))
        )
        self._tty = Path(re.search(rb"/dev/pts/\d+", terminal.expect(rb"\ndeaf"))[0].decode())
        until(lambda: terminal.pump(0.02) or terminal.unacknowledged == 0, "the command taken")

    def heard(self, terminal: Terminal, cols: int) -> None:
        """Wait until the manager has got all that ``terminal`` has sent so far, this last."""
        terminal.resize(cols, 24)

        def resized() -> bool:
            terminal.pump(0.02)
            with self._tty.open("rb") as tty:
                size = fcntl.ioctl(tty, termios.TIOCGWINSZ, bytes(8))
            return struct.unpack("4H", size)[1] == cols

        until(resized, "the input and the new size getting through")

    def listen(self) -> None:
        self._go.touch()

    def got(self) -> bytes:
        return self._out.read_bytes() if self._out.exists() else b""


SECRET = b"correct-horse-battery-staple "


def test_a_session_is_taken_over_while_its_input_waits_for_the_shell(calm_stack):
    first = client(calm_stack)
    shell = Deaf(calm_stack, first)
    pasted = SECRET * 5000
    first.send(pasted)
    shell.heard(first, 101)
    second = client(calm_stack, session=first.session)
    assert second.open(10).status == "resumed"
    with pytest.raises(TakenOver):
        until(lambda: first.pump(0.05), "the first being told")
    second.send(b"<second>")
    shell.heard(second, 102)
    shell.listen()
    until(lambda: second.pump(0.02) or second.unacknowledged == 0, "the second's input taken")
    first.open()
    until(lambda: first.pump(0.02) or first.unacknowledged == 0, "the rest of the first's input taken")
    until(lambda: len(shell.got()) >= len(pasted) + 8, "all of it")
    assert shell.got().count(b"<second>") == 1
    assert shell.got().replace(b"<second>", b"") == pasted
    for name in ("manager", "worker-g1"):
        assert SECRET.strip() not in calm_stack.log(name).encode()
        assert "Traceback" not in calm_stack.log(name)
        assert "bad packet" not in calm_stack.log(name)


def test_reconnections_let_no_more_in_than_the_window(calm_stack):
    terminal = client(calm_stack)
    shell = Deaf(calm_stack, terminal)
    pasted = b"".join(b"%07d " % number for number in range(80_000))
    terminal.send(pasted)
    for cut in range(8):
        shell.heard(terminal, 101 + cut)
        terminal.cut()
        terminal.open()
    shell.heard(terminal, 201)
    shell.listen()
    until(lambda: terminal.pump(0.02) or terminal.unacknowledged == 0, "all of it taken")
    until(lambda: len(shell.got()) >= len(pasted), "all of it")
    assert shell.got() == pasted
    assert terminal.stats.losses == 8  # nothing but the cuts


def test_no_client_is_refused_for_what_others_have_typed(calm_stack):
    """Each keeps to its window; together they are more than is held for a shell that does not read."""
    clients = [client(calm_stack)]
    shell = Deaf(calm_stack, clients[0])
    clients += [client(calm_stack, session=clients[0].session) for _ in range(6)]
    streams = [bytes(32 * k + (n * n // 7 + n) % 32 for n in range(WINDOW)) for k in range(7)]
    for number, (terminal, stream) in enumerate(zip(clients, streams, strict=True)):
        terminal.open()
        terminal.send(stream)
        shell.heard(terminal, 101 + number)
    shell.listen()
    for terminal in reversed(clients):
        if terminal is not clients[-1]:
            with pytest.raises(TakenOver):  # it has not looked since
                until(lambda terminal=terminal: terminal.pump(0.05), "being told")
            terminal.open()
        until(lambda t=terminal: t.pump(0.02) or t.unacknowledged == 0, "its input taken")
    until(lambda: len(shell.got()) >= 7 * WINDOW, "all of it")
    for number, stream in enumerate(streams):
        assert bytes(byte for byte in shell.got() if byte >> 5 == number) == stream


def visit(stack: Stack, session: str, count: int) -> None:
    """So many other clients come, type something, and go."""
    for _ in range(count):
        other = client(stack, session=session)
        other.open()
        other.send(b":\n")
        until(lambda other=other: other.pump(0.02) or other.unacknowledged == 0, "the visitor's input taken")
        other.close()


def run_unheard(terminal: Terminal, command: bytes, file: Path) -> None:
    """Have a command run, and lose the connection before its acknowledgement is read."""
    terminal.send(command)
    until(file.exists, "the command run")
    terminal.cut()


def test_a_client_that_comes_back_after_many_others_runs_nothing_twice(calm_stack):
    terminal = client(calm_stack)
    terminal.open()
    ran = calm_stack.root / "ran"
    run_unheard(terminal, b"echo once >> %s\n" % bytes(ran), ran)
    visit(calm_stack, terminal.session, 40)
    terminal.open()
    until(lambda: terminal.pump(0.02) or terminal.unacknowledged == 0, "its position being told")
    # Its input is acknowledged now; once more, it goes on from there.
    terminal.cut()
    visit(calm_stack, terminal.session, 40)
    terminal.open()
    terminal.send(b"echo twice >> %s; echo [$((6 * 7))]\n" % bytes(ran))
    terminal.expect(rb"\[42\]")
    assert ran.read_text() == "once\ntwice\n"
    assert terminal.stats.losses == 2


def test_a_forgotten_client_is_told_so_and_begins_anew(forgetful_stack):
    terminal = client(forgetful_stack)
    terminal.open()
    ran = forgetful_stack.root / "ran"
    command = b"echo once >> %s\n" % bytes(ran)
    run_unheard(terminal, command, ran)
    visit(forgetful_stack, terminal.session, 5)
    assert terminal.open().input_unknown
    assert terminal.unacknowledged == 0
    assert terminal.stats.dropped_input == len(command)
    terminal.send(b"echo again >> %s\n" % bytes(ran))
    until(lambda: terminal.pump(0.02) or terminal.unacknowledged == 0, "what it types now taken")
    until(lambda: ran.read_text() == "once\nagain\n", "each command having run once")
    # And is remembered from there.
    terminal.cut()
    assert not terminal.open().input_unknown
    terminal.send(b"echo [$((6 * 7))]\n")
    terminal.expect(rb"\[42\]")
    assert ran.read_text() == "once\nagain\n"


def test_who_has_never_attached_before_is_at_its_beginning_whoever_was_forgotten(forgetful_stack):
    terminal = client(forgetful_stack)
    terminal.open()
    visit(forgetful_stack, terminal.session, 5)
    other = client(forgetful_stack, session=terminal.session)
    assert (other.open().input, other.attached.input_unknown) == (0, False)


class Older(ClientSession):
    """A client that does not know of forgotten positions."""

    def received(self, now, message):
        if isinstance(message, str):
            message = json.dumps({**json.loads(message), "input_unknown": False})
        super().received(now, message)


def test_an_older_client_that_is_forgotten_never_runs_a_command_twice(forgetful_stack, monkeypatch):
    for acknowledged in (b"", b"true\n"):
        with monkeypatch.context() as older:
            older.setattr("terminals.client.terminal.ClientSession", Older)
            terminal = forgetful_stack.terminal(stable_after=0)
        terminal.open()
        terminal.send(acknowledged)
        until(lambda t=terminal: t.pump(0.02) or t.unacknowledged == 0, "its first input taken")
        ran = forgetful_stack.root / f"ran{len(acknowledged)}"
        run_unheard(terminal, b"echo once >> %s\n" % bytes(ran), ran)
        visit(forgetful_stack, terminal.session, 5)
        with pytest.raises(ConnectError, match="broke the protocol: expected byte"):
            terminal.open(1.0)
        with client(forgetful_stack, session=terminal.session) as other:
            other.send(b"echo other >> %s; echo [$((6 * 7))]\n" % bytes(ran))
            other.expect(rb"\[42\]")
        assert ran.read_text() == "once\nother\n"
