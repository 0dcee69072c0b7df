"""The last screens of other hosts' sessions, as files: what can still be shown of a host that is lost.

A host that keeps them has, under its state folder, a folder for each other one by its tag, and in it a file a
session: a line that says what it is, then the screen, compressed. They outlive every process, and are written
by one alone, the asker.
"""

from __future__ import annotations

import itertools
import shutil
import time
import zlib
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Final

from terminals.control.framing import BadPacket, Record, pack, reader
from terminals.protocol.ids import is_canonical, is_tag
from terminals.protocol.messages import MAX_LAST_SCREEN, MAX_SIDE

FOLDER: Final = "screens"
MAX_SCREENS: Final = 4096
"""Of one host ..."""
MAX_COPY: Final = MAX_LAST_SCREEN + 4096
"""... each of at most so many bytes, with what is said of it: a quarter of a gibibyte in all."""
MIN_FREE: Final = 1 << 28
"""Bytes of the disk that stay free: this host's own shells write to it, and wait where it is full."""
SETTLED_SECONDS: Final = 15.0
"""A file that is younger is of a session that may have begun after it was said which sessions live."""
_NEW: Final = ".new"
"""In the name of a file that is being written. No id has a dot."""


class NotKept(Exception):
    """A screen is not taken. The text is one line."""


class ScreenCopy(Record):
    """A screen of a session, as it was sent to another host."""

    id: str
    """The session's."""
    user: str
    profile: str
    epoch: str
    output: int
    """The offset at which the screen looked so."""
    at: float
    """Unix seconds, by the clock of the session's host."""
    cols: int
    rows: int


_read: Callable[[bytes], ScreenCopy] = reader(ScreenCopy)


def packed(screen: ScreenCopy, data: bytes) -> bytes:
    """As it is sent and kept; ``data``: escape sequences that paint it."""
    return pack(screen) + b"\n" + zlib.compress(data)


def unpacked(body: bytes) -> tuple[ScreenCopy, bytes]:
    """What was packed.

    Raises:
        NotKept: it makes no sense, or is longer than a screen may be.
    """
    if len(body) > MAX_COPY:
        raise NotKept(f"a screen has at most {MAX_COPY} bytes with what is said of it, not {len(body)}")
    head, _, rest = body.partition(b"\n")
    stream = zlib.decompressobj()
    try:
        screen, data = _read(head), stream.decompress(rest, MAX_LAST_SCREEN + 1)
    except (BadPacket, zlib.error) as error:
        raise NotKept(f"this is no screen: {error}") from None
    if not stream.eof or stream.unused_data or len(data) > MAX_LAST_SCREEN:
        raise NotKept(f"this screen is cut, or has more than {MAX_LAST_SCREEN} bytes")
    if not (1 <= screen.cols <= MAX_SIDE and 1 <= screen.rows <= MAX_SIDE):
        raise NotKept(f"no terminal has {screen.cols} columns and {screen.rows} rows")
    return screen, data


class LastScreens:
    """Those that this host keeps for others."""

    def __init__(self, state_dir: Path) -> None:
        self._folder = state_dir / FOLDER
        self._numbers = itertools.count(1)

    def tags(self) -> list[str]:
        """Of the hosts of which it keeps any."""
        try:
            return sorted(folder.name for folder in self._folder.iterdir())
        except OSError:
            return []

    def take(self, tag: str, body: bytes) -> None:
        """Keep a screen of the host of this tag, in place of the one before.

        Raises:
            NotKept: it makes no sense, there are too many, or hardly any room.
            OSError: it cannot be written; the one before stays.
        """
        screen, _ = unpacked(body)
        path = self._path(tag, screen.id)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists() and sum(1 for _ in path.parent.iterdir()) >= MAX_SCREENS:
            raise NotKept(f"{MAX_SCREENS} screens of this host are kept, and no more")
        if shutil.disk_usage(path.parent).free < MIN_FREE:
            raise NotKept("the disk has hardly any room")
        # Not synced: after a crash of this machine, too, it is one that was, or none.
        new = path.with_name(f"{path.name}{_NEW}{next(self._numbers)}")
        try:
            new.write_bytes(body)
            new.rename(path)
        except OSError:
            new.unlink(missing_ok=True)
            raise

    def only(self, tag: str, sessions: Collection[str]) -> list[str]:
        """Of the host of this tag keep no others: those sessions live, or have begun since that was said, and
        no others do; gives those of them of which nothing is kept.

        Raises:
            OSError: files cannot be removed.
        """
        left = set(sessions)
        settled = time.time() - SETTLED_SECONDS
        for path in self._files(tag):
            session = path.name.partition(_NEW)[0]
            left.discard(path.name)
            if session not in sessions or path.name != session:
                try:
                    if path.stat().st_mtime < settled:
                        path.unlink()
                except FileNotFoundError:
                    continue  # it has its name by now
        return sorted(left)

    def drop(self, tag: str) -> None:
        """Keep none of the host of this tag.

        Raises:
            OSError: files cannot be removed.
        """
        folder = self._folder / tag
        if is_tag(tag) and folder.is_dir():
            shutil.rmtree(folder)

    def of_these_only(self, tags: Collection[str]) -> None:
        """Keep none of other hosts.

        Raises:
            OSError: files cannot be removed.
        """
        for tag in self.tags():
            if tag not in tags:
                self.drop(tag)

    def find(self, tag: str, session: str) -> tuple[ScreenCopy, bytes] | None:
        """The last screen of a session of the host of this tag; ``None`` where none can be had."""
        try:
            return unpacked(self._path(tag, session).read_bytes())
        except (OSError, NotKept):
            return None

    def _files(self, tag: str) -> Iterator[Path]:
        folder = self._folder / tag
        return folder.iterdir() if is_tag(tag) and folder.is_dir() else iter(())

    def _path(self, tag: str, session: str) -> Path:
        if not (is_tag(tag) and is_canonical(session)):
            raise NotKept(f"this is no session's id: {session[:80]!a}")
        return self._folder / tag / session
