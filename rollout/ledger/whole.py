"""What is done whole or not at all, also when somebody wants this process to end.

A handler of signals may raise between any two instructions: between the beginning of a transaction, say, and
the ``with`` block that would take it back. Its traceback then keeps the transaction alive, and the database
locked.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType


class Whole(threading.local):
    """Blocks of one thread that no handler raises in; they may be within each other. What a handler would
    raise is raised at the end of the outermost."""

    def __init__(self) -> None:
        self._depth = 0
        self._late: Callable[[], None] | None = None

    def __enter__(self) -> None:
        self._depth += 1

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._depth -= 1
        if self._depth == 0 and self._late is not None:
            late, self._late = self._late, None
            late()

    def put_off(self, act: Callable[[], None]) -> bool:
        """Of a handler: have ``act`` called at the end of the block that this thread is in; whether it is."""
        if self._depth:
            self._late = act
        return self._depth > 0


whole = Whole()
"""Of each thread."""
