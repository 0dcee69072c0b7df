"""Copies of this host's screens for another one: what can still be shown when this host is lost.

A screen that has changed is copied again, each at most once in so many seconds, and so few at a time that
neither the keeper of screens nor the shells notice.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
import os
import time
from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING, Final, Protocol

from terminals.background import Background, Troubles
from terminals.cluster.lastscreens import ScreenCopy
from terminals.manager.screens import Screens, Snapshot
from terminals.protocol.messages import MAX_LAST_SCREEN

if TYPE_CHECKING:
    from terminals.manager.session import Session

log = logging.getLogger("terminals.manager")

A_SECOND: Final = 20
"""Most screens that are copied in one: to paint one takes the keeper one or two milliseconds at rest."""
AT_ONCE: Final = 4
"""Screens that are on their way: hosts may be far from each other."""
ALIVE_SECONDS: Final = 30.0
"""So often the other host hears which sessions live, and says of which it has no screen ..."""
ENDED_SECONDS: Final = 5.0
"""... and so soon after one has ended: nothing of it is to be there for longer."""
AGAIN_SECONDS: Final = 5.0
"""A screen that was not taken is tried again after so long ..."""
TOO_MUCH_SECONDS: Final = 60.0
"""... and one that could not be painted, which may be too much for one: that was work, too."""
WHAT: Final = "copies of screens for another host"


class Copier(Protocol):
    """The way to the host that keeps them; see :class:`terminals.manager.cluster.Cluster`."""

    def screens_at(self) -> str | None:
        """Its tag; "" or ``None``: none keeps them now."""

    async def copy(self, to: str, screen: ScreenCopy, snapshot: Snapshot) -> str:
        """Have a screen kept there; why it is not, "" where it is."""

    def alive(self, to: str, sessions: Iterable[str]) -> None:
        """Say which sessions live."""


class LastScreens:
    """Which screens are to be copied, and when."""

    def __init__(
        self, screens: Screens, sessions: Callable[[], list[Session]], copier: Copier, interval: float
    ) -> None:
        """``sessions()``: those that live; ``interval``: seconds between two copies of one, at the least."""
        self._screens = screens
        self._sessions = sessions
        self._copier = copier
        self._interval = interval
        self._at = ""
        """The tag of the host that has what follows."""
        self._copied: dict[str, tuple[object, float]] = {}
        """By id: what state of it was copied, and not before when it may be again (loop time)."""
        self._copying = False
        self._said = float("-inf")
        self._background = Background(log)
        self._troubles = Troubles(log)

    def look(self) -> None:
        """See what is to be copied; called each second."""
        if not self._interval:
            return
        now = asyncio.get_running_loop().time()
        to = self._copier.screens_at() or ""
        if to != self._at:
            self._at, self._said = to, float("-inf")
            self._copied.clear()
        if not to:
            return
        live = self._sessions()
        self._say_alive(now, [session.id for session in live])
        if self._copying:
            return
        due = [session for session in live if self._due(session, now)]
        if due:
            self._copying = True
            longest = heapq.nsmallest(A_SECOND, due, key=lambda session: self._known(session)[1])
            self._background.start(self._copy_all(to, longest), WHAT)

    def missing(self, sessions: Collection[str]) -> None:
        """The other host has no screens of these, whatever it was sent."""
        for session in sessions:
            self._copied.pop(session, None)

    def _say_alive(self, now: float, live: list[str]) -> None:
        ended = self._copied.keys() - set(live)
        if now < self._said + (ENDED_SECONDS if ended else ALIVE_SECONDS):
            return
        self._said = now
        self._copier.alive(self._at, live)
        for session in ended:
            del self._copied[session]

    def _due(self, session: Session, now: float) -> bool:
        state, not_before = self._known(session)
        return now >= not_before and state != _state(session)

    def _known(self, session: Session) -> tuple[object, float]:
        return self._copied.get(session.id, (None, 0.0))

    async def _copy_all(self, to: str, due: list[Session]) -> None:
        waiting = iter(due)
        troubles: list[str] = []

        async def some() -> None:
            for session in waiting:
                if to != self._at:
                    return
                troubles.append(await self._copy(to, session))

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(AT_ONCE):
                    group.create_task(some())
        finally:
            self._copying = False
        if trouble := next(filter(None, troubles), ""):
            self._troubles.say(WHAT, trouble)
        elif troubles:
            self._troubles.over(WHAT)

    async def _copy(self, to: str, session: Session) -> str:
        """Copy one; why it was not, where there is anything to be done about it."""
        if not session.live:
            return ""
        state = _state(session)
        snapshot = await self._screens.snapshot(session, MAX_LAST_SCREEN)
        wait, trouble = max(self._interval, TOO_MUCH_SECONDS), ""
        if snapshot is not None:
            cols, rows = session.size
            screen = ScreenCopy(
                id=session.id,
                user=session.user,
                profile=session.profile,
                epoch=session.epoch,
                output=snapshot.offset,
                at=time.time(),
                cols=cols,
                rows=rows,
            )
            try:
                trouble = await self._copier.copy(to, screen, snapshot)
            finally:
                os.close(snapshot.fd)
            wait = max(self._interval, AGAIN_SECONDS) if trouble else self._interval
        if to == self._at:
            before, _ = self._known(session)
            taken = snapshot is not None and not trouble
            self._copied[session.id] = (state if taken else before, asyncio.get_running_loop().time() + wait)
        return trouble


def _state(session: Session) -> object:
    return session.epoch, session.ring.head, session.size
