"""The session manager's side of recording: who is recorded, how far, and what becomes of it where that fails.

As a screen that is kept, a recording has a floor in the ring: as long as there is a recorder, no output is
overwritten that is not recorded, and the shell is slowed instead. A recorder that has died is started again,
and goes on from the byte. Only one that stays away (or a disk that takes nothing, or a recording that has its
limit) is *lost*: then the shell runs free, those who are attached are told, and :class:`RecordingRules` say
what else.
"""

from __future__ import annotations

import asyncio
import collections
import logging
import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from terminals.control import packets
from terminals.control.answers import RecordingInfo
from terminals.control.channel import Channel
from terminals.control.framing import Record
from terminals.manager.casts import Casts, RecordingRules
from terminals.manager.child import start_child
from terminals.manager.session import Session
from terminals.recordings import packets as told
from terminals.recordings.asciicast import About, Header, Term

log = logging.getLogger("terminals.manager")

BATCH_SECONDS: Final = 0.02
"""Between two batches of a recording, whose times are no finer; what comes after a pause is taken at once."""
RESTART_SECONDS: Final = 0.2
MAX_RESTART_SECONDS: Final = 5.0
SWEEP_ROUNDS: Final = 60
GONE: Final = "the recorder is gone"
SILENT: Final = "the recorder does not answer"


class RecordedSession(Record):
    """What the next session manager has to know of a recording, beside what its file says."""

    since: float
    """Monotonic seconds at its beginning."""
    start: int
    """Output before it is not recorded."""
    required: bool


@dataclass(slots=True)
class _Active:
    """A recording that goes on."""

    session: Session
    kept: RecordedSession
    begun: bool = False
    """The present recorder has been told of it."""
    asked: int | None = None
    """Where the output was when the recorder was asked last, unless it has answered."""
    next: float = 0.0
    """When it is to be asked again at the earliest (loop time)."""
    timer: asyncio.TimerHandle | None = None
    again: bool = False
    """It has another size since."""
    sizes: collections.deque[tuple[int, int, int]] = field(default_factory=collections.deque)
    """Those of the terminal that may not be recorded yet, each with the output offset at which it begins."""
    rounds: int = 0
    """Of housekeeping since it was recorded last, while it could have been."""
    reason: str = ""
    """Why it is not recorded now; empty: it is, or is about to be."""

    def settle(self) -> None:
        """Nobody is to be asked."""
        self.asked = None
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None


class Recordings:
    """Starts the recorder when it is first needed, and again when it has died.

    ``required``: whether sessions will come that have to be recorded. ``remember(session)`` is called when
    what :meth:`kept` says of a session is another.
    """

    def __init__(
        self,
        folder: Path,
        rules: RecordingRules,
        *,
        required: bool,
        remember: Callable[[Session], None],
    ) -> None:
        self._rules = rules
        self._required = required
        self._remember = remember
        self.casts = Casts(folder, rules)
        self._active: dict[str, _Active] = {}
        """By the epoch of the session, which is the recording's id."""
        self._channel: Channel[told.FromRecorder] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._dying: list[subprocess.Popen[bytes]] = []
        """A process that waits for its disk ends when it has it: nobody waits for that."""
        self._wait = RESTART_SECONDS
        self._down = 0
        """Rounds of housekeeping without a recorder that has been asked for."""
        self._rounds = 0
        self._restarting: asyncio.TimerHandle | None = None
        self._closed = False
        self.looked = asyncio.Event()
        """What was recorded before is known."""

    @property
    def pid(self) -> int | None:
        """Of the recorder, while there is one."""
        return self._process.pid if self._process else None

    def count(self, state: Literal["on", "lost"]) -> int:
        """Sessions that are being recorded, or that should be."""
        return sum(1 for active in self._active.values() if active.session.recording == state)

    def kept(self, session: Session) -> RecordedSession | None:
        """What the next manager has to know of it."""
        active = self._active.get(session.epoch)
        return None if active is None else active.kept

    async def start(self) -> None:
        """Have a recorder where one will be needed, and look at what there is."""
        if self._required:
            self._start()
        self.casts.take(await asyncio.to_thread(self.casts.examine))
        self.looked.set()

    # --- which sessions -----------------------------------------------------------------

    def check_ready(self) -> None:
        """See to it that a session can begin that has to be recorded.

        Raises:
            OSError: it would not be, and none is to begin then.
        """
        if self._rules.when_lost != "notify" and (reason := self._why_not()):
            raise OSError(0, f"it has to be recorded, and would not be: {reason}")

    def begin(self, session: Session, *, start: int, required: bool) -> None:
        """Record what a session prints from offset ``start`` on; into what was recorded of it before, if
        anything was."""
        now, before = asyncio.get_running_loop().time(), self.casts.find(session.epoch)
        since = now - (before.seconds if before else 0.0)
        kept = RecordedSession(since=since, start=start, required=required)
        self._follow(session, kept, max(start, session.ring.tail))

    def resume(self, session: Session, kept: RecordedSession) -> None:
        """Go on with what an earlier manager has begun."""
        self._follow(session, kept, session.ring.tail)
        if session.live:
            self.resized(session)
        else:
            self.ended(session)

    def wish(self, session: Session) -> None:
        """Record what a session prints from now on, because somebody wants it.

        Raises:
            ValueError: it has ended, is recorded already, or would not be.
        """
        if not session.live:
            raise ValueError(f"{session.id} has ended")
        if session.epoch in self._active:
            raise ValueError(f"{session.id} is recorded already")
        if reason := self._why_not():
            raise ValueError(f"{session.id} would not be recorded: {reason}")
        self.begin(session, start=session.ring.head, required=False)
        session.notice("this session is recorded from now on")

    def stop(self, session: Session) -> None:
        """Record no more of it.

        Raises:
            ValueError: it is not recorded, or has to be.
        """
        active = self._active.get(session.epoch)
        if active is None:
            raise ValueError(f"{session.id} is not recorded")
        if active.kept.required:
            raise ValueError(
                f"{session.id} has to be recorded, as all sessions of the profile {session.profile}"
            )
        self._send(told.Advance(key=session.epoch, until=session.ring.head))
        self._leave(active, "cut", "")
        session.notice("this session is not recorded any more")

    def _follow(self, session: Session, kept: RecordedSession, floor: int) -> None:
        self._active[session.epoch] = _Active(session, kept)
        session.on_printed = self._printed
        session.record(floor)
        self._become(session, "on")
        self._remember(session)
        self._printed(session)

    def resized(self, session: Session) -> None:
        """The session's terminal has another size from its present output offset on."""
        if active := self._active.get(session.epoch):
            size = (session.ring.head, *session.size)
            active.sizes.append(size)
            active.again = True
            if active.begun:
                self._resize(active, *size)
            self._printed(session)

    def ended(self, session: Session) -> None:
        """Its shell has ended, and everything that it has printed is in the ring."""
        if active := self._active.get(session.epoch):
            active.next = 0.0
            self._printed(session)

    def forget(self, session: Session) -> None:
        """Its ring is about to go."""
        if active := self._active.get(session.epoch):
            self._leave(active, "cut", "")

    def _leave(
        self, active: _Active, state: Literal["ended", "full", "cut"], told_as: Literal["", "lost"]
    ) -> None:
        """A recording is over."""
        session = active.session
        active.settle()
        del self._active[session.epoch]
        self._send(told.Forget(key=session.epoch))
        self.casts.over(session.epoch, state)
        session.on_printed = None
        if session.live:
            session.record(None)
            self._become(session, told_as)
            self._remember(session)

    @staticmethod
    def _become(session: Session, state: Literal["", "on", "lost"]) -> None:
        """Tell those who are attached."""
        if session.recording == state:
            return
        session.recording = state
        for attachment in session.attachments:
            attachment.peer.send(packets.Recording(handle=attachment.handle, state=session.recording))

    # --- how far ------------------------------------------------------------------------

    def _printed(self, session: Session) -> None:
        """There is something to be recorded."""
        active = self._active[session.epoch]
        if active.asked is not None or active.reason:
            return  # the answer brings the next look, or the next round
        loop = asyncio.get_running_loop()
        urgent = session.ring.head - (session.recorded or 0) >= session.ring.capacity // 4
        if urgent or active.next <= loop.time():
            active.settle()
            self._ask(active)
        elif active.timer is None:
            active.timer = loop.call_at(active.next, self._ask, active)

    def _ask(self, active: _Active) -> None:
        active.timer = None
        active.again = False
        if not active.begun and not self._introduce(active):
            return
        session = active.session
        active.asked = session.ring.head
        active.next = asyncio.get_running_loop().time() + BATCH_SECONDS
        self._send(told.Advance(key=session.epoch, until=active.asked, ended=not session.live))

    def _introduce(self, active: _Active) -> bool:
        """Tell the recorder of it; whether that could be done."""
        session, kept = active.session, active.kept
        if not self._start():
            active.reason = active.reason or GONE
            return False
        loop = asyncio.get_running_loop()
        cols, rows = session.size
        header = Header(
            term=Term(cols=cols, rows=rows, type="xterm-256color"),
            timestamp=int(time.time() - (loop.time() - kept.since)),
            title=session.title,
            terminals=About(
                session=session.id, user=session.user, profile=session.profile, required=kept.required
            ),
        )
        fds: list[int] = []
        try:
            fds.append(self.casts.write(session.epoch, header))
            fds.append(session.ring.share())
            begin = told.Begin(
                key=session.epoch,
                header=header,
                since=kept.since,
                start=kept.start,
                limit=self._rules.max_recording_bytes,
            )
            self._send(begin, tuple(fds))
        except OSError as error:
            active.reason = error.strerror or str(error)
            return False
        finally:
            for fd in fds:
                os.close(fd)
        active.begun = True
        for size in active.sizes:
            self._resize(active, *size)
        return True

    def _resize(self, active: _Active, at: int, cols: int, rows: int) -> None:
        self._send(told.Resize(key=active.session.epoch, at=at, cols=cols, rows=rows))

    def _received(self, packet: told.FromRecorder, fds: list[int]) -> None:
        for fd in fds:
            os.close(fd)
        if isinstance(packet, told.Ready):
            self._down = 0
            for active in list(self._active.values()):
                if active.asked is None:
                    active.settle()
                    self._ask(active)
            return
        found = self._active.get(packet.key)
        if isinstance(packet, told.Recorded):
            self._wait = RESTART_SECONDS
            self.casts.grown(packet.key, packet.bytes, packet.elapsed)
            if found is not None:
                self._recorded(found, packet)
            elif packet.ended:
                self.casts.over(packet.key, "ended")
        elif found is not None:
            self._failed(found, packet)

    def _recorded(self, active: _Active, packet: told.Recorded) -> None:
        session = active.session
        asked, active.asked = active.asked, None
        active.rounds, active.reason = 0, ""
        while active.sizes and active.sizes[0][0] < packet.offset:
            active.sizes.popleft()
        if packet.ended:
            self._leave(active, "ended", "")
            return
        if session.live:
            session.record(packet.offset)
            if session.recording == "lost":
                self._become(session, "on")
                session.notice("this session is recorded again")
        if active.again or (asked is not None and session.ring.head > asked) or not session.live:
            self._printed(session)

    def _failed(self, active: _Active, packet: told.Failed) -> None:
        active.settle()
        active.begun = False  # next time its files are opened anew
        active.reason = packet.reason
        if packet.full:
            self._lost(active)
            self._leave(active, "full", "lost")

    # --- when it is lost ----------------------------------------------------------------

    def check(self) -> None:
        """Called each second: ask again where it has failed, and see who has been without for too long.

        Counted in rounds, and not by a clock: where this process stands still, so may the recorder.
        """
        self._dying = [process for process in self._dying if process.poll() is None]
        most = self._rules.lost_seconds
        if self._channel is None and (self._required or self._active):
            self._down += 1
            self._start()
        stuck = False
        for active in list(self._active.values()):
            if active.asked is None and not active.reason:
                continue
            active.rounds += 1
            if active.asked is None:
                self._ask(active)
            else:
                stuck |= active.rounds > most / 2
            if active.rounds > most and active.session.recording == "on":
                active.reason = active.reason or SILENT
                self._lost(active)
        if stuck:
            log.warning("the recorder does not answer: it is replaced")
            self._lose()
        self._rounds += 1
        if self.looked.is_set() and self._rounds % SWEEP_ROUNDS == 1:
            self.casts.sweep(time.time())

    def _why_not(self) -> str:
        """Why a session that begins now would not be recorded; empty: it would."""
        if self._down > self._rules.lost_seconds:
            return GONE
        lost = (active.reason for active in self._active.values() if active.session.recording == "lost")
        return next((reason for reason in lost if reason), "") or self.casts.without_room()

    def _lost(self, active: _Active) -> None:
        """What is printed from now on may not be recorded: those who are attached are told, and what else the
        rules say is done."""
        session, reason = active.session, active.reason
        log.warning("%s is not recorded any more: %s", session.id, reason)
        self._become(session, "lost")
        if not session.live:
            return
        session.record(None)
        ends = self._rules.when_lost == "end"
        session.notice(f"this session is not recorded any more: {reason}{': it is ended' if ends else ''}")
        if ends:
            session.kill()

    # --- the recorder -------------------------------------------------------------------

    def _start(self) -> bool:
        """See to it that there is a recorder; whether there is."""
        if self._channel is not None:
            return True
        if self._closed or self._restarting is not None:
            return False
        try:
            self._process, ours = start_child("terminals.recordings.recorder")
        except OSError as error:
            log.warning("no recorder could be started: %s", error)
            return False
        self._channel = Channel(ours, told.read_by_manager, self._received, self._lose)
        return True

    def _send(self, packet: told.ToRecorder, fds: tuple[int, ...] = ()) -> None:
        if self._channel is not None:
            self._channel.send(packet, fds)

    def _lose(self) -> None:
        """The recorder is gone, or given up; there will be another one."""
        channel, self._channel = self._channel, None
        if channel is None:
            return
        channel.close()
        process, self._process = self._process, None
        assert process is not None
        process.kill()
        self._dying.append(process)
        for active in self._active.values():
            active.settle()
            active.begun = False
            active.reason = active.reason or GONE
        if self._closed:
            return
        log.warning("the recorder has ended; it is started again")
        loop = asyncio.get_running_loop()
        self._restarting = loop.call_later(self._wait, self._restart)
        self._wait = min(2 * self._wait, MAX_RESTART_SECONDS)

    def _restart(self) -> None:
        self._restarting = None
        if self._required or self._active:
            self._start()

    def close(self) -> None:
        """Let the recorder end; what it records is gone on with by the next manager."""
        self._closed = True
        if self._restarting is not None:
            self._restarting.cancel()
        self._lose()

    # --- what is kept -------------------------------------------------------------------

    async def all(self) -> list[RecordingInfo]:
        """Every recording, the oldest first."""
        await self.looked.wait()
        return self.casts.all
