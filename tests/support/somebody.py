"""Somebody whose shell counts, and who has seen every number when it is over."""

from __future__ import annotations

import re
import threading

from terminals.client import Terminal
from terminals.protocol import client as conversation

from tests.support.fleet import Fleet
from tests.support.stack import TOKEN, until


class Somebody:
    """Who begins at a host, is then led there by another one, and sees that nothing is missing."""

    def __init__(self, hosts: Fleet, home: str, door: str) -> None:
        self.said: list[conversation.Event] = []
        self.error: BaseException | None = None
        with Terminal(hosts.url(home), token=TOKEN) as first:
            first.send(b"PS1=; i=0; while :; do echo n=$i=; i=$((i + 1)); sleep 0.02; done\n")
            first.expect(rb"n=3=")
            first.close()
        self._terminal = Terminal(
            hosts.url(door),
            token=TOKEN,
            session=first.session,
            connect_timeout=3.0,
            on_event=self.said.append,
        )
        self._terminal.open(60)
        self.session = first.session
        self._seen = bytearray()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        try:
            while not self._over.is_set():
                self._seen += self._terminal.read(0.1)
        except BaseException as error:
            self.error = error

    def last(self) -> int:
        return int(re.findall(rb"n=(\d+)=\r", bytes(self._seen))[-1])

    def leave(self) -> int:
        """Whoever is still here when all networks are, has missed nothing; gives how much that was, in
        numbers."""
        before = self.last()
        until(lambda: self.error or self.last() > before, "it goes on")
        self._over.set()
        self._thread.join()
        assert self.error is None
        numbers = [int(number) for number in re.findall(rb"n=(\d+)=\r", bytes(self._seen))]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        assert self._terminal.stats.skipped == 0
        assert not [event for event in self.said if isinstance(event, conversation.HostLost)]
        self._terminal.close(kill=True)
        return len(numbers)
