"""Somebody who types all the while and whose shell prints all the while: each line of both once, in order."""

from __future__ import annotations

import threading

from terminals import tickets
from terminals.tickets import Ticket

from tests.support.stack import TOKEN, PatientTerminal, until

TALKER = """
import os, sys, termios, threading, time

mode = termios.tcgetattr(0)
mode[3] &= ~termios.ECHO
termios.tcsetattr(0, termios.TCSANOW, mode)
done = threading.Event()
printed = 0


def talk():
    global printed
    while not done.is_set():
        for _ in range(20):
            os.write(1, b"out-%d\\n" % printed)
            printed += 1
        time.sleep(0.005)


os.write(1, b"ready\\n")
thread = threading.Thread(target=talk)
thread.start()
while (line := sys.stdin.buffer.readline()) != b"done\\n":
    os.write(1, b"in-" + line)
done.set()
thread.join()
os.write(1, b"last-%d\\n" % printed)
sys.exit(7)
"""
"""Prints numbered lines on and on, and between them each line that is typed."""


class Typist:
    """Somebody who types numbered lines all the time, in a thread of its own."""

    def __init__(self, url: str, user: str, key: str = TOKEN) -> None:
        ticket = tickets.issue(key.encode(), Ticket(user))
        self.terminal = PatientTerminal(url, ticket=ticket)
        self.terminal.open(timeout=60)
        self.terminal.expect(rb"ready\r\n")
        self.typed = 0
        self.seen = bytearray()
        self.failed: BaseException | None = None
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def _work(self) -> None:
        try:
            while not self._done.is_set():
                self.terminal.send(b"%d\n" % self.typed)
                self.typed += 1
                self.seen += self.terminal.read(0.01)
            self.terminal.send(b"done\n")
            until(self._ended, "its shell's end")
        except BaseException as error:
            self.failed = error

    def _ended(self) -> bool:
        self.seen += self.terminal.read(0.1)
        return self.terminal.exit_status is not None

    def is_on(self, connects: int, lines: int) -> bool:
        """Whether it has so many connections behind it, has typed so much and has seen some of it."""
        assert self.failed is None, self.failed
        at_work = self.terminal.connected and self.terminal.stats.connects >= connects
        return at_work and self.typed >= lines and b"in-%d\r\n" % (lines - 20) in self.seen

    def leave(self) -> None:
        """Have its shell end, and see that each line of both has come once, and in its order."""
        self._done.set()
        self._thread.join()
        assert self.failed is None, self.failed
        assert self.terminal.exit_status == 7
        assert self.terminal.stats.skipped == self.terminal.stats.dropped_input == 0
        lines = bytes(self.seen).split(b"\r\n")
        echoed = [line for line in lines if line.startswith(b"in-")]
        assert echoed == [b"in-%d" % number for number in range(self.typed)]
        printed = [line for line in lines if line.startswith(b"out-")]
        assert printed == [b"out-%d" % number for number in range(len(printed))]
        assert lines[-2:] == [b"last-%d" % len(printed), b""]
        assert len(lines) == len(echoed) + len(printed) + 2
