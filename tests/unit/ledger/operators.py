"""Operators: real processes that use one ledger at the same moment."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

from rollout.errors import Locked
from rollout.ledger import Lease, Ledger, State
from tests.unit.ledger.filled import make

# Each of its processes is a fork of one that has imported all of this, and has no thread.
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload([__name__])


def at_once(work: Callable[..., Any], count: int, *arguments: Any) -> list[Any]:
    """What ``work(*arguments, number, start)`` returns in each process, or how it failed; the process calls
    ``start`` when it is ready, which returns when all are."""
    start, results = CONTEXT.Barrier(count), CONTEXT.Queue()
    processes = [
        CONTEXT.Process(target=_run, args=(work, arguments, number, start, results))
        for number in range(count)
    ]
    for process in processes:
        process.start()
    found = [results.get(timeout=120) for _ in processes]
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    return found


def _run(work: Callable[..., Any], arguments: tuple[Any, ...], number: int, start: Any, results: Any) -> None:
    try:
        results.put(work(*arguments, number, lambda: start.wait(60)))
    except Exception as error:
        results.put(repr(error))


def open_it(url: str, _number: int, start: Callable[[], object]) -> Any:
    """Open the ledger, and look at its head."""
    start()
    with Ledger(url) as ledger:
        return ledger.head()


def promote(url: str, number: int, start: Callable[[], object]) -> tuple[str, str]:
    """Take the environment's lease and record a rollout, as every command that changes something does."""
    with Ledger(url) as ledger:
        start()
        try:
            with Lease(ledger, "staging"):
                rollout = make(ledger, "staging", operator=f"operator-{number}")
                start()  # nobody lets go before all have tried
                ledger.transition(rollout.id, State.PROMOTED)
                return "won", f"operator-{number}"
        except Locked as error:
            start()
            return "locked", error.message


def record(url: str, number: int, start: Callable[[], object]) -> str:
    """Write a good deal, to the same rollout and to one's own."""
    with Ledger(url) as ledger:
        start()
        for round_ in range(10):
            ledger.add_figures(1, sessions_moved=1)
            ledger.write(1, round_, "move", "begin", fence=number)
            make(ledger, "dev")
            ledger.add_event("dev", "notification", by=f"operator-{number}")
    return "done"


def hold(url: str, ready: Any) -> None:
    """Hold the lease of dev for ever."""
    with Ledger(url) as ledger, Lease(ledger, "dev"):
        ready.set()
        signal.pause()


def write_until_killed(url: str, ready: Any) -> None:
    """Write as fast as it goes."""
    with Ledger(url) as ledger:
        for step in range(1_000_000):
            ledger.write(1, step, "move", "begin", fence=1)
            ledger.add_figures(1, sessions_moved=1)
            if step == 3:
                ready.set()


def stop_before_the_commit(url: str, ready: Any) -> None:
    """Write the row and its entry, and come no further."""
    with Ledger(url) as ledger:

        @sa.event.listens_for(ledger.engine, "commit")
        def commit(_connection: sa.Connection) -> None:
            ready.set()
            os.kill(os.getpid(), signal.SIGSTOP)

        ledger.write(1, 0, "move", "begin", fence=1)
