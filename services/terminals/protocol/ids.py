"""Session ids: one canonical form, strict parsing, deterministic migration of older forms.

Canonical: ``session_{timestamp}_{random}`` with the timestamp in Unix milliseconds (13
digits) and 9 to 32 characters of ``[a-z0-9]``.

Older clients present other forms. Each maps to one canonical id, always the same one, so
that a session opened under an old id is found again without any table:

============================  ==========================================
legacy form                   becomes
============================  ==========================================
UUID                          ``session_0000000000000_{hash}``
``session-{ms}-{random}``     ``session_{ms}_{hash}``
``terminal_{ms}[_{random}]``  ``session_{ms}_{hash}``
``{ms}`` (13 digits)          ``session_{ms}_{hash}``
============================  ==========================================

``{hash}`` is the first 24 hexadecimal digits of the SHA-256 of the legacy id in lower case.

Where several hosts know of each other, the random part of a new id begins with the tag of the host that it
was made at, four characters, and a check character: a shell lives and dies where it was started, so the id
says for ever where it is to be found.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

MAX_RAW_LENGTH = 128
"""Longer ids are refused unread, so that no message can make us hash megabytes."""

_CANONICAL = re.compile(r"session_\d{13}_[a-z0-9]{9,32}", re.ASCII)
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.ASCII)
_LEGACY = (
    re.compile(r"session-(?P<ms>\d{13})-[a-z0-9]{1,32}", re.ASCII),
    re.compile(r"terminal_(?P<ms>\d{13})(?:_[a-z0-9]{1,32})?", re.ASCII),
    re.compile(r"(?P<ms>\d{13})", re.ASCII),
)
_ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz"
_VALUES = {character: value for value, character in enumerate(_ALPHABET)}
_TAG = re.compile(r"[a-z0-9]{4}", re.ASCII)
_HEAD = slice(len("session_0000000000000_"), len("session_0000000000000_") + 5)
_ABSENT = frozenset({"", "null", "undefined"})


class Origin(Enum):
    """Where a session id came from."""

    NEW = "new"
    CANONICAL = "canonical"
    MIGRATED = "migrated"


class InvalidSessionId(ValueError):
    """The presented id is neither canonical nor a documented legacy form."""


@dataclass(frozen=True, slots=True)
class SessionId:
    """A canonical id and where it came from."""

    value: str
    origin: Origin


def new_session_id(
    tag: str = "", *, clock: Callable[[], float] = time.time, token: Callable[[], str] | None = None
) -> SessionId:
    """Make a fresh id, at the host of that tag. ``clock`` returns Unix seconds; ``token`` returns 9-32
    characters of [a-z0-9]."""
    random = token() if token else _token()
    head = tag + check_character(tag) if tag else ""
    return SessionId(f"session_{int(clock() * 1000):013d}_{head}{random}", Origin.NEW)


def is_tag(text: str) -> bool:
    """Whether a host may be known by it: four characters of [a-z0-9]."""
    return _TAG.fullmatch(text) is not None


def check_character(tag: str) -> str:
    """What follows a tag in ids: by ISO/IEC 7064, MOD 37,36, which finds one wrong character and two that
    have changed places. One in 36 ids without a tag looks as if it had one."""
    rest = 36
    for character in tag:
        rest = ((rest + _VALUES[character]) % 36 or 36) * 2 % 37
    return _ALPHABET[(37 - rest) % 36]


def tag_of(canonical: str) -> str | None:
    """The tag of the host that a canonical id was made at; ``None`` where it does not say."""
    head = canonical[_HEAD]
    return head[:4] if head[4:] == check_character(head[:4]) else None


def parse_session_id(
    raw: object, *, owner: str = "", tag: str = "", clock: Callable[[], float] = time.time
) -> SessionId:
    """Turn what a client presented into a canonical id.

    ``None``, the empty string and the words ``null`` and ``undefined`` (what careless
    JavaScript makes of an absent id) give a new session, at the host with ``tag``. What a legacy form stands
    for is another id for each ``owner``.

    Raises:
        InvalidSessionId: for any other value that is not canonical and not a legacy form.
    """
    if raw is None:
        return new_session_id(tag, clock=clock)
    if not isinstance(raw, str):
        raise InvalidSessionId(f"a session id is a string or null, not {type(raw).__name__}")
    if len(raw) > MAX_RAW_LENGTH:
        raise InvalidSessionId(f"a session id has at most {MAX_RAW_LENGTH} characters, not {len(raw)}")
    if raw in _ABSENT:
        return new_session_id(tag, clock=clock)
    if _CANONICAL.fullmatch(raw):
        return SessionId(raw, Origin.CANONICAL)
    legacy = raw.lower()
    if _UUID.fullmatch(legacy):
        return SessionId(f"session_{'0' * 13}_{_digest(legacy, owner)}", Origin.MIGRATED)
    for form in _LEGACY:
        if match := form.fullmatch(legacy):
            return SessionId(f"session_{match['ms']}_{_digest(legacy, owner)}", Origin.MIGRATED)
    raise InvalidSessionId(f"{raw!a} is not a session id: expected session_<13 digits>_<9-32 of a-z0-9>")


def is_canonical(raw: str) -> bool:
    """Whether ``raw`` is already in the canonical form."""
    return _CANONICAL.fullmatch(raw) is not None


def _token() -> str:
    # One draw: a system call for each character would be a tenth of the time that an attach takes.
    number = secrets.randbelow(len(_ALPHABET) ** 16)
    characters = []
    for _ in range(16):
        number, index = divmod(number, len(_ALPHABET))
        characters.append(_ALPHABET[index])
    return "".join(characters)


def _digest(legacy: str, owner: str) -> str:
    whole = f"{owner}\n{legacy}" if owner else legacy
    return hashlib.sha256(whole.encode()).hexdigest()[:24]
