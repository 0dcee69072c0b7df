"""The database below the ledger: its URL, its transactions, and the one place where its errors become ours.

Writers of history come one after the other: SQLite takes its write lock when a transaction begins, PostgreSQL
an advisory lock that is the ledger's own. What a transaction reads before it writes is therefore still true
when it does: the next number, the present state, the head of the chain.
"""

from __future__ import annotations

import json
import logging
import math
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError

from rollout.errors import ConfigError, EngineError
from rollout.ledger.whole import whole

BUSY_SECONDS = 30
"""How long a writer waits for another."""

PATIENCE = 15.0
"""Seconds in which a server that was there comes back: a restart, a failover."""

# A connection that cannot even be put back is told of by the error that it met, not by a traceback besides.
logging.getLogger("sqlalchemy").addHandler(logging.NullHandler())

_LOCK = "pg_advisory_xact_lock(1819239527, hashtext(coalesce(current_schema(), '')))"
_POSTGRESQL = {
    # A server that has gone without a word is noticed within half a minute, not after the kernel's quarter
    # of an hour. The URL's own query goes before these.
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
_SECRET = frozenset({"password", "sslpassword"})


class Database:
    """One database by URL: SQLite, or PostgreSQL through psycopg."""

    def __init__(self, url: str) -> None:
        """Prepare; nothing is connected yet.

        Raises:
            ConfigError: no URL, another database, or a driver is missing.
        """
        location = _location(url)
        self.public = public(location)
        self._patience = 0.0
        try:
            if location.get_backend_name() == "sqlite":
                if location.database and location.database != ":memory:":
                    Path(location.database).parent.mkdir(parents=True, exist_ok=True)
                self.engine = sa.create_engine(
                    location, connect_args={"timeout": BUSY_SECONDS}, json_serializer=dumps
                )
                sa.event.listen(self.engine, "connect", _sqlite)
                sa.event.listen(self.engine, "begin", _begin)
            else:
                self.engine = sa.create_engine(
                    location,
                    connect_args={k: v for k, v in _POSTGRESQL.items() if k not in location.query},
                    json_serializer=dumps,
                    pool_pre_ping=True,
                    # A higher level would have the head of the chain read before the lock is there.
                    isolation_level="READ COMMITTED",
                )
        except ImportError as error:
            raise ConfigError(
                f"ledger {self.public}: the driver {location.get_driver_name()} cannot be loaded ({error});"
                " install it: pip install 'psycopg[binary]'"
            ) from None
        except (SQLAlchemyError, OSError) as error:
            raise ConfigError(f"ledger {self.public}: {reason(error)}") from None

    @contextmanager
    def reading(self, *, snapshot: bool = False) -> Iterator[sa.Connection]:
        """A transaction that only reads; with ``snapshot`` all of it sees the same moment.

        Raises:
            EngineError: the database fails, or what it holds cannot be read.
        """
        with whole, self._translated(), self._connect() as connection:
            if self.sqlite:
                connection.execution_options(ledger_begin="DEFERRED")
            elif snapshot:
                connection.execution_options(isolation_level="REPEATABLE READ")
            try:
                yield connection
            except (ValueError, TypeError) as error:
                raise EngineError(
                    f"ledger {self.public}: it holds what the ledger does not write ({error});"
                    " look at: rollout ledger verify"
                ) from None

    @contextmanager
    def writing(self, *, alone: bool = True) -> Iterator[sa.Connection]:
        """A transaction that writes, and is the only one that does (``alone``; leases need not be).

        Committed at the end of the block, taken back when it raises.

        Raises:
            EngineError: the database fails; nothing of the block was written.
        """
        with whole, self._translated(), self._connect() as connection, connection.begin():
            if not self.sqlite:
                limit = f"SELECT set_config('lock_timeout', '{BUSY_SECONDS}s', true)"
                connection.exec_driver_sql(f"{limit}, {_LOCK}" if alone else limit)
            yield connection

    @property
    def sqlite(self) -> bool:
        """Whether it is SQLite; else it is PostgreSQL."""
        return self.engine.dialect.name == "sqlite"

    def opened(self) -> None:
        """From now on a server that is away for a moment is waited for."""
        if not self.sqlite:
            self._patience = PATIENCE

    @contextmanager
    def _connect(self) -> Iterator[sa.Connection]:
        end = time.monotonic() + self._patience
        while True:
            try:
                connection = self.engine.connect()
                break
            except OperationalError:  # nothing was asked yet: to try again is safe
                if time.monotonic() >= end:
                    raise
                time.sleep(0.2)
        with connection:
            yield connection

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except SQLAlchemyError as error:
            raise EngineError(f"ledger {self.public}: {reason(error)}; look at: rollout doctor") from None


def reason(error: BaseException) -> str:
    """What the database says, in its first line."""
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    return next(iter(str(cause).splitlines()), "") or type(cause).__name__


def public(location: sa.URL) -> str:
    """The URL without its secrets."""
    return location.difference_update_query(_SECRET).render_as_string(hide_password=True)


def dumps(value: Any) -> str:
    """JSON that every database takes: a number that is none becomes ``"NaN"`` or ``"Infinity"``."""
    try:
        return json.dumps(value, allow_nan=False)
    except ValueError:
        return json.dumps(_finite(value), allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return json.dumps(value)
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


def _location(url: str) -> sa.URL:
    try:
        location = sa.make_url(url)
    except (SQLAlchemyError, ValueError):  # whose text repeats the URL, with the password
        raise ConfigError(
            "ledger: that is no URL of a database; it looks like sqlite:////path/ledger.db or"
            " postgresql://user@host/name (special characters of a password as %XX)"
        ) from None
    if location.drivername in ("postgresql", "postgres"):
        return location.set(drivername="postgresql+psycopg")
    if location.drivername not in ("sqlite", "sqlite+pysqlite", "postgresql+psycopg"):
        raise ConfigError(
            f"ledger {public(location)}: {location.drivername} is not supported; use sqlite or postgresql"
        )
    return location


def _sqlite(connection: Any, _record: Any) -> None:
    # The driver's own transaction handling begins them too late for reads to be part of them.
    connection.isolation_level = None
    cursor = connection.cursor()
    _write_ahead(cursor)
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _write_ahead(cursor: sqlite3.Cursor) -> None:
    """Have a log written ahead, once and for all. For this alone SQLite does not wait itself: while another
    process writes, and the log is not yet in use, it says at once that the database is locked."""
    end = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() >= end:
                raise
            time.sleep(0.05)


def _begin(connection: sa.Connection) -> None:
    # Taking the write lock at the start is what makes read-then-write safe between processes.
    kind = connection.get_execution_options().get("ledger_begin", "IMMEDIATE")
    connection.exec_driver_sql(f"BEGIN {kind}")
