"""Having a rollout taken back that somebody else carries out, or that nobody does any more."""

from __future__ import annotations

import time
from contextlib import suppress

from rollout.config import Config
from rollout.errors import Locked, Refused, RollbackFailed
from rollout.ledger import Lease, Ledger, RolloutRecord, State
from rollout.observer import Observer
from rollout.pipeline.begin import attending, engine_of, operator, run
from rollout.pipeline.glass import nothing_broken
from rollout.pipeline.interrupts import POLL
from rollout.pipeline.runner import CAUSES


def cancel(config: Config, env: str, *, observer: Observer) -> RolloutRecord:
    """Have the unfinished rollout of an environment taken back, and wait until it is.

    Whoever carries it out is told by the ledger, on whatever machine that is. Where nobody does, it is done
    here. Returns the record of what was taken back.

    Raises:
        Refused: nothing is unfinished, or it was promoted before the word had come.
        RollbackFailed: it could not be taken back.
    """
    environment = config.environment(env)
    with Ledger(config.ledger_url) as ledger:
        record = ledger.unfinished(env)
        if record is None:
            raise Refused(f"{env} has no unfinished rollout; look at: rollout status")
        ledger.add_event(env, "cancel", by=operator(), rollout=record.id)
        said = ""
        while (record := ledger.rollout(record.id)).state in (State.RUNNING, State.ROLLING_BACK):
            try:
                with Lease(ledger, env) as lease, attending(observer) as interrupts:
                    # Whoever had it may have come to an end meanwhile.
                    record = lease.ledger.rollout(record.id)
                    if record.state not in (State.RUNNING, State.ROLLING_BACK):
                        break
                    engine = engine_of(config, environment, observer)
                    nothing_broken(env, engine)
                    # It was asked for: that it is back is what is wanted, whatever the first cause was.
                    with suppress(*CAUSES.values()):
                        run(config, environment, engine, lease, observer, record, interrupts)
            except Locked as busy:
                if busy.message != said:
                    said = busy.message
                    observer.message(f"told whoever carries it out: {busy.message.split(';')[0]}")
                time.sleep(POLL)
    if record.state is State.ROLLBACK_FAILED:
        raise RollbackFailed(f"{env}: it could not be taken back; go on with: rollout resume {env}")
    if record.state is not State.ROLLED_BACK:
        way = f"; take it back with: rollout rollback {env}" if record.kind in ("deploy", "promote") else ""
        raise Refused(f"{env}: rollout #{record.number} was {record.state} before it could be stopped{way}")
    return record
