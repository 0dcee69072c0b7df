"""The session manager's side of the screens: who is followed, how far, and asking for snapshots."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import subprocess
from typing import TYPE_CHECKING, Final, NamedTuple

from terminals.control.channel import Channel
from terminals.manager.child import start_child
from terminals.protocol.messages import MAX_SNAPSHOT
from terminals.screens import packets as kept

if TYPE_CHECKING:
    from terminals.manager.session import Session

log = logging.getLogger("terminals.manager")

ANSWER_SECONDS: Final = 5.0
"""A snapshot that takes longer is done without."""
STUCK_SECONDS: Final = 20.0
"""A keeper that has not answered for so long is replaced."""
RESTART_SECONDS: Final = 1.0
MAX_RESTART_SECONDS: Final = 60.0
LAZY_SECONDS: Final = 2.0
"""While a client is attached its output is followed this often at the most, not byte by byte."""


class Snapshot(NamedTuple):
    """A screen: escape sequences in the memory file ``fd``, ``length`` bytes, true at ``offset``."""

    offset: int
    length: int
    fd: int


class Screens:
    """Starts the keeper when it is first needed, and again when it has died.

    A session is of no interest before half its ring is full: until then every client that comes
    back finds all it needs there.
    """

    def __init__(self) -> None:
        self._channel: Channel[kept.FromKeeper] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._followed: dict[str, Session] = {}
        self._advancing: dict[str, float] = {}
        """Sessions whose ``advance`` is not answered yet, and since when (loop time)."""
        self._requests: dict[int, asyncio.Future[Snapshot]] = {}
        self._numbers = itertools.count(1)
        self._not_before = 0.0
        self._wait = RESTART_SECONDS
        self._closed = False

    @property
    def pid(self) -> int | None:
        """Of the keeper, while there is one."""
        return self._process.pid if self._process else None

    @property
    def followed(self) -> int:
        """Sessions whose screen is kept."""
        return len(self._followed)

    def advance(self, session: Session) -> None:
        """Have the keeper take what the session has printed."""
        now = asyncio.get_running_loop().time()
        if session.attachment is not None and now < session.followed_at + LAZY_SECONDS:
            return  # its client has it all: look now and then, off the hot path
        if session.id in self._advancing:
            return
        if not self._follow(session):
            session.keep(None)
            return
        session.followed_at = now
        self._advancing[session.id] = now
        self._send(kept.Advance(key=session.id))

    def resized(self, session: Session) -> None:
        """The session's terminal has another size from its present output offset on."""
        if session.id in self._followed:
            cols, rows = session.size
            self._send(kept.Resize(key=session.id, at=session.ring.head, cols=cols, rows=rows))

    def forget(self, session: Session) -> None:
        """The session is gone."""
        if self._followed.pop(session.id, None) is not None:
            self._advancing.pop(session.id, None)
            self._send(kept.Forget(key=session.id))

    async def snapshot(self, session: Session, most: int = MAX_SNAPSHOT) -> Snapshot | None:
        """The session's screen as of now, in at most so many bytes; ``None`` where none can be had. The
        caller owns the descriptor."""
        if not self._follow(session):
            return None
        number = next(self._numbers)
        future: asyncio.Future[Snapshot] = asyncio.get_running_loop().create_future()
        self._requests[number] = future
        self._send(kept.Snapshot(key=session.id, request=number, most=most))
        try:
            return await asyncio.wait_for(future, ANSWER_SECONDS)
        except (TimeoutError, ConnectionError):
            return None
        finally:
            self._requests.pop(number, None)

    def check(self, now: float) -> None:
        """Replace a keeper that does not answer. ``now``: loop time; called each second."""
        if any(now - since > STUCK_SECONDS for since in self._advancing.values()):
            log.warning("the keeper of screens does not answer: it is replaced")
            self._lose()

    def close(self) -> None:
        """Let the keeper end."""
        self._closed = True
        self._lose()

    # --- the keeper ---------------------------------------------------------------------

    def _follow(self, session: Session) -> bool:
        """Make sure that a session is followed; whether it is."""
        if session.id in self._followed:
            return True
        if self._channel is None and not self._start():
            return False
        try:
            fd = session.ring.share()
        except OSError:
            return False
        cols, rows = session.size
        start = max(session.kept or 0, session.ring.tail)
        try:
            self._send(kept.Follow(key=session.id, cols=cols, rows=rows, start=start), (fd,))
        except OSError:
            return False
        finally:
            os.close(fd)
        if self._channel is None:
            return False  # it had died, as sending has shown
        self._followed[session.id] = session
        return True

    def _start(self) -> bool:
        now = asyncio.get_running_loop().time()
        if self._closed or now < self._not_before:
            return False
        try:
            self._process, ours = start_child("terminals.screens.keeper")
        except OSError as error:
            log.warning("no keeper of screens could be started: %s", error)
            self._retry_later(now)
            return False
        self._channel = Channel(ours, kept.read_by_manager, self._received, self._lose)
        return True

    def _send(self, packet: kept.ToKeeper, fds: tuple[int, ...] = ()) -> None:
        if self._channel is not None:
            self._channel.send(packet, fds)

    def _received(self, packet: kept.FromKeeper, fds: list[int]) -> None:
        match packet:
            case kept.Kept(key=key, offset=offset):
                self._wait = RESTART_SECONDS
                self._advancing.pop(key, None)
                self._keep(key, offset)
            case kept.Painted(key=key, offset=offset) if fds:
                self._keep(key, offset)
                future = self._requests.pop(packet.request, None)
                if future is not None and not future.done():
                    future.set_result(Snapshot(offset, packet.length, fds.pop()))
            case kept.Painted(request=request) | kept.Unpaintable(request=request):
                self._no_snapshot(request)  # out of descriptors, there or here, or too much
            case kept.Lost(key=key, request=request):
                self._advancing.pop(key, None)
                self._no_snapshot(request)
                if session := self._followed.pop(key, None):
                    session.keep(None)
        for fd in fds:
            os.close(fd)

    def _no_snapshot(self, request: int | None) -> None:
        future = None if request is None else self._requests.pop(request, None)
        if future is not None and not future.done():
            future.set_exception(ConnectionError("there is no picture of the screen"))

    def _keep(self, key: str, offset: int) -> None:
        if session := self._followed.get(key):
            session.keep(offset)

    def _lose(self) -> None:
        """The keeper is gone, or given up: shells run free until there is another one."""
        channel, self._channel = self._channel, None
        if channel is None:
            return
        channel.close()
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self._process = None
        for future in self._requests.values():
            if not future.done():
                future.set_exception(ConnectionError("the keeper of screens has ended"))
        self._requests.clear()
        self._advancing.clear()
        followed, self._followed = self._followed, {}
        if self._closed:
            return
        log.warning("the keeper of screens has ended; it is started again when it is needed")
        self._retry_later(asyncio.get_running_loop().time())
        for session in followed.values():
            session.keep(None)

    def _retry_later(self, now: float) -> None:
        self._not_before = now + self._wait
        self._wait = min(2 * self._wait, MAX_RESTART_SECONDS)
