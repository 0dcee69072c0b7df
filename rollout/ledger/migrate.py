"""Brings a ledger to the present tables when it is opened; the steps are in ``rollout/ledger/migrations``.

A ledger that is up to date costs two queries: Alembic is imported for one that is not.
"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from rollout.errors import ConfigError
from rollout.ledger.database import Database

VERSIONS = ("0001", "0002", "0003")
"""Every version there was, the oldest first. A test compares it with the migrations."""

_RELEASED = VERSIONS[0]
"""The tables of ledgers that were made before they had versions."""

FOLDER = Path(__file__).parent / "migrations"


def bring_up(database: Database) -> None:
    """Make or migrate the tables, in one transaction, by one process where several come at once.

    Raises:
        ConfigError: a newer program has written this ledger.
        EngineError: the database fails; the ledger is as it was.
    """
    with database.reading() as connection:
        if _current(database, connection):
            return
    with database.writing() as connection:
        if not _current(database, connection):  # else another process was quicker
            _upgrade(connection)


def version(connection: sa.Connection) -> str | None:
    """The version of the ledger's tables; ``None`` of an empty database and of a ledger that has none yet."""
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    return connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar_one_or_none()


def _current(database: Database, connection: sa.Connection) -> bool:
    found = version(connection)
    if found is not None and found not in VERSIONS:
        raise ConfigError(
            f"ledger {database.public}: it has version {found}, this rollout knows up to {VERSIONS[-1]};"
            " use the newer rollout that others write it with"
        )
    return found == VERSIONS[-1]


def _upgrade(connection: sa.Connection) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    config.attributes["connection"] = connection
    if version(connection) is None and sa.inspect(connection).has_table("rollouts"):
        command.stamp(config, _RELEASED)
    command.upgrade(config, "head")
