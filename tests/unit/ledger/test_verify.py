"""Whatever somebody does to a ledger past the program is found, and placed."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import sqlalchemy as sa

from rollout.errors import ConfigError
from rollout.ledger import Ledger, schema
from rollout.ledger.chain import GENESIS, digest, entry_hash, key_of, stored
from tests.unit.ledger.filled import attacker, fill

CHAINED = (*schema.HISTORY, schema.chain)


@pytest.fixture(
    params=[
        "sqlite",
        # That both give a row the same digest is in the first tier.
        pytest.param("postgresql", marks=pytest.mark.slow("finds what it finds in the other database")),
    ]
)
def url(request: pytest.FixtureRequest) -> str:
    """A new ledger's URL."""
    return request.getfixturevalue(f"{request.param}_url")


@pytest.fixture
def filled(url) -> str:
    """The URL of a ledger with something of everything."""
    with Ledger(url) as ledger:
        fill(ledger)
        assert ledger.verify().flaws == ()
    return url


def flaws(url: str, anchor: str | None = None):
    with Ledger(url) as ledger:
        return ledger.verify(anchor).flaws


def read(connection: sa.Connection, table: sa.Table, position: int = 0):
    """A row as it is stored."""
    query = sa.select(*stored(table, connection.dialect)).order_by(key_of(table)).offset(position).limit(1)
    return dict(connection.execute(query).mappings().one())


def put(connection: sa.Connection, table: sa.Table, key, column: sa.Column, value) -> None:
    """Store a value as it is."""
    if isinstance(column.type, sa.Boolean) and connection.dialect.name != "sqlite":
        value = bool(value)
    kind = column.type.compile(connection.dialect)
    bound = ":value" if connection.dialect.name == "sqlite" else f"CAST(:value AS {kind})"
    statement = f'UPDATE {table.name} SET "{column.name}" = {bound} WHERE "{key_of(table).name}" = :key'
    done = connection.execute(sa.text(statement), {"value": value, "key": key})
    assert done.rowcount == 1


def other(column: sa.Column, value, sqlite: bool):
    """The smallest change of a stored value."""
    if isinstance(column.type, sa.JSON):
        return f"{value} "  # the same to whoever reads it
    if isinstance(column.type, sa.Boolean):
        return 2 if sqlite else not value  # SQLite would call both true
    if isinstance(column.type, sa.Float):
        return math.nextafter(value or 0.0, math.inf)
    if isinstance(column.type, sa.String | schema.Words):
        return f"{value[:-1]}{chr(ord(value[-1]) ^ 1)}" if value else "x"
    return (value or 0) + 1000


@pytest.mark.parametrize("table", CHAINED, ids=lambda table: table.name)
def test_the_smallest_edit_of_any_column_is_found_in_its_row(filled, table):
    ledger = Ledger(filled)
    for column in table.c:
        with attacker(filled) as connection:
            row = read(connection, table, 1)
            key = row[key_of(table).name]
            value = other(column, row[column.name], connection.dialect.name == "sqlite")
            put(connection, table, key, column, value)
        found = ledger.verify().flaws
        assert found, f"{table.name}.{column.name} can be edited unseen"
        if table is schema.chain:
            assert (key if column.name != "seq" else value) in {flaw.entry for flaw in found}, column
        elif column is not key_of(table):
            assert [(flaw.table, flaw.key) for flaw in found] == [(table.name, key)], column
            assert found[0].entry is not None
        with attacker(filled) as connection:
            put(connection, table, value if column is key_of(table) else key, column, row[column.name])
        assert ledger.verify().flaws == (), column
    ledger.engine.dispose()


@pytest.mark.parametrize("table", schema.HISTORY, ids=lambda table: table.name)
def test_a_deleted_row_is_found(filled, table):
    with attacker(filled) as connection:
        key = read(connection, table, 1)[key_of(table).name]
        connection.execute(table.delete().where(key_of(table) == key))
    (found,) = flaws(filled)
    assert (found.table, found.key, "deleted" in found.what) == (table.name, key, True)
    assert found.env in ("dev", "staging")


@pytest.mark.parametrize("table", schema.HISTORY, ids=lambda table: table.name)
def test_a_row_that_was_put_in_is_found(filled, table):
    with attacker(filled) as connection:
        query = sa.select(table).order_by(key_of(table)).limit(1)
        row = dict(connection.execute(query).mappings().one())
        if table is schema.rollouts:
            row["number"] = 77
        connection.execute(table.insert().values(**{**row, key_of(table).name: 9999}))
    (found,) = flaws(filled)
    assert (found.table, found.key, found.entry) == (table.name, 9999, None)
    assert "past the ledger" in found.what


@pytest.mark.parametrize("table", schema.HISTORY, ids=lambda table: table.name)
def test_two_rows_that_changed_places_are_found(filled, table):
    column = key_of(table)
    with attacker(filled) as connection:
        one, two = (read(connection, table, position)[column.name] for position in (0, 1))
        for old, new in ((one, -1), (two, one), (-1, two)):
            put(connection, table, old, column, new)
    assert {flaw.key for flaw in flaws(filled) if flaw.table == table.name} == {one, two}


def test_entries_that_are_gone_are_found_where_they_were(filled):
    chain = schema.chain
    with attacker(filled) as connection:
        connection.execute(chain.delete().where(chain.c.seq.in_([5, 6])))
    found = flaws(filled)
    assert any(flaw.table == "chain entry 5 to 6" and "before entry 7" in flaw.what for flaw in found)


def test_two_entries_that_changed_places_are_found(filled):
    with attacker(filled) as connection:
        for old, new in ((5, -1), (6, 5), (-1, 6)):
            put(connection, schema.chain, old, schema.chain.c.seq, new)
    assert {flaw.entry for flaw in flaws(filled)} == {5, 6}


def test_a_row_rewritten_together_with_its_entry_breaks_the_next(filled):
    with attacker(filled) as connection:
        forge(connection, 5)
    (found,) = flaws(filled)
    assert (found.entry, "written anew" in found.what) == (5, True)


def test_the_first_entry_cannot_be_replaced_either(filled):
    with attacker(filled) as connection:
        entry = read(connection, schema.chain)
        entry["prev"] = "1" * 64
        entry["hash"] = entry_hash(entry)
        for name in ("prev", "hash"):
            put(connection, schema.chain, 1, schema.chain.c[name], entry[name])
    assert flaws(filled)[0].entry == 1


def test_an_earlier_state_of_a_rollout_that_was_rewritten_with_its_entry_is_found(filled):
    chain = schema.chain
    with attacker(filled) as connection:
        query = sa.select(chain).where(chain.c.table == "rollouts").order_by(chain.c.seq).limit(1)
        entry = dict(connection.execute(query).mappings().one())
        entry["change"] = entry["change"].replace("running", "rehears")
        put(connection, chain, entry["seq"], chain.c.change, entry["change"])
        put(connection, chain, entry["seq"], chain.c.hash, entry_hash(entry))
    assert {flaw.what.split()[0] for flaw in flaws(filled) if flaw.entry == entry["seq"]} == {"the"}
    assert any("the state that the entry tells of" in flaw.what for flaw in flaws(filled))


def test_a_chain_cut_off_with_its_rows_is_found_by_a_head_that_was_kept(filled):
    with Ledger(filled) as ledger:
        seq, kept = ledger.head()
        assert ledger.verify(kept).flaws == ()
        ledger.add_event("staging", "approval", by="you", build="2-def")
        assert ledger.verify(kept).flaws == (), "the ledger may have grown since"
        assert ledger.head()[0] == seq + 1
    with attacker(filled) as connection:
        for cut in (seq + 1, seq):
            entry = dict(
                connection.execute(sa.select(schema.chain).where(schema.chain.c.seq == cut)).mappings().one()
            )
            table = schema.metadata.tables[entry["table"]]
            connection.execute(table.delete().where(key_of(table) == entry["key"]))
            connection.execute(schema.chain.delete().where(schema.chain.c.seq == cut))
    assert flaws(filled) == (), "nothing that is there shows it"
    (found,) = flaws(filled, kept)
    assert "cut off" in found.what and kept in found.what


def test_a_chain_written_anew_from_an_entry_on_is_found_by_a_head_that_was_kept(filled):
    with Ledger(filled) as ledger:
        last, kept = ledger.head()
    with attacker(filled) as connection:
        forge(connection, 5)
        for seq in range(6, last + 1):
            before = read(connection, schema.chain, seq - 2)
            entry = read(connection, schema.chain, seq - 1)
            entry["prev"] = before["hash"]
            put(connection, schema.chain, seq, schema.chain.c.prev, entry["prev"])
            put(connection, schema.chain, seq, schema.chain.c.hash, entry_hash(entry))
    assert flaws(filled) == (), "who may write everything may write everything anew"
    assert len(flaws(filled, kept)) == 1


def forge(connection: sa.Connection, seq: int) -> None:
    """Change the row of an entry, and the entry to fit."""
    entry = read(connection, schema.chain, seq - 1)
    table = schema.metadata.tables[entry["table"]]
    assert table is not schema.rollouts
    column = table.c.env if "env" in table.c else table.c.step
    put(connection, table, entry["key"], column, "forged")
    query = sa.select(*stored(table, connection.dialect)).where(key_of(table) == entry["key"])
    entry["digest"] = digest(dict(connection.execute(query).mappings().one()))
    put(connection, schema.chain, seq, schema.chain.c.digest, entry["digest"])
    put(connection, schema.chain, seq, schema.chain.c.hash, entry_hash(entry))


@pytest.mark.parametrize("anchor", ["", "abc", "G" * 64, GENESIS + "0"])
def test_a_head_that_is_none_is_the_users_mistake(sqlite_url, anchor):
    with Ledger(sqlite_url) as ledger, pytest.raises(ConfigError, match="64 hexadecimal"):
        ledger.verify(anchor)


def drop_sqlite(connection: sa.Connection) -> None:
    connection.exec_driver_sql("DROP TRIGGER evidence_no_update")


def disarm_sqlite(connection: sa.Connection) -> None:
    connection.exec_driver_sql("DROP TRIGGER evidence_no_update")
    connection.exec_driver_sql(
        "CREATE TRIGGER evidence_no_update BEFORE UPDATE ON evidence BEGIN SELECT 1; END"
    )


def drop_postgresql(connection: sa.Connection) -> None:
    connection.exec_driver_sql("DROP TRIGGER evidence_no_update ON evidence")


def disarm_postgresql(connection: sa.Connection) -> None:
    connection.exec_driver_sql("ALTER TABLE evidence DISABLE TRIGGER evidence_no_update")


def hollow_postgresql(connection: sa.Connection) -> None:
    connection.exec_driver_sql(
        "CREATE OR REPLACE FUNCTION ledger_append_only() RETURNS trigger LANGUAGE plpgsql"
        " AS $$ BEGIN RETURN NEW; END $$"
    )


@pytest.mark.parametrize(
    ("kind", "attack"),
    [
        ("sqlite", drop_sqlite),
        ("sqlite", disarm_sqlite),
        ("postgresql", drop_postgresql),
        ("postgresql", disarm_postgresql),
        ("postgresql", hollow_postgresql),
    ],
)
def test_a_trigger_that_keeps_nothing_any_more_is_found(
    request, kind: str, attack: Callable[[sa.Connection], None]
):
    url = request.getfixturevalue(f"{kind}_url")
    with Ledger(url) as ledger:
        fill(ledger)
    with sa.create_engine(url, poolclass=sa.NullPool).begin() as connection:
        attack(connection)
    assert "evidence" in {flaw.table for flaw in flaws(url) if "trigger" in flaw.what}


@pytest.mark.parametrize("table", CHAINED, ids=lambda table: table.name)
def test_the_database_refuses_to_change_or_delete_history(filled, table):
    mutable = schema.MUTABLE.get(table.name, frozenset())
    with Ledger(filled) as ledger:
        statements = [
            table.delete(),
            *(table.update().values({column: column}) for column in table.c if column.name not in mutable),
        ]
        if not ledger.database.sqlite:
            statements.append(sa.text(f"TRUNCATE {table.name} CASCADE"))
        for statement in statements:
            with pytest.raises(sa.exc.DBAPIError, match="append-only"), ledger.engine.begin() as connection:
                connection.execute(statement)
        assert ledger.verify().flaws == ()


def test_both_databases_give_a_row_the_same_digest(sqlite_url, postgresql_url):
    found = []
    for url in (sqlite_url, postgresql_url):
        with Ledger(url) as ledger, ledger.engine.connect() as connection:
            fill(ledger)
            first = connection.execute(sa.select(schema.chain).where(schema.chain.c.seq == 1)).one()
            for table in (schema.checks, schema.evidence):
                row = read(connection, table, 1)
                found.append((digest({**row, "at": None}), row))
            assert first.prev == GENESIS
    half = len(found) // 2
    assert found[:half] == found[half:]


def test_what_no_database_takes_is_recorded_all_the_same(url):
    from rollout.model import Evidence

    with Ledger(url) as ledger:
        fill(ledger)
        rollout = ledger.rollouts()[0].id
        bytes_lost = Evidence("e", "load.bytes_lost", "count", "load", 0.0, 1.0, 2**40, value=0.0)
        broken = Evidence("f", "m", "samples", "s", 0.0, 1.0, 2, samples=(math.nan, math.inf))
        ledger.record_verdicts(rollout, "soak", [], [bytes_lost, broken])
        ledger.add_event("dev", "alert", by="web\0-1", text="\0 \udc80", value=math.nan)
        assert ledger.events("dev", kind="alert")[0].by == "web\N{REPLACEMENT CHARACTER}-1"
        assert ledger.evidence(rollout)[-2].n == 2**40
        assert [str(value) for value in ledger.evidence(rollout)[-1].samples] == ["nan", "inf"]
        assert ledger.verify().flaws == ()
