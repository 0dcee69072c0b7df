"""Links to single sessions that people have given away. On disk, as what they were revoked by is."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from terminals.control.answers import LinkInfo
from terminals.control.framing import reader
from terminals.manager import kept
from terminals.tickets import MAX_SECONDS

MOST: Final = 1000
"""Links that are good at the same time."""
_read_kept: Callable[[bytes], dict[str, LinkInfo]] = reader(dict[str, LinkInfo])


class Links:
    """The links that are good, by their id, the oldest first."""

    def __init__(self, path: Path) -> None:
        """Read those of before, as :meth:`read` does."""
        self._path = path
        self._table: dict[str, LinkInfo] = {}
        self.read()

    def read(self) -> None:
        """Read those of before.

        Raises:
            ConfigError: the file makes no sense.
        """
        remedy = "put it right, or remove it: its links cannot be listed then, and end by themselves"
        self._table = kept.read(self._path, _read_kept, remedy)

    def good(self, alive: Callable[[str], bool]) -> list[LinkInfo]:
        """Those that still open something; ``alive(id)``: whether a session runs."""
        now = time.time()
        return [link for link in self._table.values() if link.until > now and alive(link.session)]

    def add(
        self, session: str, *, by: str, read_only: bool, seconds: int, alive: Callable[[str], bool]
    ) -> LinkInfo:
        """Note a link that is to be good for ``seconds``; those that are good no more are forgotten.

        Raises:
            ValueError: for too long, or there are too many.
            OSError: it cannot be kept, and so there is none.
        """
        if not 0 < seconds <= MAX_SECONDS:
            raise ValueError(f"a link is good for 1 to {MAX_SECONDS} seconds")
        table = {link.id: link for link in self.good(alive)}
        if len(table) >= MOST:
            raise ValueError(f"{MOST} links are good already: revoke some")
        now = int(time.time())
        name, until = secrets.token_hex(8), now + seconds
        link = LinkInfo(id=name, session=session, by=by, read_only=read_only, created=now, until=until)
        table[link.id] = link
        self._write(table)
        return link

    def remove(self, name: str) -> None:
        """Forget one, whose tickets were revoked.

        Raises:
            OSError: that cannot be kept.
        """
        self._write({other: link for other, link in self._table.items() if other != name})

    def get(self, name: str) -> LinkInfo:
        """A link.

        Raises:
            ValueError: there is none of that id.
        """
        try:
            return self._table[name]
        except KeyError:
            raise ValueError(f"no link {name!r}") from None

    def _write(self, table: dict[str, LinkInfo]) -> None:
        kept.write(self._path, table)
        self._table = table
