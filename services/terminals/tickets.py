"""Tickets: the right to open terminals as one user, for a while, without knowing the token.

A ticket is a JSON Web Token signed with a key that is derived from the service's token, so
that every worker of every generation can check it and none has to remember it; what has to be remembered is
which users' tickets were revoked, and when (:mod:`terminals.manager.revocations`). It has to be
presented within a short time; a server that has accepted it hands out the next one, which
lives longer, so that its holder can come back after a lost connection.
"""

from __future__ import annotations

import hmac
import time
from dataclasses import dataclass
from typing import Any, Final

SECONDS: Final = 60
"""How long a ticket may wait for its first use."""
LIFE: Final = 24 * 3600
"""How long its holder may be away and still come back."""
MAX_SECONDS: Final = 7 * 24 * 3600
MAX_USER: Final = 64
_ALGORITHM: Final = "HS256"
_AUDIENCE: Final = "terminals"


class BadTicket(Exception):
    """Not signed by us, expired, or incomplete. The text does not say more than its holder may know."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """What a ticket grants. ``session``: only this one, by its id; ``None``: any of the user's own."""

    user: str
    session: str | None = None
    life: int = LIFE
    read_only: bool = False
    """Its holder may look on, not type."""
    born: int = 0
    """When the first of those that were renewed into it was issued, in Unix ms; 0: it is the first."""


def issue(token: bytes, ticket: Ticket, *, seconds: int = SECONDS) -> str:
    """Sign a ticket that has to be presented within ``seconds``.

    Raises:
        ValueError: no user name, or one that is too long or cannot be printed, or a time out of range.
    """
    check_user(ticket.user)
    if not (0 < seconds <= MAX_SECONDS and 0 < ticket.life <= MAX_SECONDS):
        raise ValueError(f"a ticket lives 1 to {MAX_SECONDS} seconds")
    import jwt  # by the first ticket: where nobody uses any, no process carries it

    claims: dict[str, Any] = {
        "aud": _AUDIENCE,
        "sub": ticket.user,
        "exp": int(time.time()) + seconds,
        "life": ticket.life,
        "born": ticket.born or int(time.time() * 1000),
    }
    if ticket.session is not None:
        claims["session"] = ticket.session
    if ticket.read_only:
        claims["read_only"] = True
    return jwt.encode(claims, _key(token), _ALGORITHM)


def check_user(name: str) -> None:
    """Look at the name of a user.

    Raises:
        ValueError: empty, too long, or it cannot be printed.
    """
    if not name or len(name) > MAX_USER or not name.isprintable():
        raise ValueError(f"a user name has 1 to {MAX_USER} printable characters")


def read(token: bytes, text: str) -> Ticket:
    """Check a ticket's signature and time.

    Raises:
        BadTicket: it is not one of ours, or not any more.
    """
    import jwt

    try:
        claims = jwt.decode(
            text,
            _key(token),
            algorithms=[_ALGORITHM],
            audience=_AUDIENCE,
            options={"require": ["exp", "sub", "aud"]},
        )
    except jwt.ExpiredSignatureError:
        raise BadTicket("the ticket has expired") from None
    except (jwt.InvalidTokenError, ValueError):
        raise BadTicket("the ticket is not valid") from None
    session, life, born = claims.get("session"), claims.get("life", LIFE), claims.get("born", 0)
    sound = isinstance(session, str | None) and isinstance(life, int) and isinstance(born, int)
    if not sound or not claims["sub"]:
        raise BadTicket("the ticket is not valid")
    return Ticket(claims["sub"], session, life, claims.get("read_only") is not None, born)


def _key(token: bytes) -> bytes:
    # Not the token itself: a ticket must not help anybody to guess it offline more easily.
    return hmac.digest(token, b"terminals ticket key 1", "sha256")
