"""Whose lease it is, and who may write."""

from __future__ import annotations

import time

import pytest

from rollout.errors import LeaseLost
from rollout.ledger import Lease, Ledger, State, token_of
from rollout.ledger.lease import _gone, me
from tests.unit.ledger.filled import make


@pytest.fixture
def ledger(url):
    with Ledger(url) as ledger:
        yield ledger


@pytest.mark.parametrize(
    ("changed", "gone"),
    [
        ({"pid": 2**22 + 1}, True),
        ({"start": "1"}, True),
        ({}, False),
        ({"pid": 2**22 + 1, "host": "elsewhere"}, False),
        ({"pid": 2**22 + 1, "boot": "before"}, False),
        ({"pid": 2**22 + 1, "pid_namespace": "pid:[1]"}, False),
        ({"pid": 2**22 + 1, "pid_namespace": None}, False),
    ],
)
def test_only_a_process_that_would_be_seen_here_is_gone(changed, gone):
    assert _gone({**me(), **changed}) is gone


def test_the_token_comes_after_all_that_hosts_have_heard_of(ledger):
    assert token_of(ledger, "dev") == 1
    with Lease(ledger, "dev") as lease:
        assert (lease.token, token_of(lease.ledger, "dev"), token_of(ledger, "staging")) == (1, 1, 1)
    with Lease(ledger, "dev", least=7) as lease:
        assert lease.token == token_of(lease.ledger, "dev") == 7
    assert token_of(ledger, "dev") == 8
    with Lease(ledger, "dev", least=3) as lease:
        assert lease.token == 8


def test_who_has_lost_the_lease_writes_nothing_any_more(ledger):
    with Lease(ledger, "dev", ttl=0.1) as stale:
        record = make(stale.ledger, "dev")
        stale._done.set()  # as of a process that stands still
        time.sleep(0.2)
        with Lease(ledger, "dev") as lease:
            before = ledger.head()
            for write in (
                lambda to: to.transition(record.id, State.ROLLING_BACK),
                lambda to: to.add_figures(record.id, sessions_moved=1),
                lambda to: to.write(record.id, 0, "step", "begin", fence=1),
                lambda to: to.record_verdicts(record.id, "gate", [], []),
                lambda to: to.record_checks("dev", record.id, []),
                lambda to: to.add_event("dev", "notification", by="me"),
                lambda to: make(to, "dev"),
            ):
                with pytest.raises(LeaseLost, match="another operator has taken it"):
                    write(stale.ledger)
            assert ledger.head() == before
            with pytest.raises(LeaseLost):
                stale.check()
            lease.ledger.transition(record.id, State.ROLLING_BACK)


def test_who_stood_still_and_still_has_it_goes_on(ledger):
    with Lease(ledger, "dev", ttl=0.1) as lease:
        lease._done.set()
        time.sleep(0.2)
        lease.check()
        lease.check()
