"""Reading and writing the ledger."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, fields
from types import TracebackType
from typing import Any

import sqlalchemy as sa

from rollout.errors import ConfigError, EngineError, LeaseLost
from rollout.ledger import schema
from rollout.ledger.chain import Chain, head
from rollout.ledger.database import Database
from rollout.ledger.migrate import bring_up
from rollout.ledger.records import TRANSITIONS, Event, EventKind, JournalEntry, RolloutRecord, State
from rollout.ledger.verify import Verification, verify
from rollout.model import Evidence, GateResult, Verdict


class Ledger:
    """One ledger, by SQLAlchemy URL. Transactions are short; several processes may use it at once.

    Every method raises :class:`~rollout.errors.EngineError`, in one line, when the database fails.
    """

    def __init__(self, url: str) -> None:
        """Open the ledger: tables are made when it is new, and migrated when it is old.

        Raises:
            ConfigError: the database cannot be reached, is not ours to write, or is of a newer program.
        """
        self.database = Database(url)
        try:
            bring_up(self.database)
        except BaseException as error:
            self.engine.dispose()
            if isinstance(error, EngineError):
                raise ConfigError(error.message) from None
            raise
        self.database.opened()
        self._fence: tuple[str, int] | None = None

    def fenced(self, env: str, token: int) -> Ledger:
        """The same, for whoever holds the lease of an environment with this token: every method that writes
        raises :class:`~rollout.errors.LeaseLost` once another has taken it."""
        other = copy.copy(self)
        other._fence = env, token
        return other

    def token(self, env: str) -> int | None:
        """The token that it was given for an environment (:meth:`fenced`), if any."""
        return self._fence[1] if self._fence is not None and self._fence[0] == env else None

    @property
    def engine(self) -> sa.Engine:
        """The database past the ledger: for looking at it as it is."""
        return self.database.engine

    def __enter__(self) -> Ledger:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.engine.dispose()

    # --- chain --------------------------------------------------------------------------

    def head(self) -> tuple[int, str]:
        """Number and hash of the last entry of the chain. Kept elsewhere, they vouch for all before."""
        with self.database.reading() as connection:
            return head(connection)

    def verify(self, anchor: str | None = None) -> Verification:
        """Recompute everything: see :func:`rollout.ledger.verify.verify`."""
        return verify(self.database, anchor)

    @contextmanager
    def _history(self) -> Iterator[Chain]:
        with self.database.writing() as connection:
            if self._fence is not None:
                self._in_force(connection, *self._fence)
            chain = Chain(connection)
            yield chain
            chain.flush()

    @staticmethod
    def _in_force(connection: sa.Connection, env: str, token: int) -> None:
        # Locked until this is written: nobody takes the lease in between.
        query = sa.select(schema.leases.c.token).where(schema.leases.c.env == env)
        newest = connection.scalar(query.with_for_update(read=True))
        if newest != token:
            raise LeaseLost(
                f"{env}: the lease is lost (another operator has taken it); nothing was written,"
                f" look at: rollout status {env}"
            )

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
        """Record that a rollout begins. Without ``generation`` it gets one of its own, ``g<number>``."""
        table = schema.rollouts
        with self._history() as chain:
            last = chain.connection.scalar(sa.select(sa.func.max(table.c.number)).where(table.c.env == env))
            number = (last or 0) + 1
            key = chain.insert(
                table,
                {
                    "env": env,
                    "number": number,
                    "kind": kind,
                    "build": build,
                    "digest": digest,
                    "generation": generation or f"g{number}",
                    "previous_build": previous.build if previous else None,
                    "previous_generation": previous.generation if previous else None,
                    "state": State.RUNNING.value,
                    "plan": plan,
                    "operator": operator,
                    "started": time.time(),
                    "reason": "",
                    "figures": {},
                },
            )
            return _rollout(_by_id(chain.connection, key))

    def transition(self, rollout: int, state: State, *, reason: str = "") -> RolloutRecord:
        """Change the state of a rollout.

        Raises:
            ValueError: that state may not follow the present one.
        """
        with self._history() as chain:
            row = _by_id(chain.connection, rollout)
            if state not in TRANSITIONS[State(row.state)]:
                raise ValueError(f"rollout {rollout} is {row.state} and cannot become {state}")
            values: dict[str, Any] = {"state": state.value}
            if reason:
                values["reason"] = reason
            if state not in (State.ROLLING_BACK, State.RUNNING):
                values["ended"] = time.time()
            chain.update(schema.rollouts, rollout, values)
            return _rollout(_by_id(chain.connection, rollout))

    def add_figures(self, rollout: int, **figures: Any) -> RolloutRecord:
        """Record measured figures of a rollout; those that exist already are added to when whole numbers."""
        with self._history() as chain:
            row = _by_id(chain.connection, rollout)
            merged = dict(row.figures)
            for name, value in figures.items():
                old = merged.get(name)
                merged[name] = old + value if isinstance(old, int) and isinstance(value, int) else value
            chain.update(schema.rollouts, rollout, {"figures": merged})
            return _rollout(_by_id(chain.connection, rollout))

    def rollout(self, rollout: int) -> RolloutRecord:
        """One rollout by its id."""
        with self.database.reading() as connection:
            return _rollout(_by_id(connection, rollout))

    def rollouts(self, env: str | None = None) -> list[RolloutRecord]:
        """All rollouts, of one environment or all, the newest first."""
        table = schema.rollouts
        query = sa.select(table).order_by(table.c.id.desc())
        if env is not None:
            query = query.where(table.c.env == env)
        with self.database.reading() as connection:
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
        values = {
            "rollout": rollout,
            "index": index,
            "step": step,
            "phase": phase,
            "fence": fence,
            "data": data,
        }
        with self._history() as chain:
            chain.insert(schema.journal, {**values, "at": time.time()})

    def journal(self, rollout: int) -> list[JournalEntry]:
        """The journal of a rollout, in order."""
        table = schema.journal
        query = sa.select(table).where(table.c.rollout == rollout).order_by(table.c.id)
        with self.database.reading() as connection:
            return [
                JournalEntry(
                    row.rollout, row._mapping["index"], row.step, row.phase, row.at, row.fence, row.data
                )
                for row in connection.execute(query)
            ]

    def record_verdicts(
        self, rollout: int, step: str, results: Sequence[GateResult], evidence: Iterable[Evidence]
    ) -> None:
        """Record what the gates said at a step, with the evidence that there was: parts of it, which the
        whole has in it, only where a gate has judged them."""
        env = self.rollout(rollout).env
        now = time.time()
        judged = {id for result in results for id in result.evidence}
        evidence = [item for item in evidence if item.part == "all" or item.id in judged]
        with self._history() as chain:
            for item in evidence:
                values = {**asdict(item), "value": _finite(item.value)}
                chain.insert(schema.evidence, {"rollout": rollout, "env": env, **values})
            for result in results:
                values = {**asdict(result), "verdict": result.verdict.value}
                figures = {name: _finite(values[name]) for name in ("measured", "bound", "low", "high")}
                chain.insert(
                    schema.verdicts, {"rollout": rollout, "step": step, "at": now, **values, **figures}
                )

    def verdicts(self, rollout: int, step: str | None = None) -> list[tuple[str, GateResult]]:
        """What the gates of a rollout said, with the step, in order."""
        table = schema.verdicts
        query = sa.select(table).where(table.c.rollout == rollout).order_by(table.c.key)
        if step is not None:
            query = query.where(table.c.step == step)
        with self.database.reading() as connection:
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
                        row.low,
                        row.high,
                        row.needed,
                        row.severity,
                    ),
                )
                for row in connection.execute(query)
            ]

    def record_checks(self, env: str, rollout: int | None, results: Iterable[Any]) -> None:
        """Record results of checks (:class:`rollout.checks.CheckResult`); alone, without a rollout, too."""
        with self._history() as chain:
            for result in results:
                chain.insert(schema.checks, {"env": env, "rollout": rollout, **asdict(result)})

    def checks(self, rollout: int) -> list[dict[str, Any]]:
        """Results of the checks of a rollout."""
        table = schema.checks
        query = sa.select(table).where(table.c.rollout == rollout).order_by(table.c.key)
        with self.database.reading() as connection:
            return [dict(row._mapping) for row in connection.execute(query)]

    def evidence(self, rollout: int) -> list[Evidence]:
        """The evidence that the gates of a rollout judged, in order."""
        table = schema.evidence
        query = sa.select(table).where(table.c.rollout == rollout).order_by(table.c.key)
        with self.database.reading() as connection:
            return [_evidence(row) for row in connection.execute(query)]

    # --- events -------------------------------------------------------------------------

    def add_event(
        self, env: str, kind: EventKind, *, by: str, rollout: int | None = None, **data: Any
    ) -> Event:
        """Record that something was decided or told."""
        event = Event(env, kind, time.time(), by, data, rollout)
        with self._history() as chain:
            chain.insert(schema.events, asdict(event))
        return event

    def events(self, env: str, *, kind: EventKind | None = None, rollout: int | None = None) -> list[Event]:
        """The events of an environment in order; of one kind or one rollout only."""
        table = schema.events
        query = sa.select(table).where(table.c.env == env).order_by(table.c.key)
        if kind is not None:
            query = query.where(table.c.kind == kind)
        if rollout is not None:
            query = query.where(table.c.rollout == rollout)
        with self.database.reading() as connection:
            return [
                Event(row.env, row.kind, row.at, row.by, row.data, row.rollout)
                for row in connection.execute(query)
            ]


def _by_id(connection: sa.Connection, rollout: int) -> Any:
    return connection.execute(sa.select(schema.rollouts).where(schema.rollouts.c.id == rollout)).one()


def _rollout(row: Any) -> RolloutRecord:
    fields = dict(row._mapping)
    fields["state"] = State(fields["state"])
    return RolloutRecord(**fields)


def _evidence(row: Any) -> Evidence:
    values = {item.name: row._mapping[item.name] for item in fields(Evidence)}
    for name in ("samples", "times"):
        values[name] = tuple(float(value) for value in values[name])  # "NaN", too
    return Evidence(**values)


def _finite(value: float | None) -> float | None:
    return value if value is None or math.isfinite(value) else None
