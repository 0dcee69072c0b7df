"""The two machines of a conversation, joined by a network that does what it likes."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule
from terminals.protocol import client
from terminals.protocol.client import Phase
from terminals.testing import Livelock, Person, World

from tests.support.tiers import examples

RING = 64


def check_seen(person: Person, printed: bytes) -> None:
    """What was seen is what was printed: nothing twice, and nothing missing but what a screen stands for."""
    at = None
    for item in person.seen:
        if isinstance(item, client.Output):
            start = item.end - len(item.data)
            assert at in (None, start)
            assert bytes(printed[start : item.end]) == item.data
        else:
            assert at is None or item.end >= at
        at = item.end


def test_what_is_typed_arrives_and_what_is_printed_is_seen():
    world = World()
    person = world.person()
    world.settle()
    session = world.session(person)
    person.type(b"ls\n")
    world.print(session, b"a b c\n")
    world.settle()
    assert session.typed(person.client) == b"ls\n"
    assert [item.data for item in person.seen] == [b"a b c\n"]


def test_a_cut_loses_nothing():
    world = World()
    person = world.person()
    world.settle()
    session = world.session(person)
    for word in (b"one\n", b"two\n", b"three\n"):
        person.type(word)
        world.print(session, word)
        world.pump(session)
        world.cut(person)
        world.settle()
    assert session.typed(person.client) == b"one\ntwo\nthree\n"
    assert b"".join(item.data for item in person.seen) == b"one\ntwo\nthree\n"


def test_a_server_that_never_lets_anybody_stay_is_found_out():
    world = World()
    person = world.person()
    for _ in range(200):
        world.pass_time(1.0)
        while world.round():
            pass
        world.cut(person)
    assert person.talk.breaker.opened
    assert len([event for event in person.events if isinstance(event, client.Connecting)]) < 30
    world.settle()
    assert person.talk.phase is Phase.ATTACHED


def test_a_network_that_carries_nothing_is_told_as_such():
    world = World()
    person = world.person()
    world.round = lambda: False
    with pytest.raises(Livelock):
        world.settle(30.0)
    assert person.talk.phase is not Phase.ATTACHED


ANY = st.integers(0, 5)


class Hostile(RuleBasedStateMachine):
    """Anything may happen at any moment, and everything may arrive late."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World(ring=RING)
        self.words: dict[str, int] = {}
        self.forgotten: set[str] = set()
        self.printed = 0
        self._join(None)

    def _join(self, session: str | None, **options: bool) -> None:
        if len(self.world.people) < 5:
            person = self.world.person(session, **options)
            self.words[person.client] = 0

    def _who(self, number: int) -> Person:
        return self.world.people[number % len(self.world.people)]

    # What people do.

    @rule(watch=st.booleans(), number=ANY)
    def somebody_joins(self, watch, number):
        if session := self._who(number).talk.session:
            self._join(session, watch=watch)

    @rule(number=ANY)
    def somebody_types(self, number):
        person = self._who(number)
        person.type(b"%04d" % self.words[person.client])
        self.words[person.client] += 1

    @rule(number=ANY)
    def somebody_takes_it_back(self, number):
        person = self._who(number)
        if person.talk.phase is Phase.STOPPED:
            person.talk.open(self.world.now)
            self.world.carry_out(person)

    @rule(number=ANY)
    def somebody_does_not_want_to_wait(self, number):
        person = self._who(number)
        person.talk.retry_now(self.world.now)
        person.talk.probe(self.world.now)
        self.world.carry_out(person)

    @rule(length=st.integers(1, 2 * RING))
    def a_shell_prints(self, length):
        for session in self.world.sessions.values():
            self.world.print(session, bytes((self.printed + place) % 251 for place in range(length)))
        self.printed += length

    # What the network does.

    @rule(number=ANY)
    def a_message_arrives(self, number):
        if link := self._who(number).link:
            self.world.arrive_up(link)

    @rule(number=ANY)
    def an_answer_arrives(self, number):
        if link := self._who(number).link:
            self.world.arrive_down(link)

    @rule()
    def everything_arrives(self):
        for _ in range(20):
            self.world.round()

    @rule(number=ANY)
    def a_connection_is_cut(self, number):
        self.world.cut(self._who(number))

    @rule(number=ANY)
    def a_connection_falls_silent(self, number):
        self.world.fall_silent(self._who(number))

    @rule(seconds=st.sampled_from([0.01, 0.2, 3.0, 50.0]))
    def time_passes(self, seconds):
        self.world.pass_time(seconds)

    # What the server does.

    @rule(number=ANY)
    def the_manager_answers_one(self, number):
        self.world.answer(number)

    @rule(number=ANY, order=ANY)
    def a_worker_hears_one(self, number, order):
        if link := self._who(number).link:
            self.world.hear(link, order)

    @rule()
    def output_is_sent(self):
        for session in self.world.sessions.values():
            self.world.pump(session)

    @rule(number=ANY)
    def somebody_is_moved(self, number):
        self.world.restart(self._who(number))

    @rule()
    def the_manager_is_replaced(self):
        self.world.lose_answers()

    @rule()
    def a_worker_dies(self):
        for person in self.world.people:
            self.world.cut(person)

    @rule(number=ANY)
    def a_position_is_forgotten(self, number):
        name = self._who(number).client
        for session in self.world.sessions.values():
            self.world.forget(session, name)
        self.forgotten.add(name)

    # What is always so.

    def teardown(self):
        self.world.settle()
        for person in self.world.people:
            if person.talk.session is None:
                continue
            session = self.world.session(person)
            check_seen(person, session.printed)
            came = session.typed(person.client)
            words = [int(came[at : at + 4]) for at in range(0, len(came), 4)]
            assert words == sorted(set(words)), "something was typed twice"
            if person.talk.phase is not Phase.ATTACHED:
                continue
            assert person.talk.received_bytes == len(session.printed)
            if not person.talk.watch and person.client not in self.forgotten:
                assert words == list(range(self.words[person.client]))


Hostile.TestCase.settings = settings(
    max_examples=examples(100),
    stateful_step_count=100,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestHostileNetwork = Hostile.TestCase
