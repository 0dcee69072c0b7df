"""A host that takes a bad build back by itself: once, to what is warm, and without cutting anybody."""

from __future__ import annotations

import time

import msgspec
import pytest
from terminals.control import packets
from terminals.control.answers import Status
from terminals.control.asking import ControlError, ask
from terminals.monitor.records import NOT_MADE
from terminals.monitor.takeback import called_for, consider, take_back, way_back

from rollout.direct.mark import read_mark
from tests.support.resident import Resident
from tests.support.stack import Stack, until


def state(stack: Stack) -> Status:
    """As the monitor hears it."""
    return ask(stack.socket, packets.Status(), Status)


def alert(generation="g2", severity="critical"):
    return {"severity": severity, "generation": generation, "text": "system terminal down"}


@pytest.fixture
def promoted(stack):
    """g2 has been promoted; g1 is kept warm."""
    stack.start_generation("g2")
    stack.admin("weights", weights={"g2": 100}, fence=7)
    stack.admin("retire", generation="g1", after=3600, way_back_from="g2", fence=7)
    return stack


def test_everybody_returns_and_the_mark_tells_of_it(promoted, tmp_path):
    stack, mark = promoted, tmp_path / "broken-glass.json"
    somebody = Resident(stack.terminal())
    way = way_back(state(stack), time.time())
    assert (way.from_generation, way.to_generation, way.fence) == ("g2", "g1", 7)
    assert called_for([alert("g1"), alert(severity="warning"), alert(NOT_MADE)], way) is None
    assert called_for([alert()], way) is not None
    moved = take_back(str(stack.socket), way, mark, reason="system terminal down", now=time.time())
    assert (moved.moved, moved.severed) == (1, 0)
    assert stack.generation("g1")["weight"] == 100
    assert stack.generation("g1")["retire_at"] is None
    assert stack.generation("g2")["retire_at"] > time.time() + 3000
    somebody.leave()
    told = read_mark(mark.read_text())
    assert (told.from_generation, told.to_generation, told.fence) == ("g2", "g1", 8)
    assert told.reason == "system terminal down"
    with pytest.raises(ControlError, match="stale fence"):
        stack.admin("weights", weights={"g2": 100}, fence=7)


def test_nothing_is_done_in_the_middle_of_a_shift_or_without_anything_warm(promoted):
    status, now = state(promoted), time.time()
    assert way_back(status, now) is not None
    assert way_back(status, now + 7200) is None  # its time is up
    promoted.admin("weights", weights={"g1": 50, "g2": 50}, fence=7)
    assert way_back(state(promoted), now) is None
    promoted.admin("weights", weights={"g2": 100}, fence=7)
    promoted.kill("worker-g1")
    until(lambda: not promoted.generation("g1")["workers"], "nobody being there to go back to")
    assert way_back(state(promoted), now) is None


def test_the_same_build_brought_twice_is_no_way_back(promoted):
    """What was bad of it is bad of it there, too: the one before both is led to."""
    status, now = state(promoted), time.time()
    g1, g2 = status.generations
    again = msgspec.structs.replace(g2, name="g3", build="bad")
    g2 = msgspec.structs.replace(g2, build="bad", weight=0, retire_at=now + 60, way_back_from="g3", workers=1)
    twice = msgspec.structs.replace(status, generations=[g1, g2, again])
    assert way_back(twice, now).to_generation == "g1"
    alone = msgspec.structs.replace(status, generations=[g2, again])
    assert way_back(alone, now) is None
    circle = msgspec.structs.replace(again, way_back_from="g2")
    assert way_back(msgspec.structs.replace(status, generations=[g2, circle]), now) is None


def test_of_several_that_are_warm_it_is_the_one_before(promoted):
    promoted.start_generation("g3")
    promoted.admin("weights", weights={"g3": 100})
    promoted.admin("retire", generation="g2", after=60, way_back_from="g3")
    way = way_back(state(promoted), time.time())
    assert (way.from_generation, way.to_generation) == ("g3", "g2")
    # Going back twice goes further back.
    promoted.admin("cancel-retire", generation="g2")
    promoted.admin("weights", weights={"g2": 100})
    promoted.admin("retire", generation="g3", after=3600)
    way = way_back(state(promoted), time.time())
    assert (way.from_generation, way.to_generation) == ("g2", "g1")
    promoted.admin("cancel-retire", generation="g1")
    assert way_back(state(promoted), time.time()) is None


def test_what_was_interrupted_after_the_mark_is_finished(promoted, tmp_path, monkeypatch):
    mark, socket = tmp_path / "mark.json", str(promoted.socket)
    told = {**alert(), "rule": "system-terminal-down"}

    def killed(*words, **fields):
        raise ControlError("gone")

    with monkeypatch.context() as patch:
        way = way_back(state(promoted), time.time())
        patch.setattr("terminals.monitor.takeback.lead_back", killed)
        with pytest.raises(ControlError):
            take_back(socket, way, mark, reason="down", now=time.time())
    assert promoted.generation("g2")["weight"] == 100
    way, reason = consider(socket, mark, [told], time.time())
    assert (way.from_generation, way.to_generation, reason) == ("g2", "g1", "down")
    assert promoted.generation("g1")["weight"] == 100
    assert promoted.generation("g2")["retire_at"] > time.time() + 3000
    assert promoted.status()["fence"] == 8
    assert consider(socket, mark, [told], time.time()) is None
    # Whoever has been in charge since then is not interfered with.
    promoted.admin("weights", weights={"g2": 100}, fence=9)
    assert consider(socket, mark, [told], time.time()) is None
    assert promoted.generation("g2")["weight"] == 100


def test_it_is_gone_on_with_where_somebody_was_not_led_back_yet(promoted, tmp_path):
    mark, socket, told = tmp_path / "mark.json", str(promoted.socket), {**alert(), "rule": "down"}
    somebody = Resident(promoted.terminal())
    assert consider(socket, mark, [told], time.time()) is not None
    # As if the one that led back had been killed in its move: that ends with whoever ordered it.
    promoted.admin("cancel-retire", generation="g2", fence=8)
    promoted.admin("weights", weights={"g2": 100}, fence=8)
    promoted.admin("move", to="g2", share=100, batch=5, interval=0.1, deadline=60, fence=8)
    promoted.admin("weights", weights={"g1": 100}, fence=8)
    assert promoted.generation("g2")["assigned"] == 1
    assert consider(socket, mark, [], time.time()) is not None
    assert promoted.generation("g1")["assigned"] == 1
    assert promoted.generation("g2")["retire_at"]
    assert consider(socket, mark, [], time.time()) is None
    somebody.leave()


def test_a_generation_with_traffic_is_not_stopped_when_its_time_is_up(promoted):
    promoted.admin("retire", generation="g2", after=0)
    promoted.admin("retire", generation="g1", after=0)
    until(lambda: promoted.generation("g1")["state"] == "retired", "the end of the one without")
    assert promoted.generation("g1")["retire_at"], "when it ended is known: it may be started again"
    assert promoted.generation("g2")["state"] == "serving"
    assert promoted.generation("g2")["workers"]


def test_without_a_mark_nothing_is_done(promoted, tmp_path):
    way = way_back(state(promoted), time.time())
    with pytest.raises(OSError):
        take_back(str(promoted.socket), way, tmp_path / "no" / "mark", reason="", now=time.time())
    assert promoted.generation("g2")["weight"] == 100


def test_it_is_considered_only_for_a_critical_alert_and_done_once(promoted, tmp_path):
    mark, socket = tmp_path / "mark.json", str(promoted.socket)
    told = {**alert(), "rule": "system-terminal-down"}
    assert consider(socket, mark, [], time.time()) is None
    assert consider(socket, mark, [{**told, "severity": "warning"}], time.time()) is None
    assert consider(socket, mark, [{**told, "generation": "g1"}], time.time()) is None
    way, reason = consider(socket, mark, [{**told, "generation": None}], time.time())
    assert (way.to_generation, reason) == ("g1", "system-terminal-down: system terminal down")
    assert promoted.generation("g1")["weight"] == 100
    # It is g2 that is warm now, to be looked at: nobody is led there, not even when the mark is gone.
    assert promoted.generation("g2")["workers"]
    assert way_back(state(promoted), time.time()) is None
    promoted.admin("retire", generation="g2", after=3600, way_back_from="g1")
    assert consider(socket, mark, [{**told, "generation": None}], time.time()) is None
    assert promoted.generation("g1")["weight"] == 100
