"""Positions of clients, and the bytes that wait for a shell: no terminal is needed to count them."""

from __future__ import annotations

import pytest
from terminals.manager import inputs as module
from terminals.manager.inputs import MAX_WAITING, Inputs
from terminals.manager.ring import HEADER_BYTES
from terminals.protocol.resume import SequenceGap, is_anew


def of_nobody() -> Inputs:
    """Without a ring: with a header of its own."""
    return Inputs(memoryview(bytearray(HEADER_BYTES)).cast("Q"))


def drain(inputs: Inputs, most: int = 1 << 30) -> bytes:
    """Take what waits, as a terminal does that has room for ``most`` bytes at a time."""
    taken = b""
    while data := inputs.next():
        inputs.place()
        piece = bytes(data[:most])
        inputs.wrote(len(piece))
        taken += piece
    return taken


def test_a_client_is_told_what_the_terminal_has_taken_not_what_waits():
    inputs = of_nobody()
    inputs.accept("a", 0, b"one two")
    inputs.wrote(3)
    assert (inputs.written("a"), inputs.waiting) == (3, 4)
    # It comes back, is told so, and sends the rest again.
    assert not inputs.accept("a", 3, b" two")
    assert inputs.accept("a", 3, b" two three")
    assert drain(inputs, 2) == b" two three"
    assert inputs.written("a") == 13


def test_what_another_client_has_left_waiting_is_counted_as_its_own():
    inputs = of_nobody()
    inputs.accept("a", 0, b"left")
    inputs.begin("b", returning=False)
    assert inputs.written("b") == 0
    inputs.accept("b", 0, b"mine")
    assert drain(inputs, 3) == b"leftmine"
    assert (inputs.written("a"), inputs.written("b")) == (4, 4)


def test_a_gap_changes_nothing():
    inputs = of_nobody()
    inputs.accept("a", 0, b"ab")
    with pytest.raises(SequenceGap):
        inputs.accept("a", 3, b"d")
    inputs.accept("a", 2, b"c")
    assert drain(inputs) == b"abc"


def test_more_than_the_window_is_refused_and_then_accepted():
    inputs = of_nobody()
    inputs.accept("a", 0, bytes(MAX_WAITING))
    with pytest.raises(BufferError):
        inputs.accept("a", MAX_WAITING, b"more")
    inputs.wrote(4)
    assert inputs.accept("a", MAX_WAITING, b"more")
    assert drain(inputs) == bytes(MAX_WAITING - 4) + b"more"


def test_what_is_too_much_of_all_clients_is_given_back_to_the_last_and_comes_again():
    inputs = of_nobody()
    for client in range(8):
        inputs.begin(f"{client}", returning=True)
        inputs.accept(f"{client}", 0, b"%d" % client * (MAX_WAITING // 2))
        assert inputs.waiting <= 2 * MAX_WAITING
    taken = drain(inputs)
    for client in range(8):
        inputs.begin(f"{client}", returning=True)
        at = inputs.written(f"{client}")
        inputs.accept(f"{client}", at, b"%d" % client * (MAX_WAITING // 2 - at))
        taken += drain(inputs)
    assert [taken.count(b"%d" % client) for client in range(8)] == [MAX_WAITING // 2] * 8


def test_what_waited_for_a_terminal_that_hung_up_is_not_asked_for_again():
    inputs = of_nobody()
    inputs.accept("a", 0, b"gone")
    inputs.abandon()
    assert (inputs.written("a"), inputs.waiting, inputs.next()) == (4, 0, b"")


def test_clients_that_only_attach_push_nobody_out(monkeypatch):
    monkeypatch.setattr(module, "REMEMBERED_CLIENTS", 8)
    inputs = of_nobody()
    inputs.accept("a", 0, b"typed")
    for number in range(1000):
        assert inputs.begin(f"{number}", returning=number % 2 == 1)
    assert inputs.begin("a", returning=True)
    drain(inputs)
    assert inputs.written("a") == 5


def test_who_attaches_again_is_remembered_longer_than_who_types(monkeypatch):
    monkeypatch.setattr(module, "REMEMBERED_CLIENTS", 8)
    inputs = of_nobody()
    inputs.accept("a", 0, b"typed")
    inputs.accept("b", 0, b"typed")
    drain(inputs)
    for number in range(100):
        inputs.accept(f"{number}", 0, b"x")
        assert inputs.begin("a", returning=True)
    assert inputs.written("a") == 5
    assert not inputs.begin("b", returning=True)
    assert is_anew(inputs.written("b"))
    assert inputs.begin("c", returning=False)
    assert inputs.written("c") == 0


def test_a_forgotten_client_types_on_from_where_it_is_told(monkeypatch):
    monkeypatch.setattr(module, "REMEMBERED_CLIENTS", 1)
    inputs = of_nobody()
    inputs.accept("a", 0, b"run")
    inputs.accept("b", 0, b"push a out")
    drain(inputs)
    for _ in range(2):
        inputs.accept("b", 0, b"again")
        assert not inputs.begin("a", returning=True)
        assert not inputs.accept("a", 0, b"run")  # as one would that takes no notice
        assert inputs.accept("a", inputs.written("a"), b"anew")
        assert inputs.written("b") == 0
        drain(inputs)


def test_who_was_told_to_begin_anew_is_told_so_until_something_comes_of_it(monkeypatch):
    monkeypatch.setattr(module, "REMEMBERED_CLIENTS", 1)
    inputs = of_nobody()
    inputs.accept("a", 0, b"run")
    inputs.accept("b", 0, b"push a out")
    drain(inputs)
    # Its connection may be lost before it has heard it: it would take the position for nonsense then.
    assert [inputs.begin("a", returning=True) for _ in range(3)] == [False] * 3
    assert inputs.accept("a", inputs.written("a"), b"anew")
    assert inputs.begin("a", returning=True)


def test_no_acknowledgement_is_ahead_of_what_this_connection_has_sent():
    inputs = of_nobody()
    inputs.accept("a", 0, b"one two three")
    inputs.wrote(3)
    assert inputs.acknowledged("a") == 3
    inputs.begin("a", returning=True)
    inputs.wrote(10)
    assert (inputs.written("a"), inputs.acknowledged("a")) == (13, 3)
    inputs.accept("a", 3, b" two")
    assert inputs.acknowledged("a") == 7
    inputs.begin("a", returning=True)
    assert inputs.acknowledged("a") == 13
