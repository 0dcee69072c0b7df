"""Addresses that start sessions and lose them at once: a session's own breaker cannot see a client that
loops by starting a new one each time."""

from __future__ import annotations

import collections
import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Final

import msgspec

from terminals.control.framing import BadPacket, reader
from terminals.protocol.breaker import CircuitBreaker, Standing

REMEMBERED: Final = 4096
_read_standing = reader(Standing)


class Newcomers:
    """A breaker for each such address. Times are monotonic seconds.

    ``new_breaker()`` makes one; ``keep(fields)`` keeps them for the next manager, which is given them as
    ``kept``.
    """

    def __init__(
        self,
        new_breaker: Callable[[], CircuitBreaker],
        keep: Callable[[dict[str, object]], None],
        kept: Mapping[str, msgspec.Raw],
    ) -> None:
        self._new_breaker = new_breaker
        self._keep = keep
        self._breakers: collections.OrderedDict[str, CircuitBreaker] = collections.OrderedDict()
        for address, standing in kept.items():
            with contextlib.suppress(BadPacket):  # one that another build has written: it begins anew
                breaker = new_breaker()
                breaker.restore(_read_standing(bytes(standing)))
                self._breakers[address] = breaker

    def __iter__(self) -> Iterator[CircuitBreaker]:
        return iter(self._breakers.values())

    def __contains__(self, address: str) -> bool:
        return address in self._breakers

    def lost(self, address: str, now: float) -> bool:
        """A new session of this address was lost right after its attach. Returns whether that opened its
        breaker."""
        breaker = self._breakers.setdefault(address, self._new_breaker())
        opened = breaker.failure(now)
        self._breakers.move_to_end(address)
        self._keep({address: breaker.standing})
        while len(self._breakers) > REMEMBERED:
            self.forgive(next(iter(self._breakers)))
        return opened

    def forgive(self, address: str) -> None:
        """One of this address has stayed."""
        if self._breakers.pop(address, None) is not None:
            self._keep({address: None})

    def barred(self, address: str, now: float) -> CircuitBreaker | None:
        """The breaker that keeps this address from a new session; ``None``: it may have one."""
        breaker = self._breakers.get(address)
        return None if breaker is None or breaker.allow(now) else breaker
