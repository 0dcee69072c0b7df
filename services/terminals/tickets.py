"""Tickets: the right to open terminals as one user, for a while, without knowing the token.

A ticket is a JSON Web Token signed with a key that is derived from the service's token, so
that every worker of every generation can check it and none has to remember it; what has to be remembered is
which users' tickets were revoked, and when (:mod:`terminals.manager.revocations`). It has to be
presented within a short time; a server that has accepted it hands out the next one, which
lives longer, so that its holder can come back after a lost connection.

What a browser that has signed in keeps as a cookie is made in the same way, for another audience: neither
is good in the other's place.
"""

from __future__ import annotations

import hmac
import time
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

SECONDS: Final = 60
"""How long a ticket may wait for its first use."""
LIFE: Final = 24 * 3600
"""How long its holder may be away and still come back."""
MAX_SECONDS: Final = 7 * 24 * 3600
MAX_USER: Final = 64
PROGRAM: Final = "~"
"""What the names of users begin with that are no people: a rollout's load, a shared link."""
Role = Literal["user", "viewer", "operator", "guest"]
"""user: has sessions of their own. viewer: looks on at everybody's. operator: may do what the token's holder
may. guest: has a link to one session that is there, whosever it is."""
NAMELESS: Final = f"{PROGRAM}operators"
"""By this name those are revoked who have signed in with the token, or with a ticket that names nobody."""
Audience = Literal["terminals", "terminals-cookie"]
TICKET: Final = "terminals"
COOKIE: Final = "terminals-cookie"
_LINK: Final = "terminals-link"
"""Of a guest's ticket: a build that knows no guests must not take it for a user's."""
_ALGORITHM: Final = "HS256"
_ROLES: Final = get_args(Role)


class BadTicket(Exception):
    """Not signed by us, expired, or incomplete. The text does not say more than its holder may know."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """What a ticket grants. ``session``: only this one, by its id; ``None``: any that the role allows."""

    user: str
    session: str | None = None
    life: int = LIFE
    read_only: bool = False
    """Its holder may look on, not type."""
    born: int = 0
    """When the first of those that were renewed into it was issued, in Unix ms; 0: it is the first."""
    role: Role = "user"
    until: int = 0
    """Unix seconds past which none that it is renewed into is good; 0: there is no such end."""
    ends: int = 0
    """Unix seconds past which it is not good itself; set by :func:`read`."""


def issue(token: bytes, ticket: Ticket, *, seconds: int = SECONDS, audience: Audience = TICKET) -> str:
    """Sign a ticket that has to be presented within ``seconds``.

    Raises:
        ValueError: no user name, or one that is too long or cannot be printed, no such role, or a time out
            of range.
    """
    if ticket.user or ticket.role != "operator":  # the token's holder need not have a name
        check_user(ticket.user)
    if ticket.role not in _ROLES:
        raise ValueError(f"a role is one of {', '.join(_ROLES)}")
    if not (0 < seconds <= MAX_SECONDS and 0 < ticket.life <= MAX_SECONDS):
        raise ValueError(f"a ticket lives 1 to {MAX_SECONDS} seconds")
    import jwt  # by the first ticket: where nobody uses any, no process carries it

    end = int(time.time()) + seconds
    claims: dict[str, Any] = {
        "aud": _audiences(audience)[ticket.role == "guest"],
        "sub": ticket.user,
        "exp": min(end, ticket.until or end),
        "life": ticket.life,
        "born": ticket.born or int(time.time() * 1000),
    }
    if ticket.session is not None:
        claims["session"] = ticket.session
    if ticket.read_only or ticket.role == "viewer":  # said, too, to builds that know no roles
        claims["read_only"] = True
    if ticket.role != "user":
        claims["role"] = ticket.role
    if ticket.until:
        claims["until"] = ticket.until
    return jwt.encode(claims, _key(token), _ALGORITHM)


def check_user(name: str) -> None:
    """Look at the name of a user.

    Raises:
        ValueError: empty, too long, or it cannot be printed.
    """
    if not name or len(name) > MAX_USER or not name.isprintable():
        raise ValueError(f"a user name has 1 to {MAX_USER} printable characters")


def check_person(name: str) -> None:
    """Look at the name of a user that is to be a person's.

    Raises:
        ValueError: as :func:`check_user`, or it is a program's.
    """
    check_user(name)
    if not is_person(name):
        raise ValueError(f"names that begin with {PROGRAM} are not people's")


def is_person(name: str) -> bool:
    """Whether this is no program's name."""
    return not name.startswith(PROGRAM)


def guest(link: str) -> str:
    """The user who comes by a link of this id."""
    return f"{PROGRAM}link-{link}"


def read(token: bytes, text: str, *, audience: Audience = TICKET) -> Ticket:
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
            audience=_audiences(audience),
            options={"require": ["exp", "sub", "aud"]},
        )
    except jwt.ExpiredSignatureError:
        raise BadTicket("the ticket has expired") from None
    except (jwt.InvalidTokenError, ValueError):
        raise BadTicket("the ticket is not valid") from None
    user, session, role = claims["sub"], claims.get("session"), claims.get("role", "user")
    numbers = [claims.get("life", LIFE), claims.get("born", 0), claims.get("until", 0)]
    sound = isinstance(session, str | None) and all(isinstance(number, int) for number in numbers)
    sound = sound and claims["aud"] == _audiences(audience)[role == "guest"]
    if not sound or role not in _ROLES or not (user or role == "operator"):
        raise BadTicket("the ticket is not valid")
    life, born, until = numbers
    read_only = claims.get("read_only") is not None
    return Ticket(user, session, life, read_only, born, role, until, int(claims["exp"]))


def _audiences(audience: Audience) -> tuple[str, str]:
    """Of everybody but guests, and of guests."""
    return audience, audience if audience == COOKIE else _LINK


def _key(token: bytes) -> bytes:
    # Not the token itself: a ticket must not help anybody to guess it offline more easily.
    return hmac.digest(token, b"terminals ticket key 1", "sha256")
