"""Moving live sessions to another generation, in paced batches.

A session belongs to one generation at a time, so that a canary of 10 % touches a tenth of
the people and not everybody a tenth of the time. Moving one means: it belongs to the new
generation from now on, and its connection is closed with *service restart*; its client
comes back within a jittered moment and is served by the new generation. Sessions that
a client has on one connection move together: it is served by one generation, and would
take the one that was moved back to where the others belong.
"""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass

from terminals.control import packets
from terminals.control.answers import Moved
from terminals.manager.peers import Peer
from terminals.manager.registry import Registry
from terminals.manager.session import Session

POLL = 0.02


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast to move: ``batch`` sessions every ``interval`` seconds, all within ``deadline``."""

    batch: int
    interval: float
    deadline: float


@dataclass(slots=True)
class _Tally:
    """See :class:`terminals.control.answers.Moved`."""

    moved: int = 0
    drained: int = 0
    severed: int = 0
    remaining: int = 0
    cleared: float = 0.0

    def after(self, seconds: float) -> Moved:
        """The answer."""
        return Moved(
            moved=self.moved,
            drained=self.drained,
            severed=self.severed,
            remaining=self.remaining,
            seconds=round(seconds, 3),
            cleared=round(self.cleared or seconds, 3),
        )


async def move(registry: Registry, target: str, share: int, pace: Pace, *, retry_after: float) -> Moved:
    """Move live sessions until ``share`` percent of them belong to ``target``.

    ``retry_after`` is the window in seconds over which the clients of one batch spread
    their return. Stops at ``pace.deadline`` seconds whatever is left.
    """
    started = time.monotonic()
    end = started + pace.deadline
    tally = _Tally()
    waiting: list[Session] = []
    queue = _to_move(registry, target, share)
    while queue and time.monotonic() < end:
        batch, queue = queue[: pace.batch], queue[pace.batch :]
        together = _together(registry)
        for session in batch:
            for other in together.get(_connection(session), ()):
                _assign(registry, other, target)
            if not session.live:
                tally.drained += 1
            elif _release(registry, session, target, retry_after):
                waiting.append(session)
            else:
                tally.moved += 1
        if queue:
            await asyncio.sleep(min(pace.interval, max(0.0, end - time.monotonic())))
    tally.remaining = len(queue)
    while waiting:
        still = []
        for session in waiting:
            if not session.live:
                tally.drained += 1
            elif session.served_by == target:
                # It came back, even if it did not stay: that is for the gates to judge.
                tally.moved += 1
            else:
                still.append(session)
        waiting = still
        if all(session.attachment is None for session in waiting) and not tally.cleared:
            tally.cleared = time.monotonic() - started
        if waiting and time.monotonic() >= end:
            tally.severed += len(waiting)
            for session in waiting:
                if session.attachment is not None:
                    session.attachment.peer.send(packets.Sever(handle=session.attachment.handle))
            break
        if waiting:
            await asyncio.sleep(POLL)
    return tally.after(time.monotonic() - started)


def _to_move(registry: Registry, target: str, share: int) -> list[Session]:
    live = registry.live
    wanted = round(len(live) * share / 100)
    there = sum(1 for session in live if session.generation == target)
    others = [session for session in live if session.generation != target]
    random.shuffle(others)
    return others[: max(0, wanted - there)]


def _release(registry: Registry, session: Session, target: str, retry_after: float) -> bool:
    """Assign the session to ``target``; returns whether a client has to come back for it."""
    _assign(registry, session, target)
    leaving = [entry for entry in session.attachments if entry.peer.generation != target]
    for entry in leaving:
        entry.planned_end = True
        entry.peer.send(packets.Moving(handle=entry.handle, retry_after=retry_after))
    # Watchers come along, but a release does not wait for them.
    if session.attachment not in leaving:
        return False
    session.served_by = ""
    return True


def _assign(registry: Registry, session: Session, target: str) -> None:
    session.generation = target
    # What an old build did to this session must not keep it from the new one.
    session.breaker.success()
    registry.remember(session)


def _connection(session: Session) -> tuple[Peer, str] | None:
    """What those have in common who type in several sessions over one connection."""
    typing = session.attachment
    return (typing.peer, typing.client) if typing is not None else None


def _together(registry: Registry) -> dict[tuple[Peer, str] | None, list[Session]]:
    """The sessions of each connection that has several."""
    found: dict[tuple[Peer, str] | None, list[Session]] = {}
    for session in registry.live:
        if (connection := _connection(session)) is not None:
            found.setdefault(connection, []).append(session)
    return {connection: sessions for connection, sessions in found.items() if len(sessions) > 1}
