"""What the ledger's chain costs: a write with and without it, verifying all of it, and opening a ledger.

python -m benchmarks.ledger [--url postgresql://...] [--entries 100000]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass

import sqlalchemy as sa

from rollout.ledger import Ledger, State, schema
from rollout.ledger.chain import Chain
from tests.support.rollouts import begun


@dataclass(frozen=True)
class Figures:
    """Medians in milliseconds, and seconds for all entries."""

    write_ms: float
    bare_ms: float
    open_ms: float
    connect_ms: float
    entries: int
    verify_s: float


def measure(url: str, entries: int, rounds: int = 200) -> Figures:
    """Measure one ledger, which has to be empty. What is compared is done by turns."""
    with Ledger(url) as ledger:
        rollout = begun(ledger, operator="benchmark")

        def chained() -> None:
            ledger.write(rollout.id, 0, "move", "begin", fence=1, host="web-1")

        def bare() -> None:
            with ledger.database.writing() as connection:
                connection.execute(schema.journal.insert().values(**_row(rollout.id)))

        write_ms, bare_ms = _by_turns(rounds, chained, bare)
        with ledger.database.writing() as connection:
            # What was written past the chain would be found.
            connection.exec_driver_sql("DROP TRIGGER journal_no_delete" + _on(ledger))
            chain = schema.chain
            known = sa.select(chain.c.key).where(chain.c.table == "journal")
            connection.execute(schema.journal.delete().where(schema.journal.c.id.not_in(known)))
        ledger.transition(rollout.id, State.PROMOTED)
        while (seq := ledger.head()[0]) < entries:
            with ledger.database.writing() as connection:
                chain_ = Chain(connection)
                for _ in range(min(2000, entries - seq)):
                    chain_.insert(schema.journal, _row(rollout.id))
                chain_.flush()
        started = time.perf_counter()
        found = ledger.verify()
        verify_s = time.perf_counter() - started
        assert {flaw.table for flaw in found.flaws} == {"journal"}, "only the trigger is gone"
        assert len(found.flaws) == 1

    def opened() -> None:
        Ledger(url).engine.dispose()

    def connected() -> None:
        engine = ledger.database.engine
        with engine.connect() as connection:
            connection.exec_driver_sql("SELECT 1")
        engine.dispose()

    open_ms, connect_ms = _by_turns(rounds, opened, connected)
    return Figures(write_ms, bare_ms, open_ms, connect_ms, found.entries, verify_s)


def _row(rollout: int) -> dict[str, object]:
    step = {"rollout": rollout, "index": 0, "step": "move", "phase": "begin", "fence": 1}
    return {**step, "at": time.time(), "data": {"host": "web-1"}}


def _on(ledger: Ledger) -> str:
    return "" if ledger.database.sqlite else " ON journal"


def _by_turns(rounds: int, *works: Callable[[], None]) -> list[float]:
    times: list[list[float]] = [[] for _ in works]
    for _ in range(rounds):
        for work, spent in zip(works, times, strict=True):
            started = time.perf_counter()
            work()
            spent.append((time.perf_counter() - started) * 1000)
    return [statistics.median(spent) for spent in times]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", help="an empty database; a SQLite file by default")
    parser.add_argument("--entries", type=int, default=100_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(arguments.url or f"sqlite:///{folder}/ledger.db", arguments.entries)
    print(
        f"a write {figures.write_ms:.2f} ms, without the chain {figures.bare_ms:.2f} ms"
        f" ({figures.write_ms / figures.bare_ms:.2f} times)"
    )
    print(f"verifying {figures.entries} entries {figures.verify_s:.1f} s")
    print(f"opening {figures.open_ms:.1f} ms, connecting alone {figures.connect_ms:.1f} ms")
