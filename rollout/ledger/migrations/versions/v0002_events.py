"""Events, the times of a series, the intervals of verdicts, and counts past 2^31 on PostgreSQL.

Ledgers of programs between two versions have some of it already.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add what is not there."""
    connection = op.get_bind()
    there = sa.inspect(connection)
    if not there.has_table("events"):
        op.create_table(
            "events",
            sa.Column("key", sa.Integer, primary_key=True),
            sa.Column("rollout", sa.Integer, sa.ForeignKey("rollouts.id"), index=True),
            sa.Column("env", sa.String, nullable=False, index=True),
            sa.Column("kind", sa.String, nullable=False),
            sa.Column("at", sa.Float, nullable=False),
            sa.Column("by", sa.String, nullable=False),
            sa.Column("data", sa.JSON, nullable=False),
        )
    if "times" not in {column["name"] for column in there.get_columns("evidence")}:
        op.add_column("evidence", sa.Column("times", sa.JSON, nullable=False, server_default="[]"))
    there_already = {column["name"] for column in there.get_columns("verdicts")}
    columns: tuple[sa.Column[Any], ...] = (
        sa.Column("low", sa.Float),
        sa.Column("high", sa.Float),
        sa.Column("needed", sa.BigInteger().with_variant(sa.Integer(), "sqlite")),
        sa.Column("severity", sa.String, nullable=False, server_default="critical"),
    )
    for added in columns:
        if added.name not in there_already:
            op.add_column("verdicts", added)
    if connection.dialect.name == "postgresql":
        for table, column in (("evidence", "n"), ("evidence", "successes"), ("verdicts", "n")):
            op.alter_column(table, column, type_=sa.BigInteger)
