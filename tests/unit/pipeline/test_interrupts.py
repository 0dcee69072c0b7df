"""Being asked to end, at moments that a rollout does not choose."""

from __future__ import annotations

import signal
import sys

import pytest

from rollout.pipeline.interrupts import Interrupts


@pytest.fixture
def interrupts():
    with Interrupts(lambda text: None) as interrupts:
        yield interrupts


class Goes:
    """Somebody asks while this is being taken away."""

    def __del__(self) -> None:
        signal.raise_signal(signal.SIGTERM)


@pytest.fixture
def dropped(monkeypatch):
    """What the interpreter could not raise."""
    found: list[type[BaseException]] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda args: found.append(args.exc_type))
    return found


def test_what_the_interpreter_drops_is_heard_at_the_next_look(interrupts, dropped):
    with pytest.raises(KeyboardInterrupt, match="by SIGTERM"), interrupts.open():
        Goes()
        assert dropped == [KeyboardInterrupt]
        interrupts.check()
    interrupts.check()


def test_what_the_interpreter_drops_is_heard_at_the_next_step(interrupts, dropped):
    with interrupts.open():
        Goes()
    with pytest.raises(KeyboardInterrupt, match="by SIGTERM"), interrupts.open():
        raise AssertionError("it must not begin")
    assert dropped == [KeyboardInterrupt]


def test_what_came_through_is_said_once(interrupts):
    with pytest.raises(KeyboardInterrupt, match="by SIGINT"), interrupts.open():
        signal.raise_signal(signal.SIGINT)
    with interrupts.open():
        interrupts.check()


def test_between_two_steps_it_waits(interrupts):
    signal.raise_signal(signal.SIGHUP)
    with pytest.raises(KeyboardInterrupt, match="by SIGHUP"):
        interrupts.check()
    interrupts.check()


def test_on_the_way_back_one_who_did_not_know_is_told_first(interrupts):
    told = []
    with Interrupts(told.append) as interrupts:
        interrupts.going_back(asked=False)
        signal.raise_signal(signal.SIGTERM)
        interrupts.check()
        assert "it is being taken back already" in told[0]
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            interrupts.check()
