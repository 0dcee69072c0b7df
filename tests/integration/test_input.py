"""Input that waits for its shell: taken over, cut off, come back to, and in no log."""

from __future__ import annotations

import fcntl
import re
import struct
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest
from terminals.client import TakenOver, Terminal
from terminals.protocol.backoff import Backoff
from terminals.protocol.breaker import CircuitBreaker

from tests.support.stack import Stack, until

WINDOW = 1 << 16


@pytest.fixture
def stack() -> Iterator[Stack]:
    """One that takes no series of cuts and take-overs for a reconnection loop."""
    stack = Stack(stable_seconds=0)
    try:
        stack.start_generation("g1", weight=100)
        yield stack
    finally:
        stack.close()


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


def test_a_session_is_taken_over_while_its_input_waits_for_the_shell(stack):
    first = client(stack)
    shell = Deaf(stack, first)
    pasted = SECRET * 5000
    first.send(pasted)
    shell.heard(first, 101)
    second = client(stack, session=first.session)
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
        assert SECRET.strip() not in stack.log(name).encode()
        assert "Traceback" not in stack.log(name)
        assert "bad packet" not in stack.log(name)


def test_reconnections_let_no_more_in_than_the_window(stack):
    terminal = client(stack)
    shell = Deaf(stack, terminal)
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


def test_no_client_is_refused_for_what_others_have_typed(stack):
    """Each keeps to its window; together they are more than is held for a shell that does not read."""
    clients = [client(stack)]
    shell = Deaf(stack, clients[0])
    clients += [client(stack, session=clients[0].session) for _ in range(6)]
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
