"""A ledger with something of everything, and somebody who gets at it past the program."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa

from rollout.checks.runner import CheckResult
from rollout.ledger import Ledger, RolloutRecord, State
from rollout.model import Evidence, GateResult, Verdict


def make(ledger: Ledger, env: str = "dev", **fields) -> RolloutRecord:
    """A rollout that has just begun."""
    values = {
        "kind": "deploy",
        "build": "1-abc",
        "digest": "abc",
        "generation": None,
        "previous": None,
        "plan": {"steps": []},
        "operator": "me",
    }
    return ledger.create(env=env, **{**values, **fields})


def fill(ledger: Ledger) -> None:
    """Three rollouts in two environments, with rows in every table of history."""
    for env, outcome in (
        ("dev", State.PROMOTED),
        ("staging", State.ROLLING_BACK),
        ("staging", State.PROMOTED),
    ):
        rollout = make(ledger, env, previous=ledger.current("dev"))
        ledger.write(rollout.id, 0, "start", "begin", fence=1, host="web-1")
        ledger.add_figures(rollout.id, time_to_promote_s=0.1 + 0.2)
        samples = Evidence("e1", "load.reconnect", "samples", "load", 1.5, 2.5, 3, samples=(0.1, 1e-9, 2.0))
        rate = Evidence("e2", "load.success", "rate", "load", 1.5, 2.5, 10, successes=9, value=0.9)
        ledger.record_verdicts(
            rollout.id,
            "watch-25",
            [GateResult("success", Verdict.FAIL, 0.9, 0.57, 10, "9 of 10", ("e2",))],
            [samples, rate],
        )
        ledger.record_checks(env, rollout.id, [CheckResult("smoke", "api", "health", True, 3.5, 0.25, "")])
        ledger.add_event(env, "notification", by="me", rollout=rollout.id, to="team", ok=True)
        ledger.write(rollout.id, 0, "start", "end", fence=1)
        ledger.transition(rollout.id, outcome, reason="as planned")
    ledger.add_event("staging", "approval", by="you", build="1-abc")


@contextmanager
def attacker(url: str) -> Iterator[sa.Connection]:
    """A connection of somebody who owns the database: no trigger, no foreign key and no ledger is in the way.

    What is done is committed, and the triggers are as before.
    """
    engine = sa.create_engine(url, poolclass=sa.NullPool)  # nothing stays open
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.exec_driver_sql("SET LOCAL session_replication_role = replica")
            yield connection
        else:
            query = "SELECT name, sql FROM sqlite_master WHERE type = 'trigger'"
            triggers = connection.exec_driver_sql(query).all()
            for trigger in triggers:
                connection.exec_driver_sql(f"DROP TRIGGER {trigger.name}")
            yield connection
            for trigger in triggers:
                connection.exec_driver_sql(trigger.sql)
    engine.dispose()
