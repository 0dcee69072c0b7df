"""One flipped byte in the file of a ledger is found and placed."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest
import sqlalchemy as sa

from rollout.checks.runner import CheckResult
from rollout.errors import RolloutError
from rollout.ledger import Ledger, schema
from rollout.ledger.chain import key_of, stored
from rollout.model import Evidence, GateResult, Verdict
from tests.unit.ledger.filled import fill, make

MARK = "mark-of-{}"


@pytest.fixture(scope="module")
def ledger_file(tmp_path_factory) -> Path:
    """A ledger in one file, with a mark in one row of each table of history."""
    path = tmp_path_factory.mktemp("flips") / "ledger.db"
    mark = {table.name: MARK.format(table.name) for table in schema.HISTORY}
    with Ledger(f"sqlite:///{path}") as ledger:
        fill(ledger)
        rollout = make(ledger, "production", build=mark["rollouts"]).id
        ledger.write(rollout, 0, "start", "begin", fence=1, host=mark["journal"])
        ledger.record_verdicts(
            rollout,
            "watch",
            [GateResult("loops", Verdict.PASS, 0.0, None, 9, mark["verdicts"])],
            [Evidence("e1", "load.loops", "count", mark["evidence"], 1.0, 2.0, 9, value=0.0)],
        )
        ledger.record_checks(
            "production", rollout, [CheckResult("smoke", "api", "health", True, 1.0, 1.0, mark["checks"])]
        )
        ledger.add_event("production", "override", by="me", rollout=rollout, reason=mark["events"])
        with ledger.engine.connect() as connection:
            connection.rollback()
            connection.connection.driver_connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert not path.with_name("ledger.db-wal").exists()
    return path


def flipped(source: Path, folder: Path, position: int, bit: int = 1) -> str:
    """The URL of a copy with one bit of one byte flipped."""
    copy = folder / "ledger.db"
    shutil.copy(source, copy)
    data = bytearray(copy.read_bytes())
    data[position] ^= bit
    copy.write_bytes(data)
    return f"sqlite:///{copy}"


@pytest.mark.parametrize("table", [table.name for table in schema.HISTORY])
@pytest.mark.parametrize("bit", [1, 128], ids=["letter", "no-utf8"])
def test_a_flipped_byte_is_placed_in_its_row(ledger_file, tmp_path, table, bit):
    position = ledger_file.read_bytes().index(MARK.format(table).encode()) + 3
    with Ledger(flipped(ledger_file, tmp_path, position, bit)) as ledger:
        (found,) = ledger.verify().flaws
    assert (found.table, found.env, found.number) == (table, "production", 1)
    assert found.key is not None and found.entry is not None
    assert "(production #1), chain entry" in str(found) and "changed" in str(found)


def test_a_flipped_byte_of_the_chain_is_placed_in_its_entry(ledger_file, tmp_path):
    with Ledger(f"sqlite:///{ledger_file}") as ledger, ledger.engine.connect() as connection:
        entry = connection.execute(sa.select(schema.chain).where(schema.chain.c.seq == 9)).one()
    for text in (entry.digest, entry.hash):
        position = ledger_file.read_bytes().rindex(text.encode()) + 30  # the next entry has it, too
        with Ledger(flipped(ledger_file, tmp_path, position)) as ledger:
            assert [flaw.entry for flaw in ledger.verify().flaws] == [9]


def contents(url: str) -> dict[str, list[tuple]]:
    """All rows as they are stored."""
    engine = sa.create_engine(url)
    try:
        with engine.connect() as connection:
            return {
                table.name: [
                    tuple(row)
                    for row in connection.execute(
                        sa.select(*stored(table, engine.dialect)).order_by(key_of(table))
                    )
                ]
                for table in (*schema.HISTORY, schema.chain)
            }
    finally:
        engine.dispose()


def test_a_flipped_byte_anywhere_is_found_or_changes_nothing(ledger_file, tmp_path):
    before = contents(f"sqlite:///{ledger_file}")
    draw = random.Random(5)
    size = ledger_file.stat().st_size
    found = 0
    for _ in range(150):
        position, bit = draw.randrange(size), 1 << draw.randrange(8)
        url = flipped(ledger_file, tmp_path, position, bit)
        try:
            with Ledger(url) as ledger:
                flaws = ledger.verify().flaws
        except RolloutError as error:
            assert "\n" not in error.message
            flaws = (error,)
        if flaws:
            found += 1
        else:
            assert contents(url) == before, f"byte {position} bit {bit} was flipped unseen"
        for name in ("ledger.db-wal", "ledger.db-shm"):
            (tmp_path / name).unlink(missing_ok=True)
    assert found > 10, "most of the file is rows"
