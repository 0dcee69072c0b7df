"""Links to single sessions that people have given away, and which of them were revoked. On disk."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Final

import msgspec

from terminals.control.answers import LinkInfo
from terminals.control.framing import reader
from terminals.manager.tables import Table
from terminals.tickets import MAX_SECONDS, guest

MOST: Final = 1000
"""Links at the same time ..."""
MOST_EACH: Final = 100
"""... and of one user."""
_read_kept: Callable[[bytes], dict[str, LinkInfo]] = reader(dict[str, LinkInfo])


class Links(Table[LinkInfo]):
    """The links whose time is not over, the oldest first."""

    def __init__(self, path: Path) -> None:
        """Read those of before.

        Raises:
            ConfigError: the file makes no sense, and who has been put out would come in.
        """
        remedy = "put it right, or remove it: no link can be listed then, and what was revoked is good again"
        super().__init__(path, _read_kept, remedy)

    def good(self, alive: Callable[[str], bool]) -> list[LinkInfo]:
        """Those that open something; ``alive(id)``: whether a session runs."""
        return [link for link in self._lasting() if not link.revoked and alive(link.session)]

    def by(self, user: str) -> list[str]:
        """The ids of those that a user has given away."""
        return [link.id for link in self._lasting() if not link.revoked and link.by == user]

    def add(self, session: str, *, by: str, read_only: bool, seconds: int) -> LinkInfo:
        """Note a link that is to be good for ``seconds``; those whose time is over are forgotten.

        Raises:
            ValueError: for too long, or there are too many.
            OSError: it cannot be kept, and so there is none.
        """
        if not 0 < seconds <= MAX_SECONDS:
            raise ValueError(f"a link is good for 1 to {MAX_SECONDS} seconds")
        lasting = self._lasting()
        if len(lasting) >= MOST or sum(link.by == by for link in lasting) >= MOST_EACH:
            text = f"{MOST_EACH} links of one user, and {MOST} in all, are good already or were revoked"
            raise ValueError(f"{text}; some end by themselves")
        now = int(time.time())
        name, until = secrets.token_hex(8), now + seconds
        link = LinkInfo(id=name, session=session, by=by, read_only=read_only, created=now, until=until)
        self._keep([*lasting, link])
        return link

    def revoke(self, names: Collection[str]) -> dict[str, int]:
        """Have links be good for nothing any more; whose tickets that are, and since when, in Unix ms.

        Raises:
            ValueError: there is none of that id.
            OSError: that cannot be kept, and so is not done.
        """
        lasting = self._lasting()
        for name in names:
            if all(link.id != name or link.revoked for link in lasting):
                raise ValueError(f"no link {name!r}")
        now = int(time.time() * 1000) + 1
        revoked = [
            msgspec.structs.replace(link, revoked=now) if link.id in names else link for link in lasting
        ]
        if names:
            self._keep(revoked)
        return {guest(name): now for name in names}

    def revocations(self) -> dict[str, int]:
        """Whose tickets are good for nothing, and since when: until the links' own end."""
        return {guest(link.id): link.revoked for link in self._lasting() if link.revoked}

    def _lasting(self) -> list[LinkInfo]:
        """Those whose time is not over."""
        now = time.time()
        return [link for link in self.table.values() if link.until > now]

    def _keep(self, links: Collection[LinkInfo]) -> None:
        self.replace({link.id: link for link in links})
