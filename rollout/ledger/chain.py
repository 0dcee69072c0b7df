"""The hash chain: what makes a later edit of the ledger show.

Every write of history adds an entry to the table ``chain`` in the same transaction. An entry holds the
digest of the row as it is stored, and a hash over itself and the hash of the entry before. So whoever
changes, removes, adds or re-orders rows or entries has to write every later entry anew, and ends with another
head.

Forms, fixed for ever:

* canonical: JSON with sorted keys, no spaces, ASCII only, floats as Python's ``repr`` writes them;
* digest of a row: SHA-256 of the canonical object of its columns that are not null, as they are stored
  (JSON as its text, truth as 0 or 1), so that it is the same in SQLite and PostgreSQL;
* hash of an entry: SHA-256 of the canonical list of its columns in the order of :data:`HASHED`.

Rows of ``rollouts`` change. Each of their entries holds in ``change`` the canonical object of the columns
that may: with those that may not, every earlier state can be computed, and is verified, too.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from rollout.ledger import schema

GENESIS = "0" * 64
"""What the first entry has as the hash before it."""

HASHED = ("seq", "at", "table", "key", "env", "rollout", "digest", "change", "origin", "prev")

IMPORTED = "imported"
"""Origin of the entries of rows that were there before the chain was."""

Row = Mapping[Any, Any]
"""A row as it is stored, by column."""


def canonical(value: Any) -> str:
    """The one way to write a value down."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=_bytes)


def digest(row: Row) -> str:
    """Digest of a row as it is stored."""
    return _sha256(canonical({name: value for name, value in row.items() if value is not None}))


def entry_hash(entry: Row) -> str:
    """The hash that an entry must have."""
    return _sha256(canonical([entry[name] for name in HASHED]))


def stored(table: sa.Table, dialect: sa.Dialect) -> list[sa.ColumnElement[Any]]:
    """The columns of a table to select as they are stored, without making Python's values of them."""
    return [_stored(column, dialect).label(column.name) for column in table.c]


def head(connection: sa.Connection) -> tuple[int, str]:
    """Number and hash of the last entry; ``(0, GENESIS)`` of an empty ledger."""
    table = schema.chain
    query = sa.select(table.c.seq, table.c.hash).order_by(table.c.seq.desc()).limit(1)
    row = connection.execute(query).one_or_none()
    return (row.seq, row.hash) if row is not None else (0, GENESIS)


class Chain:
    """Writes history in one transaction. The transaction has to be the only one that writes it meanwhile."""

    def __init__(self, connection: sa.Connection, *, origin: str = "") -> None:
        self.connection = connection
        self._origin = origin
        self._seq, self._hash = head(connection)
        self._entries: list[dict[str, Any]] = []

    def insert(self, table: sa.Table, values: Mapping[str, Any]) -> int:
        """Insert a row; returns its key."""
        done = self.connection.execute(table.insert().values(**values))
        key = done.inserted_primary_key
        assert key is not None
        return self.add(table, self._read(table, key[0]))

    def update(self, table: sa.Table, key: int, values: Mapping[str, Any]) -> None:
        """Change those columns of a row that may change."""
        self.connection.execute(table.update().where(key_of(table) == key).values(**values))
        self.add(table, self._read(table, key))

    def add(self, table: sa.Table, row: Row) -> int:
        """Chain a row that is in its table already; returns its key."""
        key: int = row[key_of(table).name]
        mutable = schema.MUTABLE.get(table.name)
        entry: dict[str, Any] = {
            "seq": self._seq + 1,
            "at": time.time(),
            "table": table.name,
            "key": key,
            "env": row.get("env"),
            "rollout": key if table.name == schema.rollouts.name else row.get("rollout"),
            "digest": digest(row),
            "change": canonical({name: row[name] for name in mutable}) if mutable else None,
            "origin": self._origin,
            "prev": self._hash,
        }
        entry["hash"] = entry_hash(entry)
        self._seq, self._hash = entry["seq"], entry["hash"]
        self._entries.append(entry)
        return key

    def _read(self, table: sa.Table, key: int) -> Row:
        # Not by RETURNING: SQLite answers that with 1 where the column holds, and always gives, 1.0.
        columns = stored(table, self.connection.dialect)
        return self.connection.execute(sa.select(*columns).where(key_of(table) == key)).mappings().one()

    def flush(self) -> None:
        """Write the entries. Without it the transaction must not be committed."""
        if self._entries:
            self.connection.execute(schema.chain.insert(), self._entries)
            self._entries = []


def import_rows(connection: sa.Connection, tables: Iterable[sa.Table]) -> None:
    """Chain all rows that are in these tables, marked as imported: from now on they cannot change unseen."""
    chain = Chain(connection, origin=IMPORTED)
    for table in tables:
        query = sa.select(*stored(table, connection.dialect)).order_by(key_of(table))
        for part in connection.execute(query).mappings().partitions(1000):
            for row in part:
                chain.add(table, row)
            chain.flush()


def key_of(table: sa.Table) -> sa.Column[Any]:
    """The primary key, which is one column in all tables of history."""
    columns: Sequence[sa.Column[Any]] = list(table.primary_key.columns)
    return columns[0]


def _stored(column: sa.Column[Any], dialect: sa.Dialect) -> sa.ColumnElement[Any]:
    if dialect.name == "sqlite":  # stores JSON as text and truth as numbers; a cast would hide a wrong type
        return sa.type_coerce(column, sa.types.NullType())
    if isinstance(column.type, sa.JSON):
        return sa.cast(column, sa.Text)
    if isinstance(column.type, sa.Boolean):
        return sa.cast(column, sa.Integer)
    return sa.type_coerce(column, sa.types.NullType())


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def _bytes(value: object) -> object:
    # Not ours: only somebody else stores a blob in one of these columns.
    if isinstance(value, bytes):
        return {"bytes": value.hex()}
    raise TypeError(f"{type(value).__name__} has no canonical form")
