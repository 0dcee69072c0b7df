"""What of files a profile allows, and what a file may be called."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import Any, Final

from terminals.configfile import refuse_unknown
from terminals.protocol.transfer import MAX_BYTES, Grant

MAX_NAME: Final = 200
"""Bytes of a name, in UTF-8; a number may be added to it."""
_SUFFIX: Final = 20
NAMELESS: Final = "upload"


@dataclass(frozen=True, slots=True)
class FileRules:
    """Transfers in a profile's sessions; off unless they are allowed."""

    upload: bool = False
    download: bool = False
    max_bytes: int = 1 << 30
    """Most of one file."""
    at_once: int = 3
    """Uploads of one user, or of a session that is nobody's, at the same time."""
    folder: str | None = None
    """Where uploads go; the current folder of the shell when it is not given."""

    @property
    def on(self) -> bool:
        """Whether anything is allowed."""
        return self.upload or self.download

    def grant(self) -> Grant | None:
        """What a client is told that types there."""
        if not self.on:
            return None
        return Grant(self.upload, self.download, self.max_bytes, self.at_once)


NO_FILES: Final = FileRules()


def read_rules(where: str, raw: Any) -> FileRules:
    """Rules as they are configured; ``where`` is said in errors.

    Raises:
        ValueError: they make no sense.
    """
    if raw is None:
        return NO_FILES
    if not isinstance(raw, dict):
        raise ValueError(f"{where}: an object, or null for no files")
    refuse_unknown(f"{where}.", raw, FileRules.__dataclass_fields__)
    for name in ("upload", "download"):
        if not isinstance(raw.get(name, False), bool):
            raise ValueError(f"{where}.{name} must be true or false")
    for name, most in (("max_bytes", MAX_BYTES), ("at_once", 100)):
        value = raw.get(name, 1)
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
            raise ValueError(f"{where}.{name} must be a whole number from 1 to {most}")
    folder = raw.get("folder")
    if folder is not None and not (isinstance(folder, str) and folder.startswith("/") and "\0" not in folder):
        raise ValueError(f"{where}.folder must be an absolute path")
    return FileRules(**raw)


def safe_name(name: str) -> str:
    """What a file is called that a client calls so: no path, nothing that cannot be seen, not too long.

    Turned text is taken out with the rest of what is invisible: ``exe.gpj`` is not to look like another file.
    """
    last = name.replace("\\", "/").rstrip("/").rpartition("/")[2]
    shown = "".join(
        character
        for character in last
        if unicodedata.category(character)[0] not in "C"
        and unicodedata.category(character) not in ("Zl", "Zp")
    ).strip()
    if shown in ("", ".", ".."):
        return NAMELESS
    if len(shown.encode()) <= MAX_NAME:
        return shown
    stem, dot, suffix = shown.rpartition(".")
    if not stem or len(suffix.encode()) > _SUFFIX:
        stem, dot, suffix = shown, "", ""
    room = MAX_NAME - len((dot + suffix).encode())
    return stem.encode()[:room].decode(errors="ignore") + dot + suffix
