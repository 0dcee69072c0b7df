"""The tables as ``create_all`` made them before ledgers had versions."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make them."""
    op.create_table(
        "rollouts",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("env", sa.String, nullable=False, index=True),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("build", sa.String, nullable=False),
        sa.Column("digest", sa.String, nullable=False),
        sa.Column("generation", sa.String, nullable=False),
        sa.Column("previous_build", sa.String),
        sa.Column("previous_generation", sa.String),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("plan", sa.JSON, nullable=False),
        sa.Column("operator", sa.String, nullable=False),
        sa.Column("started", sa.Float, nullable=False),
        sa.Column("ended", sa.Float),
        sa.Column("reason", sa.String, nullable=False),
        sa.Column("figures", sa.JSON, nullable=False),
        sa.UniqueConstraint("env", "number"),
    )
    op.create_table(
        "journal",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("rollout", sa.Integer, sa.ForeignKey("rollouts.id"), nullable=False, index=True),
        sa.Column("index", sa.Integer, nullable=False),
        sa.Column("step", sa.String, nullable=False),
        sa.Column("phase", sa.String, nullable=False),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("fence", sa.Integer, nullable=False),
        sa.Column("data", sa.JSON, nullable=False),
    )
    op.create_table(
        "evidence",
        sa.Column("key", sa.Integer, primary_key=True),
        sa.Column("rollout", sa.Integer, sa.ForeignKey("rollouts.id"), index=True),
        sa.Column("env", sa.String, nullable=False, index=True),
        sa.Column("id", sa.String, nullable=False),
        sa.Column("metric", sa.String, nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("source", sa.String, nullable=False),
        sa.Column("started", sa.Float, nullable=False),
        sa.Column("ended", sa.Float, nullable=False),
        sa.Column("n", sa.Integer, nullable=False),
        sa.Column("successes", sa.Integer),
        sa.Column("samples", sa.JSON, nullable=False),
        sa.Column("value", sa.Float),
        sa.Column("labels", sa.JSON, nullable=False),
    )
    op.create_table(
        "verdicts",
        sa.Column("key", sa.Integer, primary_key=True),
        sa.Column("rollout", sa.Integer, sa.ForeignKey("rollouts.id"), nullable=False, index=True),
        sa.Column("step", sa.String, nullable=False),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("gate", sa.String, nullable=False),
        sa.Column("verdict", sa.String, nullable=False),
        sa.Column("measured", sa.Float),
        sa.Column("bound", sa.Float),
        sa.Column("n", sa.Integer, nullable=False),
        sa.Column("reason", sa.String, nullable=False),
        sa.Column("evidence", sa.JSON, nullable=False),
    )
    op.create_table(
        "checks",
        sa.Column("key", sa.Integer, primary_key=True),
        sa.Column("rollout", sa.Integer, sa.ForeignKey("rollouts.id"), index=True),
        sa.Column("env", sa.String, nullable=False, index=True),
        sa.Column("suite", sa.String, nullable=False),
        sa.Column("group", sa.String, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("ok", sa.Boolean, nullable=False),
        sa.Column("started", sa.Float, nullable=False),
        sa.Column("seconds", sa.Float, nullable=False),
        sa.Column("detail", sa.String, nullable=False),
    )
    op.create_table(
        "leases",
        sa.Column("env", sa.String, primary_key=True),
        sa.Column("owner", sa.JSON),
        sa.Column("token", sa.Integer, nullable=False),
        sa.Column("since", sa.Float, nullable=False),
        sa.Column("expires", sa.Float, nullable=False),
    )
