"""Recomputes the chain and every row it stands for, and places what is not as it was written."""

from __future__ import annotations

import json
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from rollout.errors import ConfigError
from rollout.ledger import guards, schema
from rollout.ledger.chain import GENESIS, IMPORTED, digest, entry_hash, key_of, stored
from rollout.ledger.database import Database, reason

BATCH = 1000


@dataclass(frozen=True, slots=True)
class Flaw:
    """One thing that is wrong, and where: table and key of the row, environment and number of its rollout
    (``None`` where it belongs to none, or that is lost), and the entry of the chain."""

    what: str
    table: str
    key: int | None = None
    env: str | None = None
    number: int | None = None
    entry: int | None = None

    def __str__(self) -> str:
        where = self.table if self.key is None else f"{self.table} row {self.key}"
        if self.env is not None:
            where += f" ({self.env}{'' if self.number is None else f' #{self.number}'})"
        if self.entry is not None:
            where += f", chain entry {self.entry}"
        return f"{where}: {self.what}"


@dataclass(frozen=True, slots=True)
class Verification:
    """What was verified, and every flaw, the first in the chain before the others.

    ``imported`` entries are of rows that are older than the chain: it vouches for them from then on only.
    """

    entries: int
    imported: int
    rows: dict[str, int]
    seq: int
    head: str
    flaws: tuple[Flaw, ...]


class _Entry(NamedTuple):
    """What of an entry is needed when its row comes."""

    seq: int
    digest: str
    change: str | None
    env: str | None
    rollout: int | None


@dataclass(slots=True)
class _Walk:
    """What a walk along the chain has found out."""

    last: Mapping[str, Any] = field(default_factory=lambda: {"seq": 0, "hash": GENESIS})
    entries: int = 0
    imported: int = 0
    anchored: bool = False
    wrong: set[int] = field(default_factory=set)
    """Entries that are placed as wrong already: what they say of their row says nothing."""
    rows: dict[str, dict[int, list[_Entry]]] = field(default_factory=lambda: defaultdict(dict))
    places: dict[int, tuple[str, int]] = field(default_factory=dict)
    """Environment and number of each rollout."""
    flaws: list[Flaw] = field(default_factory=list)

    def flaw(
        self,
        what: str,
        table: Any,
        key: Any,
        *,
        entry: int | None = None,
        env: Any = None,
        rollout: Any = None,
    ) -> None:
        """Place a flaw."""
        env, number = self.places.get(rollout, (env, None))
        self.flaws.append(Flaw(what, _shown(table), key, None if env is None else _shown(env), number, entry))


def verify(database: Database, anchor: str | None = None) -> Verification:
    """Verify a ledger; with ``anchor``, a hash that ``rollout ledger head`` once gave, also that nothing up
    to there was cut off or written anew.

    Raises:
        ConfigError: the anchor is no hash.
        EngineError: the database cannot be reached.
    """
    if anchor is not None and not re.fullmatch("[0-9a-f]{64}", anchor):
        raise ConfigError("a head is 64 hexadecimal digits, as `rollout ledger head` prints them")
    walk = _Walk(anchored=anchor in (None, GENESIS))
    counts: Counter[str] = Counter()
    with database.reading(snapshot=True) as connection, _any_text(connection):
        if database.sqlite:
            _file(connection, walk)
        for row in _rows(connection, schema.rollouts, walk):
            walk.places[row["id"]] = (row["env"], row["number"])
        for entry in _rows(connection, schema.chain, walk):
            _entry(walk, entry)
            walk.anchored = walk.anchored or entry["hash"] == anchor
        for table in schema.HISTORY:
            for row in _rows(connection, table, walk):
                counts[table.name] += 1
                _row(walk, table, row)
            _deleted(walk, table)
        for name, trigger in guards.missing(connection, (*schema.HISTORY, schema.chain)):
            walk.flaw(f"the trigger {trigger}, which keeps rows as they are, is gone or changed", name, None)
    for name in walk.rows:
        walk.flaw("entries for a table that the ledger does not have", name, None)
    if not walk.anchored:
        what = f"no entry has the hash {anchor}: the chain was cut off before it, or written anew"
        walk.flaw(what, schema.chain.name, None)
    flaws = sorted(walk.flaws, key=lambda flaw: math.inf if flaw.entry is None else flaw.entry)
    seq, head = walk.last["seq"], walk.last["hash"]
    return Verification(walk.entries, walk.imported, dict(counts), seq, head, tuple(flaws))


def _entry(walk: _Walk, entry: Mapping[str, Any]) -> None:
    """One entry: in its place, as it was written, and chained to the one before."""
    seq, last = entry["seq"], walk.last
    gap = seq != last["seq"] + 1
    if gap:
        missing = f"{last['seq'] + 1}" if seq == last["seq"] + 2 else f"{last['seq'] + 1} to {seq - 1}"
        walk.flaw(f"missing, before entry {seq}", f"chain entry {missing}", None)
    if entry_hash(entry) != entry["hash"]:
        walk.wrong.add(seq)
        _flaw_of(walk, entry, "the entry was changed after it was written")
    elif not gap and entry["prev"] != last["hash"] and last["seq"] not in walk.wrong:
        # Nobody can find another entry with the hash that this one was chained to.
        _flaw_of(walk, last if last["seq"] else entry, "the entry was written anew, after the next one")
    walk.last = entry
    walk.entries += 1
    walk.imported += entry["origin"] == IMPORTED
    known = _Entry(seq, entry["digest"], entry["change"], entry["env"], entry["rollout"])
    walk.rows[str(entry["table"])].setdefault(entry["key"], []).append(known)


def _flaw_of(walk: _Walk, entry: Mapping[str, Any], what: str) -> None:
    walk.flaw(
        what, entry["table"], entry["key"], entry=entry["seq"], env=entry["env"], rollout=entry["rollout"]
    )


def _row(walk: _Walk, table: sa.Table, row: Mapping[str, Any]) -> None:
    """One row: it has its entries, and is what they say."""
    key = row[key_of(table).name]
    entries = walk.rows[table.name].pop(key, [])

    def flaw(what: str, entry: _Entry | None) -> None:
        rollout = key if table is schema.rollouts else row["rollout"]
        if entry is None:
            walk.flaw(what, table.name, key, env=row.get("env"), rollout=rollout)
        elif entry.seq not in walk.wrong:
            walk.flaw(what, table.name, key, entry=entry.seq, env=entry.env, rollout=entry.rollout)

    if not entries:
        flaw("the row was put in past the ledger: no entry of the chain stands for it", None)
    elif digest(row) != entries[-1].digest:
        flaw("the row was changed after it was written", entries[-1])
    elif table.name not in schema.MUTABLE:
        if len(entries) > 1:
            flaw("the row never changes, and has a second entry", entries[-1])
    else:
        # Its earlier states: what never changes is in the row, what did is in the entry.
        for entry in entries:
            if not _was(row, schema.MUTABLE[table.name], entry):
                flaw("the state that the entry tells of is not that of its digest", entry)


def _was(row: Mapping[str, Any], mutable: frozenset[str], entry: _Entry) -> bool:
    try:
        change = json.loads(entry.change or "")
    except ValueError:
        return False
    fixed = {name: value for name, value in row.items() if name not in mutable}
    return digest({**fixed, **change}) == entry.digest


def _deleted(walk: _Walk, table: sa.Table) -> None:
    """What is left over has an entry and no row."""
    for key, entries in walk.rows.pop(table.name, {}).items():
        last = entries[-1]
        if last.seq not in walk.wrong:
            walk.flaw(
                "the row was deleted", table.name, key, entry=last.seq, env=last.env, rollout=last.rollout
            )


def _rows(connection: sa.Connection, table: sa.Table, walk: _Walk) -> Iterator[Mapping[Any, Any]]:
    """The rows of a table as they are stored, by key; a table that cannot be read is a flaw."""
    query = sa.select(*stored(table, connection.dialect)).order_by(key_of(table))
    try:
        result = connection.execute(query, execution_options={"yield_per": BATCH})
        yield from result.mappings()
    except SQLAlchemyError as error:
        if isinstance(error, DBAPIError) and error.connection_invalidated:
            raise
        walk.flaw(f"it cannot be read: {reason(error)}", table.name, None)
        connection.rollback()


@contextmanager
def _any_text(connection: sa.Connection) -> Iterator[None]:
    """On SQLite, text that is none any more has to be read, too, to be placed."""
    driver: Any = connection.connection.driver_connection
    if connection.dialect.name == "sqlite":
        driver.text_factory = lambda data: data.decode("utf-8", "surrogateescape")
    try:
        yield
    finally:
        if connection.dialect.name == "sqlite":
            driver.text_factory = str


def _file(connection: sa.Connection, walk: _Walk) -> None:
    """SQLite's own check of its file: indexes and pages, which no row shows."""
    try:
        said = connection.exec_driver_sql("PRAGMA integrity_check(1)").scalar_one()
    except SQLAlchemyError as error:
        said = reason(error)
        connection.rollback()
    if said != "ok":
        walk.flaw(f"the file is damaged: {said}", "database", None)


def _shown(value: Any) -> str:
    return str(value).encode("utf-8", "replace").decode()
