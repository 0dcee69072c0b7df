"""The pool of processes that serve connections: which gets the next, and what waits while there is none."""

from __future__ import annotations

import collections
import socket
import time
from collections.abc import Iterator
from typing import Final, Literal, get_args

from terminals.background import Troubles
from terminals.control import packets
from terminals.control.answers import PoolInfo
from terminals.control.descriptors import scarce
from terminals.manager.generations import Generation, Generations
from terminals.manager.metrics import Histogram
from terminals.manager.peers import Peer

BACKLOG: Final = 4096
"""Accepted connections that may wait while no worker is there (a worker restarts in well under a second)."""
BACKLOG_SECONDS: Final = 10.0
Dropped = Literal["full", "late", "failed"]
"""Why nobody serves a connection: too many wait, it has waited too long, or it could not be passed on."""


class Pool:
    """Passes connections on by the weights of the generations, and counts them."""

    def __init__(self, generations: Generations, troubles: Troubles) -> None:
        self.peers: list[Peer] = []
        """Workers and web processes."""
        self.expected: set[tuple[str, str]] = set()
        """Roles and generations that the manager before had, and that have not come back yet: connections
        wait for them."""
        self.accepted: collections.Counter[str] = collections.Counter()
        """Connections by the listener that they came to."""
        self.passed: collections.Counter[tuple[str, str]] = collections.Counter()
        """... by role and generation of the process that has them."""
        self.dropped: dict[Dropped, int] = dict.fromkeys(get_args(Dropped), 0)
        self.room: Final = BACKLOG
        """Most that may wait."""
        self.waits = Histogram()
        """Seconds from a connection's arrival here until it was passed on."""
        self._generations = generations
        self._troubles = troubles
        self._backlog: collections.deque[tuple[packets.Conn, socket.socket, float]] = collections.deque()

    @property
    def waiting(self) -> int:
        """Accepted connections that wait for a process."""
        return len(self._backlog)

    @property
    def info(self) -> PoolInfo:
        """What is told of it."""
        return PoolInfo(
            waiting=self.waiting,
            room=self.room,
            accepted=sum(self.accepted.values()),
            passed=sum(self.waits.counts),
            dropped=sum(self.dropped.values()),
            waited=self.waits.total,
        )

    def of(self, generation: str) -> list[Peer]:
        """Connected worker and web processes of a generation."""
        return [peer for peer in self.peers if peer.generation == generation]

    def serving(self, generation: str, role: str, *, hanging: bool = False) -> Iterator[Peer]:
        """Those of them that have a role, and work, or at least hang."""
        return (peer for peer in self.of(generation) if peer.role == role and (hanging or not peer.silent))

    def arrived(self, name: str, conn: socket.socket, address: str, head: bytes | None = None) -> None:
        """Pass on a connection that carries plain bytes, of which ``head`` was read, or keep it until there
        is somebody to pass it to. ``name``: the listener that it came to."""
        self.accepted[name] += 1
        message, now = packets.Conn(listener=name, address=address, rest=head), time.monotonic()
        if self._dispatch(message, conn, now):
            return
        if len(self._backlog) >= BACKLOG or scarce(conn.fileno()):
            self._drop(conn, "full")
        else:
            self._backlog.append((message, conn, now))

    def flush(self) -> None:
        """Hand out connections that had to wait."""
        now = time.monotonic()
        for _ in range(len(self._backlog)):
            message, conn, since = self._backlog.popleft()
            if self._dispatch(message, conn, since):
                continue
            if now >= since + BACKLOG_SECONDS:
                self._drop(conn, "late")
            else:
                self._backlog.append((message, conn, since))

    def hand(self, generation: str, role: str, conn: socket.socket, message: packets.Conn) -> None:
        """Pass a connection, which is ours, on to the process of a generation that has fewest of them."""
        peers = (peer for peer in self.serving(generation, role, hanging=True) if _able(peer, message))
        peer = min(peers, key=lambda peer: (peer.silent, peer.connections))
        try:
            peer.send(message, (conn.fileno(),))
            peer.connections += 1
            self.passed[role, generation] += 1
        except OSError as error:
            self.dropped["failed"] += 1
            self._troubles.say(f"connections to {generation}", f"one is dropped: {error}")
        finally:
            conn.close()

    def look(self) -> None:
        """Find those that hang, and give what still waits for them to others."""
        for peer in list(self.peers):  # whom nothing can be sent is taken out of it
            peer.missed += 1
            if peer.silent:
                self._troubles.say(peer.name, "says nothing: nobody is led to it while others work")
                self._take_back(peer)

    def _dispatch(self, message: packets.Conn, conn: socket.socket, since: float) -> bool:
        role = "web" if message.listener == "web" else "worker"
        if any(expected == role for expected, _ in self.expected):
            return False
        generation = self._choose(role, message) or self._choose(role, message, hanging=True)
        if generation is None:
            return False
        self.hand(generation.name, role, conn, message)
        self.waits.observe(time.monotonic() - since)
        return True

    def _choose(self, role: str, message: packets.Conn, *, hanging: bool = False) -> Generation | None:
        """The generation of the next connection, among those with a process that works, or hangs."""

        def usable(generation: Generation) -> bool:
            peers = self.serving(generation.name, role, hanging=hanging)
            return any(_able(peer, message) for peer in peers)

        return self._generations.choose(usable)

    def _take_back(self, peer: Peer) -> None:
        assert peer.channel is not None
        in_its_place = any(self.serving(peer.generation, peer.role))
        weighty = (entry.name for entry in self._generations.table.values() if entry.weight)
        if not in_its_place and not any(any(self.serving(name, peer.role)) for name in weighty):
            return
        for message, fd in peer.channel.withdraw(packets.Conn):
            peer.connections = max(0, peer.connections - 1)
            chosen = None if in_its_place else self._choose(peer.role, message)
            generation = chosen.name if chosen else peer.generation
            self.hand(generation, peer.role, socket.socket(fileno=fd), message)

    def _drop(self, conn: socket.socket, why: Dropped) -> None:
        self.dropped[why] += 1
        conn.close()


def _able(peer: Peer, message: packets.Conn) -> bool:
    """A process of an earlier build would wait for a request that a web process has read already."""
    return peer.reads_on or message.rest is None or message.hello is not None
