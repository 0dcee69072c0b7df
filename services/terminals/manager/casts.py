"""The recordings that are kept: files in a folder, and what is known of each."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import msgspec

from terminals.control.answers import RecordingInfo
from terminals.recordings.asciicast import MOST_HEADER, TAIL, Header, last_mark, read_header

log = logging.getLogger("terminals.manager")

ROOM: Final = 1 << 20
"""With less than that of the disk left nothing more is begun to be recorded."""
_ID = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True, slots=True)
class RecordingRules:
    """What the configuration says of recordings. Sizes in bytes, times in seconds."""

    when_lost: Literal["refuse", "end", "notify"] = "refuse"
    """What becomes of sessions that are to be recorded and cannot be: ``refuse``: none begins, and those that
    run go on; ``end``: none begins, and those that run are ended; ``notify``: they begin, and go on."""
    lost_seconds: float = 10.0
    """A recorder that has not recorded for so long is lost."""
    max_recording_bytes: int = 100 << 20
    """Of one; 0: no limit."""
    max_bytes: int = 1 << 30
    """Of all; the oldest go first, and one that goes on is not touched. 0: no limit."""
    max_age_seconds: float = 30 * 86400.0
    """One that began longer ago is removed when it is over; 0: never."""


class NoSuchRecording(ValueError):
    """There is none of that id."""


class Casts:
    """The recordings by id, in the order in which they began."""

    def __init__(self, folder: Path, rules: RecordingRules) -> None:
        self._folder = folder
        self._rules = rules
        self._infos: dict[str, RecordingInfo] = {}

    def examine(self) -> list[RecordingInfo]:
        """What the files say; may be called in a thread."""
        found: list[RecordingInfo] = []
        for path in self._folder.glob("*.cast"):
            try:
                info = _examined(path)
            except OSError as error:
                log.warning("the recording %s: %s", path, error.strerror)
                continue
            if info is None:
                log.warning("%s is no recording of ours, and is left alone", path)
            else:
                found.append(info)
        return found

    def take(self, found: Iterable[RecordingInfo]) -> None:
        """Know of those, too. Of one that has been begun or gone on with meanwhile more is known already."""
        older = {info.id: info for info in sorted(found, key=lambda info: info.created)}
        self._infos = {**older, **self._infos}

    @property
    def all(self) -> list[RecordingInfo]:
        """Every one, the oldest first."""
        return list(self._infos.values())

    @property
    def bytes(self) -> int:
        """Of all of them."""
        return sum(info.bytes for info in self._infos.values())

    def find(self, name: str) -> RecordingInfo | None:
        """What is known of one, if there is one."""
        return self._infos.get(name)

    def get(self, name: str) -> RecordingInfo:
        """What is known of one.

        Raises:
            NoSuchRecording: there is none.
        """
        try:
            return self._infos[name]
        except KeyError:
            raise NoSuchRecording(f"no recording {name[:64]!r}") from None

    def write(self, name: str, header: Header) -> int:
        """A descriptor of one that is to be written, or gone on with.

        Raises:
            OSError: it cannot be opened.
        """
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        fd = os.open(self._path(name), flags, 0o600)
        before = self._infos.get(name)
        if before is None:
            self._infos[name] = _info(name, header, size=0, elapsed=0, state="running")
        else:
            self._infos[name] = msgspec.structs.replace(before, state="running")
        return fd

    def read(self, name: str) -> tuple[RecordingInfo, int]:
        """One, and a descriptor of its file, to read only.

        Raises:
            NoSuchRecording: there is none.
            OSError: it cannot be opened.
        """
        return self.get(name), os.open(self._path(name), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)

    def grown(self, name: str, size: int, elapsed: int) -> None:
        """One has ``size`` whole bytes; its latest event is ``elapsed`` microseconds after its beginning."""
        if info := self._infos.get(name):
            self._infos[name] = msgspec.structs.replace(info, bytes=size, seconds=elapsed / 1e6)

    def over(self, name: str, state: Literal["ended", "full", "cut"]) -> None:
        """Nothing more is recorded into one."""
        if info := self._infos.get(name):
            self._infos[name] = msgspec.structs.replace(info, state=state)

    def remove(self, name: str) -> None:
        """Remove one that is over.

        Raises:
            NoSuchRecording: there is none.
            ValueError: it goes on.
            OSError: it cannot be removed.
        """
        if self.get(name).state == "running":
            raise ValueError(f"{name} is still being recorded")
        self._path(name).unlink(missing_ok=True)
        del self._infos[name]

    def sweep(self, now: float) -> None:
        """Keep within the limits of age and size. ``now``: Unix seconds.

        Raises:
            OSError: one cannot be removed.
        """
        rules, left = self._rules, self.bytes
        for info in sorted(self.all, key=lambda info: info.created):
            old = rules.max_age_seconds and info.created < now - rules.max_age_seconds
            if info.state != "running" and (old or (rules.max_bytes and left > rules.max_bytes)):
                log.info(
                    "the recording %s of %s is removed: %s",
                    info.id,
                    info.session,
                    "its age" if old else "no room",
                )
                self.remove(info.id)
                left -= info.bytes

    def without_room(self) -> str:
        """Why nothing more can begin to be recorded; empty: it can."""
        most = self._rules.max_bytes
        if most and sum(info.bytes for info in self.all if info.state == "running") >= most:
            return "those that go on have all of recordings.max_bytes"
        try:
            free = os.statvfs(self._folder if self._folder.exists() else self._folder.parent)
        except OSError as error:
            return f"{self._folder}: {error.strerror}"
        return "the disk is full" if free.f_bavail * free.f_frsize < ROOM else ""

    def _path(self, name: str) -> Path:
        if not _ID.fullmatch(name):
            raise NoSuchRecording(f"no recording {name[:64]!r}")
        return self._folder / f"{name}.cast"


def _examined(path: Path) -> RecordingInfo | None:
    """What a file says of itself; ``None``: it is no recording."""
    if not _ID.fullmatch(path.stem):
        return None
    with path.open("rb") as file:
        header = read_header(file.read(MOST_HEADER))
        size = os.fstat(file.fileno()).st_size
        begins = max(0, size - TAIL)
        found = last_mark(os.pread(file.fileno(), TAIL, begins))
    if header is None or found is None:
        return None
    mark, end = found
    state: Literal["ended", "full", "cut"] = "ended" if mark.state == "end" else mark.state or "cut"
    return _info(path.stem, header, size=begins + end, elapsed=mark.elapsed, state=state)


def _info(
    name: str,
    header: Header,
    *,
    size: int,
    elapsed: int,
    state: Literal["running", "ended", "full", "cut"],
) -> RecordingInfo:
    about = header.terminals
    return RecordingInfo(
        id=name,
        session=about.session,
        user=about.user,
        profile=about.profile,
        title=header.title,
        created=header.timestamp,
        bytes=size,
        seconds=elapsed / 1e6,
        required=about.required,
        state=state,
    )
