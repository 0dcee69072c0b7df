"""Who is there: what has been heard of each other host, and what follows from it. No I/O, no clock."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from terminals.cluster.news import News

MISSED: Final = 3
"""Times that a host is asked without an answer before it is silent."""
LOST_SECONDS: Final = 60.0
"""It may be the restart of a switch: after a longer silence a host is taken for lost."""


def good_for(interval: float) -> float:
    """Seconds for which a host that was heard is taken to be there; ``interval``: between two questions."""
    return (MISSED + 1) * interval


class Standing(enum.Enum):
    """How it is with a host."""

    UNTRIED = enum.auto()
    """It has not been asked yet."""
    THERE = enum.auto()
    """Somebody has heard it a moment ago, and it lives, whoever may reach it."""
    SILENT = enum.auto()
    """Nobody hears it, and it may be back in a moment."""
    LOST = enum.auto()
    """Nobody has heard it for long."""


@dataclass(slots=True)
class _Host:
    news: News | None = None
    strays: frozenset[str] = frozenset()
    word_at: float | None = None
    """When there was word of it last, by whichever way ..."""
    heard_at: float | None = None
    """... and from itself."""
    failed_at: float | None = None
    first_failed_at: float | None = None
    failures: int = 0
    """Since it answered last."""


class Table:
    """What one host knows of the others. Times are of one clock, in seconds."""

    def __init__(self, tags: Iterable[str], *, interval: float, lost_after: float = LOST_SECONDS) -> None:
        """``interval``: between two questions to a host."""
        self._hosts = {tag: _Host() for tag in tags}
        self._fresh = good_for(interval)
        self._lost_after = max(lost_after, self._fresh)

    def heard(self, now: float, news: News) -> None:
        """A host has answered."""
        host = self._hosts.get(news.tag)
        if host is None:
            return
        host.news, host.strays = news, frozenset(news.strays)
        host.word_at = host.heard_at = now
        host.failures = 0
        for tag, ago in news.heard.items():
            if (third := self._hosts.get(tag)) is not None and ago >= 0:
                third.word_at = now - ago if third.word_at is None else max(now - ago, third.word_at)

    def unheard(self, now: float, tag: str) -> None:
        """A host was asked and has not answered."""
        if (host := self._hosts.get(tag)) is not None:
            host.failures += 1
            host.failed_at = now
            if host.first_failed_at is None:
                host.first_failed_at = now

    @property
    def complete(self) -> bool:
        """Whether each host has been asked once."""
        return all(host.heard_at is not None or host.failures for host in self._hosts.values())

    def standing(self, now: float, tag: str) -> Standing:
        """How it is with the host of this tag, which must be one of the others'."""
        host = self._hosts[tag]
        if self._recent(host.word_at, now):
            return Standing.THERE
        if not host.failures:
            # Not asked yet; or it is us who have stopped asking, which says nothing of it.
            return Standing.UNTRIED if host.heard_at is None else Standing.THERE
        since = self.silent_since(tag)
        if since is None or now - since < self._lost_after or host.failures < MISSED:
            return Standing.SILENT
        asked = self._recent(host.failed_at, now)
        return Standing.LOST if asked and not self._alone(now) else Standing.SILENT

    def silent_since(self, tag: str) -> float | None:
        """Since when nobody has heard a host; ``None`` where it was not missed yet."""
        host = self._hosts[tag]
        return host.first_failed_at if host.word_at is None else host.word_at

    def news(self, tag: str) -> News | None:
        """What a host has said last."""
        return self._hosts[tag].news

    def ages(self, now: float) -> dict[str, float]:
        """What this host can tell others of each: see :attr:`News.heard`. Hearsay is not passed on: it would
        come back a little younger each time, and keep a dead host alive."""
        known = {tag: host.heard_at for tag, host in self._hosts.items()}
        return {tag: now - at for tag, at in known.items() if at is not None}

    def home_of(self, session: str) -> str | None:
        """The tag of the host that has said that it has this session, whose id does not say so."""
        return next((tag for tag, host in self._hosts.items() if session in host.strays), None)

    def _recent(self, at: float | None, now: float) -> bool:
        return at is not None and now - at <= self._fresh

    def _alone(self, now: float) -> bool:
        """Whether it is rather this host that is cut off: of several others it hears none."""
        return len(self._hosts) > 1 and not any(
            self._recent(host.heard_at, now) for host in self._hosts.values()
        )
