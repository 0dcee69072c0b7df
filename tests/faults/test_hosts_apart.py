"""Networks between hosts, and between them and their clients, come and go: no session is ever said to be gone
that is there, and not a byte of any is lost."""

from __future__ import annotations

import random
import re
import threading
import time

import pytest
from terminals.client import Terminal
from terminals.protocol import client as conversation

from tests.support.fleet import Fleet, fleet
from tests.support.stack import TOKEN, until

LOST = 8.0
LONGEST_CUT = 2.0
"""Seconds: with the time that it takes to be heard again, well below the silence that has a host lost."""
SECONDS = 45.0


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

    def leave(self) -> None:
        """Whoever is still here when all networks are, has missed nothing."""
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


@pytest.mark.slow("three hosts, three people and a minute of cuts; each kind of cut is in the first tier")
@pytest.mark.parametrize("seed", [None])
def test_whatever_is_cut_for_a_moment_nobody_is_told_that_a_session_is_gone(tmp_path, seed):
    seed = random.randrange(1 << 30) if seed is None else seed
    print(f"seed {seed}")
    drawn = random.Random(seed)
    with fleet(tmp_path, "abc", doors=True, lost_seconds=LOST) as hosts:
        people = [Somebody(hosts, home, door) for home, door in ("ab", "bc", "ca")]
        networks = [*hosts.links.values(), *hosts.doors.values()]
        end = time.monotonic() + SECONDS
        cuts = 0
        while time.monotonic() < end:
            chosen = drawn.sample(networks, drawn.randint(1, len(networks)))
            for network in chosen:
                network.cut()
                if drawn.random() < 0.3:
                    network.drop()
            cuts += len(chosen)
            time.sleep(drawn.uniform(0.1, LONGEST_CUT))
            for network in chosen:
                network.heal()
            time.sleep(drawn.uniform(0.1, LONGEST_CUT))
        assert cuts > 30
        for somebody in people:
            somebody.leave()
        assert sum(isinstance(event, conversation.Lost) for each in people for event in each.said) > 0
