"""The tables as the program made them that was released before ledgers had versions. Never to change."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Integer,
    MetaData,
    String,
    Table,
    UniqueConstraint,
)

metadata = MetaData()

rollouts = Table(
    "rollouts",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("env", String, nullable=False, index=True),
    Column("number", Integer, nullable=False),
    Column("kind", String, nullable=False),
    Column("build", String, nullable=False),
    Column("digest", String, nullable=False),
    Column("generation", String, nullable=False),
    Column("previous_build", String),
    Column("previous_generation", String),
    Column("state", String, nullable=False),
    Column("plan", JSON, nullable=False),
    Column("operator", String, nullable=False),
    Column("started", Float, nullable=False),
    Column("ended", Float),
    Column("reason", String, nullable=False, default=""),
    Column("figures", JSON, nullable=False, default=dict),
    UniqueConstraint("env", "number"),
)

journal = Table(
    "journal",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("rollout", Integer, ForeignKey("rollouts.id"), nullable=False, index=True),
    Column("index", Integer, nullable=False),
    Column("step", String, nullable=False),
    Column("phase", String, nullable=False),
    Column("at", Float, nullable=False),
    Column("fence", Integer, nullable=False),
    Column("data", JSON, nullable=False),
)

evidence = Table(
    "evidence",
    metadata,
    Column("key", Integer, primary_key=True),
    Column("rollout", Integer, ForeignKey("rollouts.id"), index=True),
    Column("env", String, nullable=False, index=True),
    Column("id", String, nullable=False),
    Column("metric", String, nullable=False),
    Column("kind", String, nullable=False),
    Column("source", String, nullable=False),
    Column("started", Float, nullable=False),
    Column("ended", Float, nullable=False),
    Column("n", Integer, nullable=False),
    Column("successes", Integer),
    Column("samples", JSON, nullable=False),
    Column("value", Float),
    Column("labels", JSON, nullable=False),
)

verdicts = Table(
    "verdicts",
    metadata,
    Column("key", Integer, primary_key=True),
    Column("rollout", Integer, ForeignKey("rollouts.id"), nullable=False, index=True),
    Column("step", String, nullable=False),
    Column("at", Float, nullable=False),
    Column("gate", String, nullable=False),
    Column("verdict", String, nullable=False),
    Column("measured", Float),
    Column("bound", Float),
    Column("n", Integer, nullable=False),
    Column("reason", String, nullable=False),
    Column("evidence", JSON, nullable=False),
)

checks = Table(
    "checks",
    metadata,
    Column("key", Integer, primary_key=True),
    Column("rollout", Integer, ForeignKey("rollouts.id"), index=True),
    Column("env", String, nullable=False, index=True),
    Column("suite", String, nullable=False),
    Column("group", String, nullable=False),
    Column("name", String, nullable=False),
    Column("ok", Boolean, nullable=False),
    Column("started", Float, nullable=False),
    Column("seconds", Float, nullable=False),
    Column("detail", String, nullable=False),
)

leases = Table(
    "leases",
    metadata,
    Column("env", String, primary_key=True),
    Column("owner", JSON),
    Column("token", Integer, nullable=False),
    Column("since", Float, nullable=False),
    Column("expires", Float, nullable=False),
)
