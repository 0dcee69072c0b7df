"""Ledgers of every earlier version become the present one, once, with everything that is in them."""

from __future__ import annotations

import contextlib
import gc
import json
import sqlite3
import subprocess
import sys
import threading
import warnings

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from rollout.errors import ConfigError
from rollout.ledger import Ledger, State, migrate, schema
from tests.unit.ledger import operators, released
from tests.unit.ledger.filled import fill
from tests.unit.ledger.operators import at_once


def make_released(url: str) -> None:
    """A ledger as the program left it that was released before there were versions."""
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    released.metadata.create_all(engine)
    rollout = {"env": "dev", "kind": "deploy", "build": "1-abc", "digest": "abc", "generation": "g1"}
    state = {"state": "promoted", "plan": {"steps": []}, "operator": "me", "started": 1.25, "ended": 2.5}
    step = {"rollout": 1, "index": 0, "step": "start", "phase": "begin", "at": 1.5, "fence": 1}
    piece = {"id": "e1", "metric": "load.loops", "kind": "count", "source": "load", "started": 1.0}
    verdict = {
        "gate": "loops",
        "verdict": "pass",
        "measured": 0.0,
        "n": 9,
        "reason": "none",
        "evidence": ["e1"],
    }
    check = {"suite": "smoke", "group": "api", "name": "health", "ok": True, "started": 1.0, "seconds": 0.5}
    rows = {
        "rollouts": {**rollout, **state, "number": 1, "reason": "", "figures": {"sessions_moved": 3}},
        "journal": {**step, "data": {"host": "web-1"}},
        "evidence": {
            **piece,
            "rollout": 1,
            "env": "dev",
            "ended": 2.0,
            "n": 9,
            "samples": [],
            "value": 0.0,
            "labels": {},
        },
        "verdicts": {**verdict, "rollout": 1, "step": "watch-25", "at": 2.0},
        "checks": {**check, "rollout": 1, "env": "dev", "detail": "200"},
        "leases": {"env": "dev", "owner": None, "token": 7, "since": 1.0, "expires": 0.0},
    }
    with engine.begin() as connection:
        for name, row in rows.items():
            connection.execute(released.metadata.tables[name].insert().values(**row))


def differences(url: str) -> list:
    with Ledger(url) as ledger, ledger.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return compare_metadata(context, schema.metadata)


def test_migrations_lead_to_the_tables_that_the_program_knows(url):
    assert differences(url) == []


def test_released_tables_are_led_to_them_as_well(url):
    make_released(url)
    assert differences(url) == []


def test_a_column_that_no_migration_makes_is_a_difference(sqlite_url):
    with Ledger(sqlite_url) as ledger, ledger.engine.connect() as connection:
        known = sa.MetaData()
        for table in schema.metadata.tables.values():
            table.to_metadata(known)
        known.tables["events"].append_column(sa.Column("place", sa.String))
        context = MigrationContext.configure(connection)
        assert [change[0] for change in compare_metadata(context, known)] == ["add_column"]


def test_the_program_knows_the_versions_that_there_are():
    config = Config()
    config.set_main_option("script_location", str(migrate.FOLDER))
    scripts = ScriptDirectory.from_config(config)
    assert tuple(script.revision for script in scripts.walk_revisions())[::-1] == migrate.VERSIONS


def test_what_a_released_ledger_holds_is_kept_and_chained_as_imported(url):
    make_released(url)
    with Ledger(url) as ledger:
        (record,) = ledger.rollouts()
        assert (record.state, record.figures) == (State.PROMOTED, {"sessions_moved": 3})
        assert ledger.journal(1)[0].data == {"host": "web-1"}
        assert ledger.evidence(1)[0].times == ()
        assert ledger.verdicts(1)[0][1].reason == "none"
        assert ledger.checks(1)[0]["detail"] == "200"
        found = ledger.verify()
        assert (found.entries, found.imported, found.flaws) == (5, 5, ())
        ledger.add_event("dev", "approval", by="you")
        found = ledger.verify()
        assert (found.entries, found.imported, found.flaws) == (6, 5, ())
        with ledger.engine.begin() as connection, pytest.raises(sa.exc.DBAPIError, match="append-only"):
            connection.exec_driver_sql("DELETE FROM checks")


def test_a_ledger_from_between_two_versions_gets_what_it_lacks(url):
    make_released(url)
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    schema.events.create(engine)  # as create_all did, which adds tables and never columns
    assert differences(url) == []
    with Ledger(url) as ledger:
        fill(ledger)
        assert ledger.verify().flaws == ()


def test_a_ledger_of_a_newer_program_is_one_line_and_left_alone(url):
    with Ledger(url) as ledger, ledger.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0999'")
    gc.collect()  # what other tests have left open is theirs
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        with pytest.raises(ConfigError, match="0999") as error:
            Ledger(url)
        assert "newer rollout" in error.value.message
        del error
        gc.collect()
    assert [str(one.message) for one in seen] == [], "the connection was closed"


def test_alembic_is_imported_only_when_there_is_something_to_migrate(url):
    script = (
        "import sys\n"
        "from rollout.ledger import Ledger\n"
        "Ledger(sys.argv[1]).rollouts()\n"
        "print('alembic' in sys.modules)\n"
    )

    def imported() -> str:
        command = [sys.executable, "-c", script, url]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    assert imported() == "True"
    assert imported() == "False"


@pytest.mark.parametrize("old", [False, True], ids=["new", "released"])
def test_ten_processes_that_open_it_at_once_migrate_it_once(url, old):
    if old:
        make_released(url)
    heads = set(at_once(operators.open_it, 10, url))
    assert len(heads) == 1 and not isinstance(next(iter(heads)), str), heads
    with Ledger(url) as ledger:
        found = ledger.verify()
        assert (found.entries, found.flaws) == (5 if old else 0, ())


def test_who_opens_it_while_another_writes_waits(tmp_path):
    """SQLite itself waits for everything but for the change to a log that is written ahead."""
    path = tmp_path / "ledger.db"
    writer = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    writer.execute("CREATE TABLE other (id INTEGER)")
    writer.execute("BEGIN IMMEDIATE")
    done = threading.Timer(0.5, writer.execute, ["COMMIT"])
    done.start()
    with Ledger(f"sqlite:///{path}") as ledger:
        assert ledger.verify().flaws == ()
    done.join()
    writer.close()
    with contextlib.closing(sqlite3.connect(path)) as other:
        assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_migration_that_fails_leaves_the_ledger_as_it_was(url, monkeypatch):
    make_released(url)

    def fail(*_args: object) -> None:
        raise sa.exc.OperationalError("CREATE TRIGGER", {}, Exception("no space left"))

    monkeypatch.setattr("rollout.ledger.guards.install", fail)
    with pytest.raises(ConfigError, match="no space left") as error:
        Ledger(url)
    assert "\n" not in error.value.message
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    assert set(sa.inspect(engine).get_table_names()) == set(released.metadata.tables)
    monkeypatch.undo()
    with Ledger(url) as ledger:
        assert json.dumps(ledger.rollouts()[0].figures) == '{"sessions_moved": 3}'
        assert ledger.verify().imported == 5
