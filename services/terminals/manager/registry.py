"""All sessions of a manager: making them, finding them, letting them go."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import time
from pathlib import Path
from typing import Any

from terminals.manager.config import ManagerConfig
from terminals.manager.ring import Ring, RingCorrupt
from terminals.manager.session import Session
from terminals.manager.shell import spawn
from terminals.protocol import ids

ENDED_KEPT = 300.0
"""Seconds an ended session is kept so that its client learns the exit status."""
_LOST_NOTICE = b"\r\n\x1b[0;7m[the session manager was restarted: this shell has ended]\x1b[0m\r\n"
_LOST_STATUS = -1  # as if hung up: the kernel sent SIGHUP when the old manager died


class TooManySessions(Exception):
    """The configured limit is reached."""


class Registry:
    """The sessions by canonical id."""

    def __init__(self, config: ManagerConfig) -> None:
        self._config = config
        self._folder = config.state_dir / "sessions"
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.table: dict[str, Session] = {}

    @property
    def live(self) -> list[Session]:
        """Sessions whose shell still runs."""
        return [session for session in self.table.values() if session.live]

    def create(self, session_id: str, profile: str, generation: str, *, cols: int, rows: int) -> Session:
        """Start a shell under ``session_id``.

        Raises:
            TooManySessions: the limit of live sessions is reached.
            OSError: no memory, disk, process or terminal to be had; nothing is left behind.
        """
        if len(self.live) >= self._config.max_sessions:
            raise TooManySessions(f"{self._config.max_sessions} sessions are running, the configured most")
        if session_id in self.table:
            self.drop(self.table[session_id])
        ring = Ring.create(self._folder / f"{session_id}.ring", self._config.ring_bytes)
        try:
            shell = spawn(
                self._config.profiles[profile], profile=profile, session=session_id, cols=cols, rows=rows
            )
        except OSError:
            ring.close()
            ring.path.unlink()
            raise
        session = self._session(
            session_id,
            ring,
            {
                "profile": profile,
                "epoch": secrets.token_hex(8),
                "origin": generation,
                "created": time.time(),
            },
        )
        session.generation = generation
        session.shell = shell
        self._meta(session_id).write_text(
            json.dumps({key: getattr(session, key) for key in ("profile", "epoch", "origin", "created")})
        )
        session.start()
        return session

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
                session = self._session(path.stem, ring, meta)
            except (OSError, ValueError, KeyError, RingCorrupt):
                path.unlink(missing_ok=True)
                self._meta(path.stem).unlink(missing_ok=True)
                continue
            ring.append(_LOST_NOTICE)
            ring.end(_LOST_STATUS)
            session.status = _LOST_STATUS
            session.ended_at = asyncio.get_running_loop().time()
            self._ended(session)
            count += 1
        return count

    def drop(self, session: Session) -> None:
        """Forget an ended session and remove its files."""
        if self.table.get(session.id) is session:
            del self.table[session.id]
            session.discard()
            self._meta(session.id).unlink(missing_ok=True)

    def close(self) -> None:
        """Hang up every shell. Rings stay on disk for the next manager."""
        for session in self.live:
            assert session.shell is not None
            with contextlib.suppress(OSError):
                os.close(session.shell.master)

    def _session(self, session_id: str, ring: Ring, meta: dict[str, Any]) -> Session:
        session = Session(
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
            on_end=self._ended,
        )
        self.table[session_id] = session
        return session

    def _ended(self, session: Session) -> None:
        asyncio.get_running_loop().call_later(ENDED_KEPT, self.drop, session)

    def _meta(self, session_id: str) -> Path:
        return self._folder / f"{session_id}.json"
