"""Users whose tickets were revoked. On disk: tickets outlive processes, and starts of the machine."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from terminals.control.framing import reader
from terminals.manager.tables import Table
from terminals.tickets import check_user

REMEMBERED: Final = 10_000
"""Users; of those beyond, who were revoked first of all, older tickets that are renewed all the time would be
good again."""
_read_kept: Callable[[bytes], dict[str, int]] = reader(dict[str, int])


class Revocations(Table[int]):
    """When the tickets of which user were revoked, in Unix ms; the latest last."""

    def __init__(self, path: Path) -> None:
        """Read what was revoked before.

        Raises:
            ConfigError: the file makes no sense, and whoever was revoked would come in.
        """
        super().__init__(path, _read_kept, "put it right, or remove it to have all tickets accepted again")

    def revoke(self, user: str) -> int:
        """From now on no ticket of this user that was issued before is good; returns the time.

        Raises:
            ValueError: nobody can have a ticket by that name.
            OSError: that cannot be kept, and so is not done.
        """
        check_user(user)
        table = {name: before for name, before in self.table.items() if name != user}
        table[user] = before = max(self.table.get(user, 0), int(time.time() * 1000) + 1)
        while len(table) > REMEMBERED:
            del table[next(iter(table))]
        self.replace(table)
        return before
