"""The hash chain over all rows there are, and the triggers that keep them as they are."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from rollout.ledger import chain, guards

revision = "0003"
down_revision = "0002"

# By name, and read from the database: later versions may know more tables and columns than this one has.
HISTORY = ("rollouts", "journal", "evidence", "verdicts", "checks", "events")


def upgrade() -> None:
    """Make the chain, put every row into it, and close the tables."""
    op.create_table(
        "chain",
        sa.Column(
            "seq",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            primary_key=True,
            autoincrement=False,
        ),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("table", sa.String, nullable=False),
        sa.Column("key", sa.Integer, nullable=False),
        sa.Column("env", sa.String),
        sa.Column("rollout", sa.Integer),
        sa.Column("digest", sa.String, nullable=False),
        sa.Column("change", sa.String),
        sa.Column("origin", sa.String, nullable=False),
        sa.Column("prev", sa.String, nullable=False),
        sa.Column("hash", sa.String, nullable=False),
    )
    connection = op.get_bind()
    metadata = sa.MetaData()
    history = [sa.Table(name, metadata, autoload_with=connection) for name in HISTORY]
    chain.import_rows(connection, history)
    guards.install(connection, [*history, sa.Table("chain", metadata, autoload_with=connection)])
