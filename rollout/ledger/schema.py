"""Tables of the ledger (SQLAlchemy Core). JSON columns hold what is only ever read whole.

Every change here is a migration, too (``rollout/ledger/migrations``; a test compares them). A column that is
added to a table of history has to be nullable: a digest leaves out what is null, so that of older rows stays.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Dialect,
    Float,
    ForeignKey,
    Integer,
    MetaData,
    String,
    Table,
    TypeDecorator,
    UniqueConstraint,
)


class Words(TypeDecorator[str]):
    """Text from anywhere: what no database takes (NUL, half a surrogate pair) is replaced."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        """Make it text that every database takes."""
        if not isinstance(value, str):
            return value
        return value.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()


Tally = BigInteger().with_variant(Integer(), "sqlite")
"""Counts of bytes are among the numbers of observations."""

metadata = MetaData()

rollouts = Table(
    "rollouts",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("env", Words, nullable=False, index=True),
    Column("number", Integer, nullable=False),
    Column("kind", Words, nullable=False),
    Column("build", Words, nullable=False),
    Column("digest", Words, nullable=False),
    Column("generation", Words, nullable=False),
    Column("previous_build", Words),
    Column("previous_generation", Words),
    Column("state", Words, nullable=False),
    Column("plan", JSON, nullable=False),
    Column("operator", Words, nullable=False),
    Column("started", Float, nullable=False),
    Column("ended", Float),
    Column("reason", Words, nullable=False, default=""),
    Column("figures", JSON, nullable=False, default=dict),
    UniqueConstraint("env", "number"),
)

journal = Table(
    "journal",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("rollout", Integer, ForeignKey("rollouts.id"), nullable=False, index=True),
    Column("index", Integer, nullable=False),
    Column("step", Words, nullable=False),
    Column("phase", Words, nullable=False),
    Column("at", Float, nullable=False),
    Column("fence", Integer, nullable=False),
    Column("data", JSON, nullable=False),
)

evidence = Table(
    "evidence",
    metadata,
    Column("key", Integer, primary_key=True),
    Column("rollout", Integer, ForeignKey("rollouts.id"), index=True),
    Column("env", Words, nullable=False, index=True),
    Column("id", Words, nullable=False),
    Column("metric", Words, nullable=False),
    Column("kind", Words, nullable=False),
    Column("source", Words, nullable=False),
    Column("started", Float, nullable=False),
    Column("ended", Float, nullable=False),
    Column("n", Tally, nullable=False),
    Column("successes", Tally),
    Column("samples", JSON, nullable=False),
    Column("times", JSON, nullable=False, server_default="[]"),
    Column("value", Float),
    Column("labels", JSON, nullable=False),
)

verdicts = Table(
    "verdicts",
    metadata,
    Column("key", Integer, primary_key=True),
    Column("rollout", Integer, ForeignKey("rollouts.id"), nullable=False, index=True),
    Column("step", Words, nullable=False),
    Column("at", Float, nullable=False),
    Column("gate", Words, nullable=False),
    Column("verdict", Words, nullable=False),
    Column("measured", Float),
    Column("bound", Float),
    Column("n", Tally, nullable=False),
    Column("reason", Words, nullable=False),
    Column("evidence", JSON, nullable=False),
    Column("low", Float),
    Column("high", Float),
    Column("needed", Tally),
    Column("severity", Words, nullable=False, server_default="critical"),
)

checks = Table(
    "checks",
    metadata,
    Column("key", Integer, primary_key=True),
    Column("rollout", Integer, ForeignKey("rollouts.id"), index=True),
    Column("env", Words, nullable=False, index=True),
    Column("suite", Words, nullable=False),
    Column("group", Words, nullable=False),
    Column("name", Words, nullable=False),
    Column("ok", Boolean, nullable=False),
    Column("started", Float, nullable=False),
    Column("seconds", Float, nullable=False),
    Column("detail", Words, nullable=False),
)

events = Table(
    "events",
    metadata,
    Column("key", Integer, primary_key=True),
    Column("rollout", Integer, ForeignKey("rollouts.id"), index=True),
    Column("env", Words, nullable=False, index=True),
    Column("kind", Words, nullable=False),
    Column("at", Float, nullable=False),
    Column("by", Words, nullable=False),
    Column("data", JSON, nullable=False),
)

chain = Table(
    "chain",
    metadata,
    Column("seq", Tally, primary_key=True, autoincrement=False),
    Column("at", Float, nullable=False),
    Column("table", String, nullable=False),
    Column("key", Integer, nullable=False),
    Column("env", String),
    Column("rollout", Integer),
    Column("digest", String, nullable=False),
    Column("change", String),
    Column("origin", String, nullable=False),
    Column("prev", String, nullable=False),
    Column("hash", String, nullable=False),
)
"""One entry for every write to a table of history: see :mod:`rollout.ledger.chain`."""

leases = Table(
    "leases",
    metadata,
    Column("env", Words, primary_key=True),
    Column("owner", JSON),
    Column("token", Integer, nullable=False),
    Column("since", Float, nullable=False),
    Column("expires", Float, nullable=False),
)

HISTORY: tuple[Table, ...] = (rollouts, journal, evidence, verdicts, checks, events)
"""What is written once. Leases are no history: they end and are taken again."""

MUTABLE: dict[str, frozenset[str]] = {"rollouts": frozenset({"state", "ended", "reason", "figures"})}
"""The columns that may change, by table. All others, and all rows of the other tables, never do."""
