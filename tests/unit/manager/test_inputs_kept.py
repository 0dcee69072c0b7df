"""Positions of clients over the end of a session manager: from a ring's header, and what the holder keeps."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from terminals.manager import inputs as module
from terminals.manager.holding import raw
from terminals.manager.inputs import Inputs
from terminals.manager.ring import HEADER_BYTES, SLOTS, slot_of
from terminals.protocol.resume import is_anew


class Kept:
    """What outlives a manager, and the inputs of the present one."""

    def __init__(self) -> None:
        self.words = memoryview(bytearray(HEADER_BYTES)).cast("Q")
        self.fields: dict[str, msgspec.Raw] = {}
        self.inputs = Inputs(self.words, self._keep)

    def _keep(self, fields: dict[str, object]) -> None:
        for name, value in fields.items():
            if value is None:
                self.fields.pop(name, None)
            else:
                self.fields[name] = raw(value)

    def type(self, client: str, data: bytes, taken: int | None = None) -> None:
        """The client attaches and sends; the terminal takes ``taken`` bytes of what waits, or all."""
        self.inputs.begin(client, returning=client in self.known)
        at = self.inputs.written(client)
        self.inputs.accept(client, at, data)
        left = 1 << 30 if taken is None else taken
        while left and (waiting := self.inputs.next()):
            slot, base = self.inputs.place()
            count = min(left, len(waiting))
            self.words[slot_of(slot) + 1] = base + count  # as the journal does
            self.inputs.wrote(count)
            left -= count

    @property
    def known(self) -> dict[str, int]:
        return {client: position.written for client, position in self.inputs._positions.items()}

    def restart(self) -> None:
        """The manager is killed, and another one goes on."""
        before, typed, forgotten = self.known, self.inputs.typed, self.inputs.forgotten
        self.inputs = Inputs(self.words, self._keep, self.fields)
        assert self.known == before
        assert (self.inputs.typed, self.inputs.forgotten) == (typed, forgotten)
        assert self.inputs.waiting == 0


def test_two_hundred_clients_are_where_they_were():
    kept, chance = Kept(), random.Random(7)
    written: dict[str, int] = {}
    for _ in range(4):
        for _ in range(600):
            client = f"{chance.randrange(200)}"
            data = bytes(chance.randrange(1, 50))
            kept.type(client, data)
            written[client] = written.get(client, 0) + len(data)
        assert len(written) > 150
        kept.restart()
        assert kept.known == written
    assert len(written) == 200
    assert len({kept.words[slot_of(slot)] for slot in range(SLOTS)}) == SLOTS


def test_what_only_waited_is_sent_again_and_taken_once():
    kept = Kept()
    kept.type("a", b"one two", taken=3)
    kept.restart()
    assert kept.inputs.written("a") == 3
    kept.type("a", b" two")
    assert kept.known == {"a": 7}


def test_what_waited_for_a_terminal_that_hung_up_counts_as_taken_for_the_next_manager_too():
    """Its clients were told so, and do not have it any more."""
    kept = Kept()
    for number in range(SLOTS + 1):
        kept.type(f"{number}", b"typed")
    kept.type("0", b" more", taken=2)  # has lost its slot to the last one, and has one again
    kept.type("1", b" more", taken=0)  # has lost its to that one
    kept.inputs.abandon()
    assert (kept.inputs.written("0"), kept.inputs.written("1")) == (10, 10)
    kept.restart()


def test_who_is_forgotten_stays_so(monkeypatch):
    monkeypatch.setattr(module, "REMEMBERED_CLIENTS", 4)
    kept = Kept()
    for client in "abcdef":
        kept.type(client, b"typed")
    kept.restart()
    assert set(kept.known) == set("cdef")
    assert not kept.inputs.begin("a", returning=True)
    kept.restart()
    begun = kept.inputs.written("a")
    assert is_anew(begun)
    kept.type("a", b"on")
    kept.restart()
    assert kept.inputs.written("a") == begun + 2
    assert kept.inputs.begin("new", returning=False)


def test_a_forgotten_clients_input_that_still_waits_moves_nobody_elses_position(monkeypatch):
    monkeypatch.setattr(module, "SLOTS", 3)
    monkeypatch.setattr(module, "REMEMBERED_CLIENTS", 3)
    kept = Kept()
    kept.type("a", b"typed")
    kept.type("b", b"typed")
    kept.type("c", b"c", taken=0)
    kept.type("a", b"more", taken=0)
    for client in "bc":
        kept.inputs.begin(client, returning=True)
    kept.type("d", b"d", taken=0)  # one too many: a, the first to attach, is forgotten
    assert "a" not in kept.known
    kept.type("b", b"rest")  # c, first of all, has the slot now that was a's
    assert kept.known == {"b": 9, "c": 1, "d": 1}
    kept.restart()


def test_numbers_are_not_given_twice():
    kept = Kept()
    kept.type("a", b"x")
    kept.restart()
    kept.type("b", b"xy")
    kept.restart()
    assert kept.known == {"a": 1, "b": 2}


@pytest.fixture
def few(monkeypatch):
    """Two slots, and four clients that are remembered."""
    monkeypatch.setattr(module, "SLOTS", 2)
    monkeypatch.setattr(module, "REMEMBERED_CLIENTS", 4)


ACTIONS = st.one_of(
    st.tuples(st.sampled_from("abcdefg"), st.integers(1, 9), st.none() | st.integers(0, 9)),
    st.just("restart"),
    st.just("hang up"),
)


@pytest.mark.usefixtures("few")
def test_whatever_happens_the_next_manager_knows_what_this_one_did():
    @given(st.lists(ACTIONS, max_size=40))
    def check(actions: list[Any]) -> None:
        kept = Kept()
        for action in actions:
            match action:
                case "restart":
                    kept.restart()
                case "hang up":
                    kept.inputs.abandon()
                case (client, count, taken):
                    kept.type(client, bytes(count), taken)
        kept.restart()

    check()


def test_who_is_forgotten_twice_goes_on_somewhere_else_each_time(monkeypatch):
    """Or it would take the second time for being told of the first again, and send twice what was taken."""
    monkeypatch.setattr(module, "REMEMBERED_CLIENTS", 2)
    kept, places = Kept(), []
    kept.type("a", b"typed")
    for others in ("bc", "de"):
        for client in others:
            kept.type(client, b"typed")
        assert not kept.inputs.begin("a", returning=True)
        assert not kept.inputs.begin("a", returning=True)  # it may not have heard it
        places.append(kept.inputs.written("a"))
        kept.type("a", b"on")
        assert kept.inputs.begin("a", returning=True)
    assert places[0] < places[1]
