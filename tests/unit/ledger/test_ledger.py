from __future__ import annotations

import os

import pytest

from rollout.errors import ConfigError, EngineError, Locked
from rollout.ledger import Lease, Ledger, State
from rollout.ledger.records import TRANSITIONS
from rollout.model import Evidence, GateResult, Verdict
from tests.support.stack import until
from tests.unit.ledger.filled import make


def test_rollouts_are_numbered_per_environment(url):
    with Ledger(url) as ledger:
        assert [make(ledger).number, make(ledger).number, make(ledger, "staging").number] == [1, 2, 1]
        assert make(ledger).generation == "g3"


def test_current_is_the_newest_promoted_and_unfinished_is_the_newest_open(url):
    with Ledger(url) as ledger:
        first = make(ledger)
        assert ledger.current("dev") is None
        assert ledger.unfinished("dev").id == first.id
        ledger.transition(first.id, State.PROMOTED)
        second = make(ledger)
        ledger.transition(second.id, State.ROLLING_BACK, reason="loops")
        assert ledger.current("dev").id == first.id
        assert ledger.unfinished("dev").reason == "loops"
        ledger.transition(second.id, State.ROLLED_BACK)
        assert ledger.unfinished("dev") is None


@pytest.mark.parametrize("state", list(State))
def test_only_the_transitions_of_the_table_are_possible(url, state):
    with Ledger(url) as ledger:
        rollout = make(ledger)
        if state in TRANSITIONS[State.RUNNING]:
            assert ledger.transition(rollout.id, state).state is state
        else:
            with pytest.raises(ValueError, match="cannot become"):
                ledger.transition(rollout.id, state)


def test_nothing_leaves_a_final_state():
    assert not TRANSITIONS[State.PROMOTED] and not TRANSITIONS[State.ROLLED_BACK]


def test_verdicts_and_evidence_are_read_back(url):
    result = GateResult("loops", Verdict.FAIL, 3.0, None, 9, "3 in 9", ("e1",))
    piece = Evidence("e1", "load.loops", "count", "load", 1.0, 2.0, 9, value=3.0)
    with Ledger(url) as ledger:
        rollout = make(ledger)
        ledger.record_verdicts(rollout.id, "watch-25", [result], [piece])
    with Ledger(url) as ledger:
        assert ledger.verdicts(rollout.id) == [("watch-25", result)]


def test_figures_add_up_when_they_are_counts(url):
    with Ledger(url) as ledger:
        rollout = make(ledger)
        ledger.add_figures(rollout.id, sessions_moved=3, seconds=1.5)
        assert ledger.add_figures(rollout.id, sessions_moved=4, seconds=0.5).figures == {
            "sessions_moved": 7,
            "seconds": 0.5,
        }


def test_unreachable_database_is_one_line(tmp_path):
    blocker = tmp_path / "file"
    blocker.write_text("")
    with pytest.raises(ConfigError) as error:
        Ledger(f"sqlite:///{blocker}/ledger.db")
    assert "\n" not in error.value.message


def test_lease_is_exclusive_and_tokens_grow(url):
    with Ledger(url) as ledger:
        with Lease(ledger, "dev") as first:
            with pytest.raises(Locked, match=f"process {os.getpid()}"), Lease(ledger, "dev"):
                pass
            with Lease(ledger, "staging"):
                pass
        with Lease(ledger, "dev") as second:
            assert second.token == first.token + 1


def test_holder_that_was_overtaken_stops_before_its_next_step(url):
    with Ledger(url) as ledger, Ledger(url) as other, Lease(ledger, "dev", ttl=0.3) as lease:
        lease.check()
        lease._done.set()  # as if this process had been suspended: it renews no more
        lease._renewer.join()
        lease._done.clear()

        def overtake():
            try:
                with Lease(other, "dev") as newer:
                    return newer.token
            except Locked:
                return None

        assert until(overtake, "the lease expiring") == 2
        lease._renew()
        with pytest.raises(EngineError, match="lease is lost"):
            lease.check()
