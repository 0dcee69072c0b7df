"""Several operators at once, and operators who are killed."""

from __future__ import annotations

from collections import Counter

import pytest

from rollout.errors import Locked
from rollout.ledger import Lease, Ledger, State
from tests.support.stack import until
from tests.unit.ledger import operators
from tests.unit.ledger.filled import make
from tests.unit.ledger.operators import CONTEXT, at_once


def test_of_ten_operators_one_wins_and_nine_get_a_clear_line(url):
    # One after the other opened it before: all of it is about the lease.
    Ledger(url).engine.dispose()
    found = at_once(operators.promote, 10, url)
    assert Counter(outcome for outcome, _ in found) == {"won": 1, "locked": 9}, found
    ((_, winner),) = [one for one in found if one[0] == "won"]
    for outcome, line in found:
        if outcome == "locked":
            assert line.startswith("staging is held by ") and "\n" not in line
    with Ledger(url) as ledger:
        (record,) = ledger.rollouts("staging")
        assert (record.operator, record.state) == (winner, State.PROMOTED)
        assert ledger.verify().flaws == ()
        with Lease(ledger, "staging") as lease:
            assert lease.token == 2


@pytest.mark.slow("ten processes of it; ten that want one lease are in the first tier")
def test_nothing_that_ten_operators_write_at_once_is_lost(url):
    with Ledger(url) as ledger:
        make(ledger, "staging")
        assert at_once(operators.record, 10, url) == ["done"] * 10
        assert ledger.rollout(1).figures == {"sessions_moved": 100}
        assert len(ledger.journal(1)) == 100
        assert sorted(record.number for record in ledger.rollouts("dev")) == list(range(1, 101))
        assert len(ledger.events("dev")) == 100
        found = ledger.verify()
        assert (found.entries, found.seq, found.flaws) == (401, 401, ())


def test_writer_killed_before_its_commit_leaves_nothing_and_a_whole_chain(url):
    with Ledger(url) as ledger:
        make(ledger)
        before = ledger.head()
        ready = CONTEXT.Event()
        writer = CONTEXT.Process(target=operators.stop_before_the_commit, args=(url, ready))
        writer.start()
        assert ready.wait(30)
        assert ledger.journal(1) == [], "nobody sees what is not committed"
        writer.kill()
        writer.join()
        ledger.write(1, 1, "next", "begin", fence=1)  # the lock died with its holder
        assert [entry.step for entry in ledger.journal(1)] == ["next"]
        assert ledger.head()[0] == before[0] + 1
        assert ledger.verify().flaws == ()


@pytest.mark.parametrize("round_", range(3))
def test_writer_killed_at_any_moment_leaves_a_whole_chain(url, round_):
    with Ledger(url) as ledger:
        make(ledger)
        ready = CONTEXT.Event()
        writer = CONTEXT.Process(target=operators.write_until_killed, args=(url, ready))
        writer.start()
        assert ready.wait(30)
        seen = ledger.head()[0]
        until(lambda: ledger.head()[0] > seen + round_, "the writer writing on")
        writer.kill()
        writer.join()
        found = ledger.verify()
        assert found.flaws == ()
        assert found.entries >= seen
        steps = len(ledger.journal(1))
        assert steps - ledger.rollout(1).figures["sessions_moved"] in (0, 1)


def test_lease_of_a_killed_process_is_taken_over_at_once(url):
    ready = CONTEXT.Event()
    holder = CONTEXT.Process(target=operators.hold, args=(url, ready))
    holder.start()
    assert ready.wait(30)
    with Ledger(url) as ledger:
        with pytest.raises(Locked), Lease(ledger, "dev"):
            pass
        holder.kill()
        holder.join()
        with Lease(ledger, "dev") as lease:
            assert lease.token == 2
