"""All sessions of a manager: making them, finding them, letting them go."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import logging
import os
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

from terminals.manager.config import ManagerConfig
from terminals.manager.pool import ShellPool
from terminals.manager.ready import ReadySessions
from terminals.manager.ring import HEADER_BYTES, Ring, RingCorrupt
from terminals.manager.screens import Screens
from terminals.manager.session import Session
from terminals.manager.shell import plan
from terminals.manager.spare import SpareRing
from terminals.protocol import ids

log = logging.getLogger("terminals.manager")

ENDED_KEPT = 300.0
"""Seconds an ended session is kept so that its client learns the exit status."""
_NO_ROOM: Final = {errno.ENOSPC, errno.EDQUOT, errno.ENOMEM}
"""What an ended session may free some of: disk and memory. Of descriptors it has none."""
MAX_TITLE = 80
AGE_WARNING = 300.0
"""Seconds before its maximum age that a session's terminal is warned."""
_LOST_NOTICE = b"\r\n\x1b[0;7m[the session manager was restarted: this shell has ended]\x1b[0m\r\n"
_LOST_STATUS = -1  # as if hung up: the kernel sent SIGHUP when the old manager died


T = TypeVar("T")


class TooManySessions(Exception):
    """The configured limit is reached."""


class Registry:
    """The sessions by canonical id."""

    def __init__(self, config: ManagerConfig) -> None:
        self._config = config
        self._folder = config.state_dir / "sessions"
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.table: dict[str, Session] = {}
        self._ended_here: dict[str, Session] = {}
        """Those whose shell has ended in this manager's life, the oldest end first. Those of a manager
        that died were as many as it had live ones, and all their people come to see the end."""
        self._forgotten = [0, 0]  # output and input bytes of sessions that are no longer in the table
        self.expired = 0
        """Sessions ended by a limit of time."""
        self.pool = ShellPool(config.shell_pool)
        self._spare = SpareRing(self._folder, self._has_room)
        self.ready = ReadySessions(
            {name: profile.ready for name, profile in config.profiles.items()}, self._begin_ready
        )
        self.screens = Screens()

    @property
    def live(self) -> list[Session]:
        """Sessions whose shell still runs."""
        return [session for session in self.table.values() if session.live]

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
        mine = sum(1 for session in live if session.user == user) if user else 0
        if user and 0 < self._config.max_sessions_per_user <= mine:
            raise TooManySessions(f"{mine} sessions of {user} are running, the configured most for one user")
        if session_id in self.table:
            self.drop(self.table[session_id])
        session = self.ready.take(profile) if fresh else None
        if session is None:
            session = self.with_room(lambda: self._begin(session_id, profile, cols=cols, rows=rows))
        session.generation = session.origin = generation
        session.user = user
        session.created, session.born = time.time(), asyncio.get_running_loop().time()
        session.resize(cols, rows)
        self.table[session.id] = session
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

    def _begin(self, session_id: str, profile: str, *, cols: int, rows: int) -> Session:
        """Start a shell; it is in no table yet."""
        size = self._config.profiles[profile].ring_bytes or self._config.ring_bytes
        self._make_room(size)
        ring = self._spare.take(self._folder / f"{session_id}.ring", size)
        try:
            what = plan(profile, self._config.profiles[profile], session_id)
            shell = self.pool.spawn(what, cols=cols, rows=rows)
        except OSError:
            ring.close()
            ring.path.unlink()
            raise
        meta = {"profile": profile, "epoch": secrets.token_hex(8), "origin": "", "created": time.time()}
        session = self._session(session_id, ring, meta)
        session.shell = shell
        session.size = (cols, rows)
        session.start()
        return session

    def _begin_ready(self, profile: str) -> Session:
        return self._begin(ids.new_session_id().value, profile, cols=80, rows=24)

    def start(self) -> None:
        """Fill the stocks. The loop must be running."""
        self.pool.start()
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
            if self._spare.bytes:
                self._spare.close()
                continue
            if not ended:
                raise TooManySessions(
                    f"the rings of the running sessions leave less than {size} of max_rings_bytes {most}"
                )
            self.drop(ended.pop(0))

    @property
    def rings_bytes(self) -> int:
        """What all rings take, in memory and on disk."""
        every = (*self.table.values(), *self.ready)
        rings: int = sum(HEADER_BYTES + session.ring.capacity for session in every)
        return rings + self._spare.bytes

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
        self._save(session)

    def enforce_limits(self, now: float) -> None:
        """End sessions that are over the configured idle time or age. ``now``: monotonic seconds."""
        self.ready.renew(now)
        for session in self._ended():
            if now - (session.ended_at or 0.0) >= ENDED_KEPT:
                self.drop(session)
        idle, age = self._config.idle_seconds, self._config.max_age_seconds
        for session in self.live:
            left = session.born + age - now
            if idle and session.idle(now) >= idle:
                self._expire(session, f"nobody was here for {idle:g} s: this session is ended")
            elif age and left <= 0:
                self._expire(session, f"this session is {age:g} s old, the most allowed: it is ended")
            elif age and left <= min(AGE_WARNING, age / 2) and not session.warned:
                session.warned = True
                session.notice(f"this session will be ended in {left:.0f} s, at the maximum age of {age:g} s")

    def _expire(self, session: Session, reason: str) -> None:
        if not session.expired:
            session.expired = True
            self.expired += 1
            log.info("%s: %s", session.id, reason)
            session.notice(reason)
            session.kill()

    def restore(self) -> int:
        """Bring back the scrollback of sessions whose manager died. Their shells are gone.

        Returns how many were restored. Files that make no sense are removed.
        """
        count = 0
        for path in sorted(self._folder.glob("*.ring")):
            try:
                if not ids.is_canonical(path.stem):
                    raise RingCorrupt(str(path))
                meta = json.loads(self._meta(path.stem).read_text())
                ring = Ring.open(path)
                session = self.table[path.stem] = self._session(path.stem, ring, meta)
            except (OSError, ValueError, KeyError, RingCorrupt):
                path.unlink(missing_ok=True)
                self._meta(path.stem).unlink(missing_ok=True)
                continue
            ring.append(_LOST_NOTICE)
            ring.end(_LOST_STATUS)
            session.status = _LOST_STATUS
            session.ended_at = asyncio.get_running_loop().time()
            count += 1
        return count

    def drop(self, session: Session) -> None:
        """Forget an ended session and remove its files."""
        if self.table.get(session.id) is session:
            del self.table[session.id]
            self._ended_here.pop(session.id, None)
            self._forgotten[0] += session.ring.head
            self._forgotten[1] += session.typed
            self.screens.forget(session)
            session.discard()
            self._meta(session.id).unlink(missing_ok=True)

    def close(self) -> None:
        """Hang up every shell. Rings stay on disk for the next manager."""
        self.pool.close()
        self.screens.close()
        for session in (*self.live, *self.ready):
            if session.shell is not None:
                with contextlib.suppress(OSError):
                    os.close(session.shell.master)

    def _session(self, session_id: str, ring: Ring, meta: dict[str, Any]) -> Session:
        return Session(
            id=session_id,
            profile=str(meta["profile"]),
            epoch=str(meta["epoch"]),
            origin=str(meta["origin"]),
            generation=str(meta["origin"]),
            created=float(meta["created"]),
            ring=ring,
            shell=None,
            breaker=self._config.breaker(),
            hold_seconds=self._config.hold_seconds,
            on_end=self._has_ended,
            on_output=self.screens.advance,
            born=asyncio.get_running_loop().time(),
            title=str(meta.get("title", "")),
            user=str(meta.get("user", "")),
        )

    def _save_new(self, session: Session) -> None:
        if self.table.get(session.id) is session:
            try:
                self._save(session)
            except OSError as error:
                log.warning("%s: its output will not outlive this process: %s", session.id, error)

    def _save(self, session: Session) -> None:
        kept = ("profile", "epoch", "origin", "created", "title", "user")
        path = self._meta(session.id)
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps({key: getattr(session, key) for key in kept}))
        temporary.replace(path)

    def _has_ended(self, session: Session) -> None:
        if self.ready.ended(session) or self.table.get(session.id) is not session:
            self.screens.forget(session)
            session.discard()
            return
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
