"""The resume rules against a model: any interleaving of cuts, deaths and traffic delivers once.

Real sender, receiver and resume rules, joined by a network that loses what is in flight.
``HYPOTHESIS_PROFILE`` aside, run it for longer with ``--hypothesis-seed`` and a loop.
"""

from __future__ import annotations

import collections

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from terminals.protocol.resume import Receiver, Resume, Sender, resume_from

from tests.support.tiers import examples

RING = 64
"""Bytes of output a server keeps: small, so that clients often come too late."""


class Delivery(RuleBasedStateMachine):
    """One session, one client, a server that dies and comes back."""

    def __init__(self) -> None:
        super().__init__()
        self.printed = bytearray()  # the shell's whole output, ever: the model
        self.tail = 0
        self.screen = bytearray()  # what the client has put on its screen
        self.skips: list[tuple[int, int]] = []  # (offset, count) of what it was told it missed
        self.reader = Receiver()
        self.typed = bytearray()  # everything typed, ever: the model
        self.keys = Sender(limit=200)
        self.keys_sent = 0
        self.shell = bytearray()  # what the shell has read
        self.input = Receiver()  # in the session manager: it outlives every worker
        self.connected = False
        self.server_sent = 0
        self.down: collections.deque[tuple[int, bytes | None]] = collections.deque()
        self.up: collections.deque[tuple[int, bytes]] = collections.deque()
        self.acks: collections.deque[int] = collections.deque()

    @rule(data=st.binary(min_size=1, max_size=40))
    def shell_prints(self, data: bytes) -> None:
        self.printed += data
        self.tail = max(self.tail, len(self.printed) - RING)
        if self.connected and self.server_sent < self.tail:
            # A worker that the ring has overtaken ends the connection; the client resumes.
            self.cut()

    @rule(data=st.binary(min_size=1, max_size=20))
    def client_types(self, data: bytes) -> None:
        if len(data) <= self.keys.room:
            self.keys.push(data)
            self.typed += data

    @precondition(lambda self: not self.connected)
    @rule(version=st.sampled_from([1, 2]))
    def connect(self, version: int = 2) -> None:
        """Any worker of any generation: none of them remembers anything."""
        where = resume_from(self.reader.received, tail=self.tail, head=len(self.printed))
        if where.skipped and version == 2:
            # Past the ring: a screen as of now, and what follows it.
            where = Resume(len(self.printed), len(self.printed) - self.reader.received)
        if where.skipped:
            self.skips.append((self.reader.received, where.skipped))
        self.reader.received = self.server_sent = where.start
        self.keys.ack(self.input.received)
        self.keys_sent = self.keys.acked
        self.connected = True

    @precondition(lambda self: self.connected)
    @rule()
    def cut(self) -> None:
        """A lost network or a killed worker: everything in flight is gone."""
        self.connected = False
        self.down.clear()
        self.up.clear()
        self.acks.clear()

    @precondition(lambda self: self.connected)
    @rule(count=st.integers(1, 30))
    def server_sends(self, count: int) -> None:
        data = bytes(self.printed[self.server_sent : self.server_sent + count])
        if data:
            self.down.append((self.server_sent, data))
            self.server_sent += len(data)

    @precondition(lambda self: self.connected)
    @rule(count=st.integers(1, 30))
    def client_sends(self, count: int) -> None:
        first, pending = self.keys.pending()
        data = pending[self.keys_sent - first :][:count]
        if data:
            self.up.append((self.keys_sent, data))
            self.keys_sent += len(data)

    @precondition(lambda self: self.connected)
    @rule()
    def server_shows_the_screen(self) -> None:
        """A watcher that the ring has overtaken is not cut: it goes on from a screen."""
        self.down.append((len(self.printed), None))
        self.server_sent = len(self.printed)

    @precondition(lambda self: self.down)
    @rule()
    def output_arrives(self) -> None:
        seq, data = self.down.popleft()
        if data is not None:
            self.screen += self.reader.accept(seq, data)
            return
        had = self.reader.received
        if skipped := self.reader.jump(seq):
            self.skips.append((had, skipped))

    @precondition(lambda self: self.up)
    @rule(twice=st.booleans())
    def input_arrives(self, twice: bool) -> None:
        """Once, or twice: a worker that died after passing it on has passed it on."""
        seq, data = self.up.popleft()
        for _ in range(1 + twice):
            self.shell += self.input.accept(seq, data)
        self.acks.append(self.input.received)

    @precondition(lambda self: self.acks)
    @rule(lost=st.booleans())
    def acknowledgement_arrives(self, lost: bool) -> None:
        received = self.acks.popleft()
        if not lost:
            self.keys.ack(received)

    @invariant()
    def the_screen_is_the_output_less_what_was_told_missing(self) -> None:
        expected = bytearray()
        at = 0
        for offset, count in self.skips:
            expected += self.printed[at:offset]
            at = offset + count
        expected += self.printed[at : self.reader.received]
        assert self.screen == expected

    @invariant()
    def the_shell_has_read_what_was_typed_once(self) -> None:
        assert self.shell == self.typed[: len(self.shell)]
        assert self.input.received == len(self.shell)

    def teardown(self) -> None:
        """In the end everything gets through."""
        if not self.connected:
            self.connect()
        while self.server_sent < len(self.printed):
            self.server_sends(30)
        while self.down:
            self.output_arrives()
        self.client_sends(200)
        while self.up:
            self.input_arrives(False)
        assert self.reader.received == len(self.printed)
        assert self.shell == self.typed
        self.the_screen_is_the_output_less_what_was_told_missing()


TestDelivery = Delivery.TestCase
TestDelivery.settings = settings(max_examples=examples(300), stateful_step_count=60, derandomize=True)
