"""Reading and writing the ledger."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from rollout.errors import ConfigError, Locked
from rollout.ledger import schema
from rollout.ledger.records import TRANSITIONS, JournalEntry, RolloutRecord, State
from rollout.model import Evidence, GateResult, Verdict

BUSY_SECONDS = 30


class Ledger:
    """One ledger, by SQLAlchemy URL. Transactions are short; several processes may use it at once."""

    def __init__(self, url: str) -> None:
        """Open the ledger, making its tables when it is new.

        Raises:
            ConfigError: the database cannot be reached or is not ours to write.
        """
        try:
            location = sa.engine.make_url(url)
            if location.get_backend_name() == "sqlite" and location.database:
                Path(location.database).parent.mkdir(parents=True, exist_ok=True)
                self.engine = sa.create_engine(url, connect_args={"timeout": BUSY_SECONDS})
                sa.event.listen(self.engine, "connect", _sqlite)
                sa.event.listen(self.engine, "begin", _begin_immediate)
            else:
                self.engine = sa.create_engine(url)
            schema.metadata.create_all(self.engine)
        except (SQLAlchemyError, OSError) as error:
            raise ConfigError(f"ledger {_public(url)}: {str(error).splitlines()[0]}") from None

    def __enter__(self) -> Ledger:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.engine.dispose()

    # --- rollouts -----------------------------------------------------------------------

    def create(
        self,
        *,
        env: str,
        kind: str,
        build: str,
        digest: str,
        generation: str | None,
        previous: RolloutRecord | None,
        plan: dict[str, Any],
        operator: str,
    ) -> RolloutRecord:
        """Record that a rollout begins. Without ``generation`` it gets one of its own, ``g<number>``.

        Raises:
            Locked: another rollout of the environment was recorded at the same moment.
        """
        table = schema.rollouts
        with self.engine.begin() as connection:
            last = connection.scalar(sa.select(sa.func.max(table.c.number)).where(table.c.env == env))
            number = (last or 0) + 1
            try:
                row = connection.execute(
                    table.insert()
                    .values(
                        env=env,
                        number=number,
                        kind=kind,
                        build=build,
                        digest=digest,
                        generation=generation or f"g{number}",
                        previous_build=previous.build if previous else None,
                        previous_generation=previous.generation if previous else None,
                        state=State.RUNNING.value,
                        plan=plan,
                        operator=operator,
                        started=time.time(),
                        reason="",
                        figures={},
                    )
                    .returning(*table.c)
                ).one()
            except IntegrityError:
                raise Locked(f"{env}: another rollout has just begun; look at: rollout status") from None
        return _rollout(row)

    def transition(self, rollout: int, state: State, *, reason: str = "") -> RolloutRecord:
        """Change the state of a rollout.

        Raises:
            ValueError: that state may not follow the present one.
        """
        table = schema.rollouts
        with self.engine.begin() as connection:
            row = connection.execute(sa.select(table).where(table.c.id == rollout)).one()
            if state not in TRANSITIONS[State(row.state)]:
                raise ValueError(f"rollout {rollout} is {row.state} and cannot become {state}")
            values: dict[str, Any] = {"state": state.value}
            if reason:
                values["reason"] = reason
            if state not in (State.ROLLING_BACK, State.RUNNING):
                values["ended"] = time.time()
            row = connection.execute(
                table.update().where(table.c.id == rollout).values(**values).returning(*table.c)
            ).one()
        return _rollout(row)

    def add_figures(self, rollout: int, **figures: Any) -> RolloutRecord:
        """Record measured figures of a rollout; those that exist already are added to when whole numbers."""
        table = schema.rollouts
        with self.engine.begin() as connection:
            row = connection.execute(sa.select(table).where(table.c.id == rollout)).one()
            merged = dict(row.figures)
            for name, value in figures.items():
                old = merged.get(name)
                merged[name] = old + value if isinstance(old, int) and isinstance(value, int) else value
            row = connection.execute(
                table.update().where(table.c.id == rollout).values(figures=merged).returning(*table.c)
            ).one()
        return _rollout(row)

    def rollout(self, rollout: int) -> RolloutRecord:
        """One rollout by its id."""
        table = schema.rollouts
        with self.engine.connect() as connection:
            return _rollout(connection.execute(sa.select(table).where(table.c.id == rollout)).one())

    def rollouts(self, env: str | None = None) -> list[RolloutRecord]:
        """All rollouts, of one environment or all, the newest first."""
        table = schema.rollouts
        query = sa.select(table).order_by(table.c.id.desc())
        if env is not None:
            query = query.where(table.c.env == env)
        with self.engine.connect() as connection:
            return [_rollout(row) for row in connection.execute(query)]

    def current(self, env: str) -> RolloutRecord | None:
        """The rollout whose build has the environment's traffic; ``None`` before the first."""
        return next((record for record in self.rollouts(env) if record.state is State.PROMOTED), None)

    def unfinished(self, env: str) -> RolloutRecord | None:
        """The rollout of the environment that something is left to be done of."""
        newest = next(iter(self.rollouts(env)), None)
        return newest if newest is not None and newest.state.open else None

    # --- journal, evidence, verdicts ------------------------------------------------------

    def write(self, rollout: int, index: int, step: str, phase: str, *, fence: int, **data: Any) -> None:
        """Journal that a step begins (``begin``), has ended (``end``) or ``failed``."""
        with self.engine.begin() as connection:
            connection.execute(
                schema.journal.insert().values(
                    rollout=rollout,
                    index=index,
                    step=step,
                    phase=phase,
                    at=time.time(),
                    fence=fence,
                    data=data,
                )
            )

    def journal(self, rollout: int) -> list[JournalEntry]:
        """The journal of a rollout, in order."""
        table = schema.journal
        query = sa.select(table).where(table.c.rollout == rollout).order_by(table.c.id)
        with self.engine.connect() as connection:
            return [
                JournalEntry(
                    row.rollout, row._mapping["index"], row.step, row.phase, row.at, row.fence, row.data
                )
                for row in connection.execute(query)
            ]

    def record_verdicts(
        self, rollout: int, step: str, results: Sequence[GateResult], evidence: Iterable[Evidence]
    ) -> None:
        """Record what the gates said at a step, with the evidence they judged."""
        env = self.rollout(rollout).env
        now = time.time()
        with self.engine.begin() as connection:
            for item in evidence:
                connection.execute(
                    schema.evidence.insert().values(
                        rollout=rollout, env=env, **{**asdict(item), "value": _finite(item.value)}
                    )
                )
            for result in results:
                connection.execute(
                    schema.verdicts.insert().values(
                        rollout=rollout,
                        step=step,
                        at=now,
                        gate=result.gate,
                        verdict=result.verdict.value,
                        measured=_finite(result.measured),
                        bound=_finite(result.bound),
                        n=result.n,
                        reason=result.reason,
                        evidence=list(result.evidence),
                    )
                )

    def verdicts(self, rollout: int, step: str | None = None) -> list[tuple[str, GateResult]]:
        """What the gates of a rollout said, with the step, in order."""
        table = schema.verdicts
        query = sa.select(table).where(table.c.rollout == rollout).order_by(table.c.key)
        if step is not None:
            query = query.where(table.c.step == step)
        with self.engine.connect() as connection:
            return [
                (
                    row.step,
                    GateResult(
                        row.gate,
                        Verdict(row.verdict),
                        row.measured,
                        row.bound,
                        row.n,
                        row.reason,
                        tuple(row.evidence),
                    ),
                )
                for row in connection.execute(query)
            ]

    def record_checks(self, env: str, rollout: int | None, results: Iterable[Any]) -> None:
        """Record results of checks (:class:`rollout.checks.CheckResult`); alone, without a rollout, too."""
        with self.engine.begin() as connection:
            for result in results:
                connection.execute(schema.checks.insert().values(env=env, rollout=rollout, **asdict(result)))

    def checks(self, rollout: int) -> list[dict[str, Any]]:
        """Results of the checks of a rollout."""
        table = schema.checks
        query = sa.select(table).where(table.c.rollout == rollout).order_by(table.c.key)
        with self.engine.connect() as connection:
            return [dict(row._mapping) for row in connection.execute(query)]


def _rollout(row: Any) -> RolloutRecord:
    fields = dict(row._mapping)
    fields["state"] = State(fields["state"])
    return RolloutRecord(**fields)


def _finite(value: float | None) -> float | None:
    return value if value is None or math.isfinite(value) else None


def _public(url: str) -> str:
    try:
        return sa.engine.make_url(url).render_as_string(hide_password=True)
    except SQLAlchemyError:
        return "with an unreadable URL"


def _sqlite(connection: Any, _record: Any) -> None:
    # The driver's own transaction handling begins them too late for reads to be part of them.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _begin_immediate(connection: Any) -> None:
    # Taking the write lock at the start is what makes read-then-write safe between processes.
    connection.exec_driver_sql("BEGIN IMMEDIATE")
