"""The lease of an environment: who may change it, until when, and with which fencing token.

A lease outlives nobody. It expires unless its holder renews it, and it is taken over at once
when the holder was a process of this machine that is gone. The token grows with every lease;
session managers refuse commands with an older one, so an operator who was cut off for a
while and comes back cannot act on a newer rollout.
"""

from __future__ import annotations

import getpass
import os
import socket
import threading
import time
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Any

import sqlalchemy as sa

from rollout.errors import LeaseLost, LeaseNotRenewed, Locked, RolloutError
from rollout.ledger.schema import leases
from rollout.ledger.store import Ledger

TTL = 30.0


class Lease:
    """Holds an environment while in the ``with`` block. ``token`` is the fencing token; ``ledger`` is the one
    to write to meanwhile: it takes nothing any more from whoever has lost the lease."""

    def __init__(self, ledger: Ledger, env: str, *, ttl: float = TTL, least: int = 0) -> None:
        """``least``: what the token is at the least. Hosts may have heard of a higher one than a ledger that
        was put back from a copy knows."""
        self._ledger = ledger
        self._least = least
        self._env = env
        self._ttl = ttl
        self._done = threading.Event()
        self._taken = False
        self._trouble = ""
        self._until = 0.0
        self._renewer: threading.Thread | None = None
        self.token = 0
        self.ledger = ledger

    def __enter__(self) -> Lease:
        """Take the lease.

        Raises:
            Locked: somebody else has it; says who, since when, and until when at most.
        """
        with self._ledger.database.writing(alone=False) as connection:
            # The row is there before it is locked: two who come first at the same moment meet at it.
            insert = _insert(self._ledger.database.sqlite)
            free = {"owner": None, "token": 0, "since": 0.0, "expires": 0.0}
            connection.execute(insert(leases).values(env=self._env, **free).on_conflict_do_nothing())
            row = connection.execute(sa.select(leases).where(self._row()).with_for_update()).one()
            now = _now(connection)
            if holds := _holds(row, now):
                raise Locked(holds)
            self.token = max(row.token + 1, self._least)
            values = {"owner": me(), "token": self.token, "since": now, "expires": now + self._ttl}
            connection.execute(leases.update().where(self._row()).values(**values))
        self.ledger = self._ledger.fenced(self._env, self.token)
        self._until = time.monotonic() + self._ttl
        self._renewer = threading.Thread(target=self._renew, name=f"lease-{self._env}", daemon=True)
        self._renewer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        if self._renewer is not None:
            self._renewer.join(self._ttl)
        # A database that is away takes nothing from what was done: the lease ends by itself.
        with suppress(RolloutError), self._ledger.database.writing(alone=False) as connection:
            connection.execute(self._mine().values(owner=None, expires=0.0))

    def check(self) -> None:
        """Called before every step.

        Raises:
            LeaseNotRenewed: the ledger cannot be written: somebody else may be at work by now, or nobody.
            LeaseLost: somebody else is.
        """
        if not self._taken and time.monotonic() >= self._until:
            # This process, or the machine, stood still; or the renewer hangs in a dead connection.
            self._renewed()
        if self._taken:
            raise LeaseLost(self._lost("another operator has taken it"))
        if time.monotonic() >= self._until:
            why = self._trouble or "it does not answer in time"
            raise LeaseNotRenewed(self._lost(f"it could not be renewed: {why}"), why)

    def _lost(self, why: str) -> str:
        return (
            f"{self._env}: the lease is lost ({why}); stopped before the next step,"
            f" go on with: rollout resume {self._env}"
        )

    def _row(self) -> sa.ColumnElement[bool]:
        return leases.c.env == self._env

    def _mine(self) -> sa.Update:
        return leases.update().where(self._row(), leases.c.token == self.token)

    def _renew(self) -> None:
        while not self._done.wait(self._ttl / 3) and not self._taken:
            self._renewed()

    def _renewed(self) -> None:
        """Late is as good as in time, if nobody has taken it meanwhile."""
        asked = time.monotonic()
        try:
            with self._ledger.database.writing(alone=False) as connection:
                done = connection.execute(self._mine().values(expires=_now(connection) + self._ttl))
        except RolloutError as error:
            self._trouble = error.message
        else:
            if done.rowcount != 1:
                self._taken = True
            else:
                self._until, self._trouble = asked + self._ttl, ""


def token_of(ledger: Ledger, env: str) -> int:
    """The fencing token of whoever holds the lease by this ledger; of any other, the one that comes next."""
    if (token := ledger.token(env)) is not None:
        return token
    row, _ = _held(ledger, env)
    return 1 if row is None else int(row.token) + 1


def held_by(ledger: Ledger, env: str) -> str:
    """Who has the lease of an environment now, ``user@machine``; "" where nobody has."""
    row, until = _held(ledger, env)
    return f"{row.owner.get('user')}@{row.owner.get('host')}" if row is not None and until else ""


def held(ledger: Ledger, env: str) -> str:
    """Who holds an environment now, since when, and until when at most; "" where nobody does."""
    return _held(ledger, env)[1]


def _held(ledger: Ledger, env: str) -> tuple[sa.Row[Any] | None, str]:
    with ledger.database.reading() as connection:
        row = connection.execute(sa.select(leases).where(leases.c.env == env)).one_or_none()
        return row, _holds(row, _now(connection)) if row is not None else ""


def me() -> dict[str, Any]:
    """This process, so that others can tell whether it still lives."""
    return {
        "user": getpass.getuser(),
        "host": socket.gethostname(),
        "boot": Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
        "pid": os.getpid(),
        "pid_namespace": _namespace(),
        "start": _start_time(os.getpid()),
    }


def _holds(row: sa.Row[Any], now: float) -> str:
    if not row.owner or row.expires <= now or _gone(row.owner):
        return ""
    return (
        f"{row.env} is held by {describe(row.owner)} since {_clock(row.since)};"
        f" its lease ends at {_clock(row.expires)} unless it is renewed"
    )


def describe(owner: dict[str, Any]) -> str:
    """A holder for a person to read."""
    return f"{owner.get('user')}@{owner.get('host')} (process {owner.get('pid')})"


def _insert(sqlite: bool) -> Any:
    """The INSERT that may meet a row that is there: each database has its own, slow to import."""
    return import_module(f"sqlalchemy.dialects.{'sqlite' if sqlite else 'postgresql'}").insert


def _now(connection: sa.Connection) -> float:
    """The time of the database: operators on several machines need not agree on theirs."""
    if connection.dialect.name == "sqlite":
        return time.time()
    return float(connection.exec_driver_sql("SELECT extract(epoch FROM clock_timestamp())").scalar_one())


def _gone(owner: dict[str, Any]) -> bool:
    """Whether the holder was a process of this boot of this machine that has ended."""
    mine = me()
    # Of a process in another container nothing is seen here, though the machine is the same.
    if any(owner.get(name) != mine[name] for name in ("host", "boot", "pid_namespace")):
        return False
    return _start_time(int(owner["pid"])) != owner.get("start")


def _namespace() -> str:
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def _start_time(pid: int) -> str:
    """When a process started, in clock ticks since boot; "" when there is none. Pids are used again."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] == "Z" else fields[19]


def _clock(at: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(at))
