"""Who may connect: the address they come from, the page they come with, what they present."""

from __future__ import annotations

import collections
import hashlib
import hmac
import ipaddress
import os
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from terminals import tickets
from terminals.control.answers import Front

FAILURES: Final = 10
"""Different wrong credentials that an address may present in a row ..."""
FORGIVEN_SECONDS: Final = 6.0
"""... and the time after which one of them is forgiven."""
_ADDRESSES: Final = 4096


class Denied(Exception):
    """Wrong or missing credentials. The text may be told to whoever presented them."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who somebody is. ``user`` is empty for a holder of the token, who may do everything."""

    user: str = ""
    session: str | None = None
    """The only session they may open; ``None``: any of their own."""
    renewed: str | None = None
    """The ticket to come back with."""
    read_only: bool = False
    """They may look on, not type."""
    life: int = 0
    """Seconds that each of their tickets lives; 0: they have none."""
    born: int = 0
    """When the first of their tickets was issued, in Unix ms."""
    role: tickets.Role = "operator"
    until: int = 0
    """Unix seconds past which they are nobody any more; 0: there is no such end."""
    ends: int = 0
    """Unix seconds past which what they came with is not good any more; 0: it was the token."""

    @property
    def everyone(self) -> bool:
        """Whether sessions are theirs that somebody else has begun."""
        return self.role != "user"


class FailureLimit:
    """Slows down guessing: an address that has tried too many is not heard for a while.

    Only different credentials are counted: a client that keeps presenting the one it has, out
    of date, does not guess. Times are monotonic seconds. Remembers the latest 4,096 addresses.
    """

    def __init__(self, burst: int = FAILURES, forgiven_seconds: float = FORGIVEN_SECONDS) -> None:
        self._burst = burst
        self._forgiven_seconds = forgiven_seconds
        self._tried: collections.OrderedDict[str, collections.OrderedDict[bytes, float]]
        self._tried = collections.OrderedDict()

    def failed(self, address: str, credential: str, now: float) -> None:
        """A wrong credential came from ``address``."""
        tried = self._tried.setdefault(address, collections.OrderedDict())
        self._tried.move_to_end(address)
        digest = hashlib.sha256(credential.encode("utf-8", "surrogatepass")).digest()
        if digest not in tried:
            last = next(reversed(tried.values()), now)
            tried[digest] = max(now, last) + self._forgiven_seconds
        while len(tried) > self._burst:
            tried.popitem(last=False)
        while len(self._tried) > _ADDRESSES:
            self._tried.popitem(last=False)

    def wait(self, address: str, now: float) -> float:
        """Seconds until ``address`` is heard again; 0 when it is."""
        tried: Mapping[bytes, float] = self._tried.get(address, {})
        waiting = [until for until in tried.values() if until > now]
        return waiting[0] - now if len(waiting) >= self._burst else 0.0


def _identity(granted: tickets.Ticket, *, renewed: str | None = None, life: int = 0) -> Identity:
    return Identity(
        granted.user,
        granted.session,
        renewed,
        granted.read_only or granted.role == "viewer",
        life,
        granted.born,
        granted.role,
        granted.until,
        granted.ends,
    )


def _ticket(identity: Identity) -> tickets.Ticket:
    return tickets.Ticket(
        identity.user,
        identity.session,
        read_only=identity.read_only,
        born=identity.born,
        role=identity.role,
        until=identity.until,
    )


def make_token(path: Path) -> None:
    """Write a new random token for its owner only; one that is there stays.

    Raises:
        OSError: the folder is not there or cannot be written.
    """
    if path.exists():
        return
    # Under another name first: a process that starts meanwhile must not read half of it.
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "w") as file:
        file.write(f"{secrets.token_urlsafe(32)}\n")
    temporary.replace(path)


class Access:
    """Decides for one process. ``front`` is what the manager's configuration says of the outside."""

    def __init__(self, token: bytes, front: Front) -> None:
        self._token = token
        self._origins = frozenset(front.allowed_origins)
        self._neighbours = frozenset(urlsplit(place).hostname for place in front.neighbours)
        self._proxies = [ipaddress.ip_network(entry) for entry in front.trusted_proxies]
        self._tls = front.tls
        self._revoked: dict[str, int] = {}
        # Cookies do not know ports: of several environments on a host each has its own name.
        self._cookie = f"terminals-{hmac.digest(token, b'terminals cookie name 1', 'sha256').hex()[:8]}"
        self.limit = FailureLimit()

    def revoke(self, users: Mapping[str, int]) -> None:
        """By user: tickets that were first issued before that, in Unix ms, are good for nothing any more."""
        self._revoked.update(users)

    def revoked(self, user: str, born: int) -> bool:
        """Whether a user's tickets, the first issued at ``born``, are good for nothing any more."""
        return born < self._revoked.get(user or tickets.NAMELESS, 0)

    def address(self, peer: str, forwarded: Iterable[str]) -> str:
        """Where a connection really comes from.

        ``forwarded`` are the values of X-Forwarded-For. They are believed only as far as
        trusted proxies have written them: the last address that none of those has.
        """
        hops = [part.strip() for value in forwarded for part in value.split(",")]
        found = peer
        while hops and self._trusted(found):
            candidate = hops.pop()
            try:
                found = str(ipaddress.ip_address(candidate))
            except ValueError:
                break  # a proxy that writes what is no address knows no better one
        return found

    def page_allowed(self, origin: str | None, host: str) -> bool:
        """Whether a page of ``origin`` may open terminals; programs other than browsers send none.

        With a configured list, exactly those origins; without one, pages of the same host, and of those that
        send their visitors on to this one.
        """
        if origin is None:
            return True
        if self._origins:
            return origin in self._origins
        try:
            name = urlsplit(origin).hostname
            return name in self._neighbours or name == urlsplit(f"//{host}").hostname
        except ValueError:
            return False

    def same_page(self, origin: str | None, host: str, *, secure: bool) -> bool:
        """Whether a page of ``origin`` may do what its visitor's cookie allows: other ports of this host get
        the cookie, too, and perhaps its pages without TLS. Origins that are configured may not: theirs are
        tickets."""
        if origin is None or (secure and not origin.lower().startswith("https:")):
            return False
        scheme, _, place = origin.lower().partition("://")
        port = {"http": ":80", "https": ":443"}.get(scheme, "")
        own = host.lower().removesuffix(port)
        return bool(own) and own == place.removesuffix(port)

    def secure(self, peer: str, forwarded: str | None) -> bool:
        """Whether a browser speaks TLS, here or to a trusted proxy, which has written X-Forwarded-Proto."""
        return self._tls or (forwarded == "https" and self._trusted(peer))

    def cookie_name(self, *, secure: bool, purpose: str = "") -> str:
        """What the cookie of those is called that have signed in, or one for another ``purpose``; ``secure``:
        by TLS."""
        name = f"{self._cookie}-{purpose}" if purpose else self._cookie
        return f"__Host-{name}" if secure else name

    def cookie(self, headers: Iterable[str], *, secure: bool, purpose: str = "") -> str | None:
        """The cookie among the values of Cookie headers. By TLS only the one counts that nobody can have set
        without."""
        pairs = [part.strip().partition("=") for value in headers for part in value.split(";")]
        return {name: value for name, _, value in pairs}.get(self.cookie_name(secure=secure, purpose=purpose))

    def identify(
        self, token: str | None, ticket: str | None, cookie: str | None = None, program: str | None = None
    ) -> Identity:
        """Check what was presented: the first of the ticket, the token and the cookie that is there.

        ``program``: what the token's holder calls itself, where it is no person.

        Raises:
            Denied: nothing, or it is not good.
        """
        if ticket is not None:
            granted = self._granted(ticket, tickets.TICKET)
            return _identity(granted, renewed=self.renew(granted), life=granted.life)
        if token is None and cookie is not None:
            return _identity(self._granted(cookie, tickets.COOKIE))
        if token is None:
            raise Denied("not signed in")
        if not hmac.compare_digest(token.encode("utf-8", "replace"), self._token):
            raise Denied("wrong token")
        return Identity(f"{tickets.PROGRAM}{program}" if program else "")

    def _granted(self, text: str, audience: tickets.Audience) -> tickets.Ticket:
        try:
            granted = tickets.read(self._token, text, audience=audience)
        except tickets.BadTicket as error:
            raise Denied(str(error)) from None
        if self.revoked(granted.user, granted.born):
            raise Denied("the ticket was revoked")
        return granted

    def renew(self, granted: tickets.Ticket) -> str:
        """The ticket to come back with, for whoever came with one."""
        return tickets.issue(self._token, granted, seconds=granted.life)

    def sign_in(self, identity: Identity, *, seconds: int) -> str:
        """A cookie for somebody, good for so long."""
        return tickets.issue(self._token, _ticket(identity), seconds=seconds, audience=tickets.COOKIE)

    def pass_on(self, identity: Identity) -> str:
        """A ticket by which somebody who has signed in here is the same to another host, if they go there
        within a minute."""
        return tickets.issue(self._token, _ticket(identity))

    def _trusted(self, address: str) -> bool:
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(parsed in network for network in self._proxies)
