"""Triggers that keep history append-only in the database itself, whoever is connected.

The owner of the tables can drop them; ``rollout ledger verify`` says so, and finds what was changed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

import sqlalchemy as sa

from rollout.ledger import schema

_FUNCTION = "ledger_append_only"
_BODY = (
    " BEGIN RAISE EXCEPTION USING MESSAGE ="
    " 'the ledger is append-only: ' || TG_OP || ' of ' || TG_TABLE_NAME || ' is refused'; END "
)
_PREPARE = f"CREATE FUNCTION {_FUNCTION}() RETURNS trigger LANGUAGE plpgsql AS $${_BODY}$$"


def install(connection: sa.Connection, tables: Iterable[sa.Table]) -> None:
    """Make the triggers of these tables. On PostgreSQL their function, too, the first time."""
    if connection.dialect.name == "postgresql" and not _bodies(connection):
        connection.exec_driver_sql(_PREPARE)
    for table in tables:
        for statement in statements(connection.dialect.name, table).values():
            connection.exec_driver_sql(statement)


def missing(connection: sa.Connection, tables: Iterable[sa.Table]) -> list[tuple[str, str]]:
    """Table and name of each trigger that is not there, not switched on, or not as it was made."""
    sqlite = connection.dialect.name == "sqlite"
    there = _sqlite(connection) if sqlite else _postgresql(connection)
    gone = []
    for table in tables:
        for name, statement in statements(connection.dialect.name, table).items():
            if there.get(name) != (statement if sqlite else table.name):
                gone.append((table.name, name))
    return gone


def statements(dialect: str, table: sa.Table) -> dict[str, str]:
    """The statements that make the triggers of a table, by the trigger's name."""
    name = table.name
    mutable = schema.MUTABLE.get(name, frozenset())
    columns = _of(column.name for column in table.c if column.name not in mutable) if mutable else ""
    if dialect == "sqlite":
        action = f"BEGIN SELECT RAISE(ABORT, 'the ledger is append-only: change of {name} is refused'); END"
        return {
            f"{name}_no_update": f"CREATE TRIGGER {name}_no_update BEFORE UPDATE{columns} ON {name} {action}",
            f"{name}_no_delete": f"CREATE TRIGGER {name}_no_delete BEFORE DELETE ON {name} {action}",
        }
    whens = {
        "update": (f"UPDATE{columns}", "ROW"),
        "delete": ("DELETE", "ROW"),
        "truncate": ("TRUNCATE", "STATEMENT"),
    }
    return {
        f"{name}_no_{what}": f"CREATE TRIGGER {name}_no_{what} BEFORE {when} ON {name}"
        f" FOR EACH {each} EXECUTE FUNCTION {_FUNCTION}()"
        for what, (when, each) in whens.items()
    }


def _of(columns: Iterable[str]) -> str:
    return " OF " + ", ".join(f'"{column}"' for column in columns)


def _sqlite(connection: sa.Connection) -> dict[str, str]:
    rows = connection.exec_driver_sql("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")
    return {row.name: row.sql for row in rows}


def _postgresql(connection: sa.Connection) -> dict[str, str]:
    if _bodies(connection) != [_BODY]:
        return {}
    rows = connection.exec_driver_sql(
        "SELECT tgname, relname FROM pg_trigger JOIN pg_class ON pg_class.oid = tgrelid"
        " JOIN pg_proc ON pg_proc.oid = tgfoid"
        " WHERE relnamespace = current_schema()::regnamespace AND tgenabled = 'O'"
        " AND proname = 'ledger_append_only'"
    )
    return {row.tgname: row.relname for row in rows}


def _bodies(connection: sa.Connection) -> Collection[str]:
    query = (
        f"SELECT prosrc FROM pg_proc WHERE proname = '{_FUNCTION}'"  # noqa: S608 - a constant
        " AND pronamespace = current_schema()::regnamespace"
    )
    return list(connection.exec_driver_sql(query).scalars())
