"""Sessions that nobody has asked for yet: their shells have read their start-up files and wait."""

from __future__ import annotations

import asyncio
import collections
import logging
from collections.abc import Callable, Iterator, Mapping

from terminals.manager.session import Session

log = logging.getLogger("terminals.manager")

REFILL_SECONDS = 0.25
"""Whoever has just got one is typing now: the next one's start-up files can wait for that."""
MAX_AGE = 300.0
"""Seconds after which a shell is started anew: its start-up files, and its clock, may be others by now."""


class ReadySessions:
    """Keeps so many sessions of each profile as ``wanted`` says; ``make(profile)`` starts one."""

    def __init__(self, wanted: Mapping[str, int], make: Callable[[str], Session]) -> None:
        self._wanted = {profile: count for profile, count in wanted.items() if count}
        self._make = make
        self._stock: dict[str, collections.deque[Session]] = {
            profile: collections.deque() for profile in self._wanted
        }
        self._leaving: list[Session] = []
        """Those that were let go of, until their shells have ended."""

    def __iter__(self) -> Iterator[Session]:
        """All of them, those too that nobody is given any more."""
        return (session for stock in (*self._stock.values(), self._leaving) for session in stock)

    def __len__(self) -> int:
        """How many wait to be taken."""
        return sum(len(stock) for stock in self._stock.values())

    def add(self, session: Session) -> None:
        """One of an earlier manager."""
        self._stock.setdefault(session.profile, collections.deque()).append(session)

    def fill(self) -> None:
        """Start what is missing. The loop must be running."""
        for profile, count in self._wanted.items():
            try:
                while len(self._stock[profile]) < count:
                    self._stock[profile].append(self._make(profile))
            except Exception as error:  # no room, no processes: whoever really needs one will say so
                log.info("no shell of %s is kept ready: %s", profile, error)

    def take(self, profile: str) -> Session | None:
        """A session that is ready, the oldest; ``None`` where there is none."""
        stock = self._stock.get(profile)
        if stock is None:
            return None
        asyncio.get_running_loop().call_later(REFILL_SECONDS, self.fill)
        return stock.popleft() if stock else None

    def ended(self, session: Session) -> bool:
        """A shell has ended; whether it was one of these."""
        for stock in (*self._stock.values(), self._leaving):
            for place, entry in enumerate(stock):
                if entry is session:
                    del stock[place]
                    return True
        return False

    def renew(self, now: float) -> None:
        """Let go of shells that have become too old, and start what is missing. ``now``: loop time."""
        for profile, stock in self._stock.items():
            while stock and (now - stock[0].born > MAX_AGE or len(stock) > self._wanted.get(profile, 0)):
                self._leaving.append(stock.popleft())
                self._leaving[-1].kill()
        self.fill()
