"""All sessions of a manager: making them, finding them, letting them go."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import secrets
import time
from collections.abc import Callable, Container, Mapping
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from terminals.background import Background, Troubles
from terminals.control.framing import BadPacket, Record, pack, reader
from terminals.manager.config import ManagerConfig
from terminals.manager.holding import HolderLink, Item
from terminals.manager.inputs import Inputs
from terminals.manager.journal import Journal
from terminals.manager.ready import ReadySessions
from terminals.manager.recordings import RecordedSession, Recordings
from terminals.manager.ring import HEADER_BYTES, Ring, RingCorrupt, Word
from terminals.manager.screens import Screens
from terminals.manager.session import UNKNOWN, Session
from terminals.manager.shell import Shell, ShellPlan, plan, resize, size_of
from terminals.protocol import ids
from terminals.protocol.breaker import Standing
from terminals.protocol.messages import MAX_SIDE
from terminals.tickets import is_person

log = logging.getLogger("terminals.manager")

ENDED_KEPT = 300.0
"""Seconds an ended session is kept so that its client learns the exit status."""
_NO_ROOM: Final = {errno.ENOSPC, errno.EDQUOT, errno.ENOMEM}
"""What an ended session may free some of: disk and memory. Of descriptors it has none."""
MAX_TITLE = 80
AGE_WARNING = 300.0
"""Seconds before its maximum age that a session's terminal is warned."""
_LOST_NOTICE = (
    b"\r\n\x1b[0;7m[the host or its holder of shells was restarted: this shell has ended]\x1b[0m\r\n"
)


JOURNAL: Final = "journal"
"""The holder's key of the bytes on their way."""
_SESSION: Final = "session/"


class SessionRecord(Record, omit_defaults=True):
    """What the next manager has to know of a session, beside what the ring's header says.

    On disk, for a machine that was restarted, is as much of it as is known when the session begins.
    """

    profile: str
    epoch: str
    origin: str
    created: float
    """Unix seconds."""
    title: str = ""
    user: str = ""
    generation: str | None = None
    served_by: str = ""
    born: float | None = None
    """Monotonic seconds."""
    ready: bool = False
    warned: bool = False
    expired: bool = False
    breaker: Standing | None = None
    recorded: RecordedSession | None = None


_read_record = reader(SessionRecord)

T = TypeVar("T")


def key_of(session: Session) -> str:
    """The holder's key of a session."""
    return _SESSION + session.id


class TooManySessions(Exception):
    """The configured limit is reached."""


class Registry:
    """The sessions by canonical id.

    ``link``: the holder starts their shells, and keeps what the next manager has to know.
    """

    def __init__(self, config: ManagerConfig, link: HolderLink) -> None:
        self._config = config
        self._link = link
        self._folder = config.state_dir / "sessions"
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.table: dict[str, Session] = {}
        self._ended_here: dict[str, Session] = {}
        """Those whose shell has ended in this manager's life, the oldest end first. Those of a holder
        that died were as many as it had live ones, and all their people come to see the end."""
        self._forgotten = [0, 0]  # output and input bytes of sessions that are no longer in the table
        self._remembered: dict[str, SessionRecord] = {}
        """What the holder was last given of each session."""
        self.left: set[str] = set()
        """Sessions that the holder has, and that could not be gone on with."""
        self.started = 0
        """Shells that were started for somebody who waited."""
        self.found_ready = 0
        """Sessions that were ready."""
        self.expired = 0
        """Sessions ended by a limit of time."""
        self.ready = ReadySessions(
            {name: profile.ready for name, profile in config.profiles.items()}, self._begin_ready
        )
        self.screens = Screens()
        self.recordings = Recordings(
            config.state_dir / "recordings",
            config.recordings,
            required=any(profile.record for profile in config.profiles.values()),
            remember=self._remember_recording,
        )
        self.environment: Callable[[str, str], dict[str, str]] = lambda profile, session: {}
        """What a shell of a profile and a session is to know besides."""
        self._journal: Journal
        self._background = Background(log)
        self._troubles = Troubles(log)

    @property
    def live(self) -> list[Session]:
        """Sessions whose shell still runs."""
        return [session for session in self.table.values() if session.live]

    def lives(self, session_id: str) -> bool:
        """Whether there is such a session, and its shell still runs."""
        session = self.table.get(session_id)
        return session is not None and session.live

    @property
    def output_bytes(self) -> int:
        """Bytes that shells have printed."""
        return self._forgotten[0] + sum(session.ring.head for session in self.table.values())

    @property
    def input_bytes(self) -> int:
        """Bytes typed, each counted once."""
        return self._forgotten[1] + sum(session.typed for session in self.table.values())

    def create(
        self,
        session_id: str,
        profile: str,
        generation: str,
        *,
        user: str = "",
        cols: int,
        rows: int,
        fresh: bool = False,
    ) -> Session:
        """Start a shell under ``session_id`` for ``user``.

        ``fresh``: nobody has asked for this very id, so a session that is ready will do.

        Raises:
            TooManySessions: the limit of live sessions is reached.
            OSError: no memory, disk, process or terminal to be had; nothing is left behind.
        """
        live = self.live
        if len(live) >= self._config.max_sessions:
            raise TooManySessions(f"{self._config.max_sessions} sessions are running, the configured most")
        person = user and is_person(user)
        mine = sum(1 for session in live if session.user == user) if person else 0
        if person and 0 < self._config.max_sessions_per_user <= mine:
            raise TooManySessions(f"{mine} sessions of {user} are running, the configured most for one user")
        required = self._config.profiles[profile].record
        if required:
            self.recordings.check_ready()
        if session_id in self.table:
            self.drop(self.table[session_id])
        session = self.ready.take(profile) if fresh else None
        if session is None:
            session = self.with_room(lambda: self._begin(session_id, profile, cols=cols, rows=rows))
            self.started += 1
        else:
            self.found_ready += 1
        session.generation = session.origin = generation
        session.user = user
        session.created, session.born = time.time(), asyncio.get_running_loop().time()
        session.ready = False
        session.resize(cols, rows)
        self.table[session.id] = session
        if required:
            self.recordings.begin(session, start=0, required=True)
        self.remember(session)
        # Not before the client has its answer: only a manager that is killed within this very turn
        # leaves a ring, with nothing in it, that the next one cannot name.
        asyncio.get_running_loop().call_soon(self._save_new, session)
        return session

    def with_room(self, attempt: Callable[[], T]) -> T:
        """Do what takes disk or memory; while there is none, ended sessions give theirs.

        Raises:
            OSError: as ``attempt`` does, when no ended session is left.
        """
        while True:
            try:
                return attempt()
            except OSError as error:
                oldest = next(iter(self._ended()), None)
                if error.errno not in _NO_ROOM or oldest is None:
                    raise
                log.warning("%s: the ended session %s is dropped to make room", error.strerror, oldest.id)
                self.drop(oldest)

    def _ended(self) -> list[Session]:
        """Sessions without a shell, the oldest end first."""
        ended = [session for session in self.table.values() if not session.live]
        return sorted(ended, key=lambda session: session.ended_at or 0.0)

    def _begin(self, session_id: str, profile: str, *, cols: int, rows: int, ready: bool = False) -> Session:
        """Have a shell started; it is in no table yet, and its session's ``started`` says when it runs."""
        size = self._config.profiles[profile].ring_bytes or self._config.ring_bytes
        self._make_room(size)
        what = plan(profile, self._config.profiles[profile], session_id)
        what.env.update(self.environment(profile, session_id))
        path = self._folder / f"{session_id}.ring"
        ring = Ring.create(path, size)
        record = SessionRecord(
            profile=profile,
            epoch=secrets.token_hex(8),
            origin="",
            created=time.time(),
            born=asyncio.get_running_loop().time(),
            ready=ready,
        )
        session = self._session(session_id, ring, record)
        session.size = (cols, rows)
        if self._config.profiles[profile].record:
            session.notice("this session is recorded")  # before anything can be typed
        session.started = asyncio.get_running_loop().create_future()
        self._background.start(self._start(session, what), f"the start of {session_id}")
        return session

    async def _start(self, session: Session, what: ShellPlan) -> None:
        assert session.started is not None
        cols, rows = session.size
        try:
            item = await self._link.spawn(
                key_of(session), what, cols, rows, {"session": self._record(session)}
            )
        except (OSError, BadPacket) as error:
            log.warning("no shell could be started for %s: %s", session.id, error)
            session.fail()
            session.started.set_exception(error if isinstance(error, OSError) else OSError(0, str(error)))
            session.started.exception()  # there may be nobody who waits for it
            return
        if session.size != (cols, rows):
            resize(item.fds[0], *session.size)
        session.start(Shell(item.pid, item.fds[0]))
        session.started.set_result(None)
        self.remember(session)
        if item.status is not None:
            session.exited(item.status)

    def _begin_ready(self, profile: str) -> Session:
        return self._begin(
            ids.new_session_id(self._config.homes.tag).value, profile, cols=80, rows=24, ready=True
        )

    def start(self) -> None:
        """Fill the stock. The loop must be running."""
        self._background.start(self.recordings.start(), "a look at recordings")
        self.ready.fill()

    def _make_room(self, size: int) -> None:
        """Keep all rings within their configured sum: those of ended sessions go first, the oldest of them.

        Raises:
            TooManySessions: the rings of live sessions leave no room.
        """
        most = self._config.max_rings_bytes
        if not most:
            return
        ended = self._ended()
        while not self._has_room(size):
            if not ended:
                raise TooManySessions(
                    f"the rings of the running sessions leave less than {size} of max_rings_bytes {most}"
                )
            self.drop(ended.pop(0))

    @property
    def rings_bytes(self) -> int:
        """What all rings take, in memory and on disk."""
        every = (*self.table.values(), *self.ready)
        return sum(HEADER_BYTES + session.ring.capacity for session in every)

    def _has_room(self, size: int) -> bool:
        most = self._config.max_rings_bytes
        return not most or self.rings_bytes + size <= most

    def rename(self, session: Session, title: str) -> None:
        """Give a session a title for people; an empty one takes it away.

        Raises:
            ValueError: too long, or with characters that cannot be printed.
        """
        if len(title) > MAX_TITLE or not title.isprintable():
            raise ValueError(f"a title has at most {MAX_TITLE} printable characters")
        session.title = title
        self.remember(session)
        self._save(session)

    def enforce_limits(self, now: float) -> None:
        """End sessions that are over the configured idle time or age. ``now``: monotonic seconds."""
        self.ready.renew(now)
        for session in self._ended():
            if now - (session.ended_at or 0.0) >= ENDED_KEPT:
                self.drop(session)
        for session in self.live:
            try:
                self._enforce(session, now)
            except Exception as error:  # one session's, and no reason not to look at all others
                self._troubles.say(f"limits of {session.id}", repr(error), error)

    def _enforce(self, session: Session, now: float) -> None:
        idle, age = self._config.idle_seconds, self._config.max_age_seconds
        left = session.born + age - now
        if idle and session.idle(now) >= idle:
            self._expire(session, f"nobody was here for {idle:g} s: this session is ended")
        elif age and left <= 0:
            self._expire(session, f"this session is {age:g} s old, the most allowed: it is ended")
        elif age and left <= min(AGE_WARNING, age / 2) and not session.warned:
            session.warned = True
            self.remember(session)
            session.notice(f"this session will be ended in {left:.0f} s, at the maximum age of {age:g} s")

    def _expire(self, session: Session, reason: str) -> None:
        if not session.expired:
            session.expired = True
            self.remember(session)
            self.expired += 1
            log.info("%s: %s", session.id, reason)
            session.notice(reason)
            session.kill()

    def restore(self, items: dict[str, Item]) -> tuple[int, int]:
        """Go on with the sessions that the holder has, and bring back what the ended ones have printed.

        Takes them out of ``items``.
        Returns how many of each there are. Files that make no sense are removed.
        """
        self._journal = self._take_journal(items.pop(JOURNAL, None))
        keys = [key for key in items if key.startswith(_SESSION)]
        held = {key.removeprefix(_SESSION): items.pop(key) for key in keys}
        rings = {session_id: self._ring_of(session_id) for session_id in held}
        # First of all: what is on its way from and to the terminals.
        self._journal.recover({ring.number: ring for ring in rings.values() if ring is not None})
        alive, kept = 0, set(held)
        for session_id, item in held.items():
            try:
                if self._go_on(session_id, item, rings[session_id]):
                    alive += 1
                else:
                    kept.remove(session_id)
            except Exception:
                # No reason to end, and with it everybody else's; another build may know what to do.
                log.exception("%s is left with the holder", session_id)
                self.left.add(session_id)
        return alive, self._restore_ended(kept)

    def _take_journal(self, item: Item | None) -> Journal:
        if item is not None:
            return Journal(item.fds)
        journal = Journal.create()
        self._link.put(JOURNAL, {}, tuple(journal.fds))
        return journal

    def _ring_of(self, session_id: str) -> Ring | None:
        try:
            return Ring.open(self._folder / f"{session_id}.ring")
        except (OSError, RingCorrupt) as error:
            log.warning("%s: what it printed before is gone: %s", session_id, error)
            return None

    def _go_on(self, session_id: str, item: Item, ring: Ring | None) -> bool:
        """Whether a session of an earlier manager goes on."""
        record = None
        if item.pid:  # else it is what was left behind by one that never began
            record = _read_record(bytes(item.fields["session"]))
        if record is None or (record.ready and record.profile not in self._config.profiles):
            self._link.drop(_SESSION + session_id)
            item.close()
            if ring is not None:
                ring.close()
            return False
        if not item.fds:
            raise OSError("no more files can be open")
        if ring is None:  # the shell is worth more than what it has printed
            path = self._folder / f"{session_id}.ring"
            path.unlink(missing_ok=True)
            ring = Ring.create(path, self._config.ring_bytes)
            record = msgspec.structs.replace(record, epoch=secrets.token_hex(8))
        if item.status is None:
            ring.words[Word.ENDED] = 0  # whatever a manager before has taken it for
        session = self._session(session_id, ring, record, kept=item.fields)
        cols, rows = size_of(item.fds[0])  # which a program may have set, to anything
        session.size = max(1, min(cols, MAX_SIDE)), max(1, min(rows, MAX_SIDE))
        ring.words[Word.SIZE_AT], ring.words[Word.SIZE] = ring.head, session.size[0] << 32 | session.size[1]
        if record.recorded is not None:
            self.recordings.resume(session, record.recorded)
        if session.ready:
            self.ready.add(session)
        else:
            self.table[session_id] = session
        session.go_on(Shell(item.pid, item.fds[0]), item.status)
        return True

    def _restore_ended(self, held: Container[str]) -> int:
        """Bring back what sessions without a shell have printed; returns how many there are."""
        count = 0
        for path in sorted(self._folder.glob("*.ring")):
            if path.stem in held:
                continue
            try:
                if not ids.is_canonical(path.stem):
                    raise RingCorrupt(str(path))
                record = _read_record(self._meta(path.stem).read_bytes())
                ring = Ring.open(path)
                session = self.table[path.stem] = self._session(path.stem, ring, record)
            except (OSError, BadPacket, RingCorrupt):
                path.unlink(missing_ok=True)
                self._meta(path.stem).unlink(missing_ok=True)
                continue
            if ring.words[Word.ENDED]:
                session.status = ring.words[Word.STATUS] - 1000
                self._ended_here[session.id] = session
            else:
                floor = ring.words[Word.FLOOR] - 1 if ring.words[Word.FLOOR] else ring.head
                # Where there is no room, its client needs the place.
                if ring.capacity - (ring.head - floor) >= len(_LOST_NOTICE):
                    with contextlib.suppress(OSError):  # a full disk
                        ring.append(_LOST_NOTICE)
                ring.end(UNKNOWN)
                session.status = UNKNOWN
            session.ended_at = asyncio.get_running_loop().time()
            if record.recorded is not None:
                self.recordings.resume(session, record.recorded)
            count += 1
        for path in self._folder.glob("*.tmp"):  # half written when a manager was killed
            path.unlink(missing_ok=True)
        return count

    def exited(self, key: str, status: int) -> None:
        """A shell has ended."""
        session_id = key.removeprefix(_SESSION)
        if session_id in self.left:
            self.left.discard(session_id)
            self._link.drop(key)
        session = self.table.get(session_id) or next(
            (session for session in self.ready if session.id == session_id), None
        )
        if session is not None:
            session.exited(status)

    def orphan(self) -> None:
        """The holder is gone, and with it the parent of all shells."""
        for session in (*self.live, *self.ready):
            session.orphan()

    def _described(self, session: Session) -> SessionRecord:
        """What is known when it begins, and is kept on disk, too."""
        return SessionRecord(
            profile=session.profile,
            epoch=session.epoch,
            origin=session.origin,
            created=session.created,
            title=session.title,
            user=session.user,
            recorded=self.recordings.kept(session),
        )

    def _record(self, session: Session) -> SessionRecord:
        return msgspec.structs.replace(
            self._described(session),
            generation=session.generation,
            served_by=session.served_by,
            born=session.born,
            ready=session.ready,
            warned=session.warned,
            expired=session.expired,
            breaker=session.breaker.standing,
        )

    def remember(self, session: Session) -> None:
        """Have the holder keep what the next manager has to know of a session, where that has changed."""
        if not session.live or session.shell is None:
            return  # while its shell is being started, what is to be kept may come before it
        record = self._record(session)
        if self._remembered.get(session.id) != record:
            self._remembered[session.id] = record
            self._link.put(key_of(session), {"session": record})

    def _remember_recording(self, session: Session) -> None:
        """Also on disk: on a machine that was restarted an ended session is recorded to its end."""
        if session.shell is not None and self.table.get(session.id) is session:
            self.remember(session)
            self._save_new(session)

    def resized(self, session: Session) -> None:
        """Tell who follows a session that its terminal has another size from its present output on."""
        self.screens.resized(session)
        self.recordings.resized(session)

    def drop(self, session: Session) -> None:
        """Forget an ended session and remove its files."""
        if self.table.get(session.id) is session:
            del self.table[session.id]
            self._ended_here.pop(session.id, None)
            self._forgotten[0] += session.ring.head
            self._forgotten[1] += session.typed
            self.screens.forget(session)
            self.recordings.forget(session)
            session.discard()
            self._meta(session.id).unlink(missing_ok=True)

    def close(self) -> None:
        """Let go of everything; it stays with the holder, and on disk."""
        self.screens.close()
        self.recordings.close()

    def _session(
        self,
        session_id: str,
        ring: Ring,
        record: SessionRecord,
        kept: Mapping[str, msgspec.Raw] | None = None,
    ) -> Session:
        key = _SESSION + session_id
        breaker = self._config.breaker()
        if record.breaker is not None:
            breaker.restore(record.breaker)
        return Session(
            id=session_id,
            profile=record.profile,
            epoch=record.epoch,
            origin=record.origin,
            generation=record.origin if record.generation is None else record.generation,
            created=record.created,
            ring=ring,
            shell=None,
            breaker=breaker,
            hold_seconds=self._config.hold_seconds,
            on_end=self._has_ended,
            on_output=self.screens.advance,
            send_signal=lambda session, number: self._link.signal(key, number),
            journal=self._journal,
            with_room=self.with_room,
            inputs=Inputs(ring.words, lambda fields: self._link.put(key, fields), kept),
            born=asyncio.get_running_loop().time() if record.born is None else record.born,
            title=record.title,
            user=record.user,
            served_by=record.served_by,
            ready=record.ready,
            warned=record.warned,
            expired=record.expired,
        )

    def _save_new(self, session: Session) -> None:
        if self.table.get(session.id) is session:
            try:
                self._save(session)
            except OSError as error:
                log.warning("%s: its output will not outlive this process: %s", session.id, error)

    def _save(self, session: Session) -> None:
        path = self._meta(session.id)
        temporary = path.with_suffix(".tmp")
        temporary.write_bytes(pack(self._described(session)))
        temporary.replace(path)

    def _has_ended(self, session: Session) -> None:
        self._remembered.pop(session.id, None)
        self._link.drop(key_of(session))
        if self.ready.ended(session) or self.table.get(session.id) is not session:
            self.screens.forget(session)
            self.recordings.forget(session)
            session.discard()
            return
        self.recordings.ended(session)
        self._ended_here[session.id] = session
        self._let_go_of_ended(session.user)

    def _let_go_of_ended(self, user: str) -> None:
        """Keep ended sessions within their limits; the oldest go first, ``user``'s own before others'."""
        config, kept = self._config, self._ended_here
        mine = [session for session in kept.values() if session.user == user] if user else []
        most = config.max_ended_sessions_per_user
        for session in mine[: max(0, len(mine) - most) if most else 0]:
            self.drop(session)
        size = sum(HEADER_BYTES + session.ring.capacity for session in kept.values())
        while kept and (
            (config.max_ended_sessions and len(kept) > config.max_ended_sessions)
            or (config.max_ended_bytes and size > config.max_ended_bytes)
        ):
            oldest = next(iter(kept.values()))
            size -= HEADER_BYTES + oldest.ring.capacity
            self.drop(oldest)

    def _meta(self, session_id: str) -> Path:
        return self._folder / f"{session_id}.json"
