"""A sign-in that is under way: all that the way back needs, in a cookie of the browser that has begun it.

The cookie is a random name, signed. What only we may know (the verifier of PKCE) and what is compared on the
way back (state, nonce) is derived from that name with our key, neither in the browser nor in our memory.
"""

from __future__ import annotations

import base64
import hmac
import secrets
import time
from dataclasses import dataclass, field
from typing import Final

SECONDS: Final = 600
"""So long somebody may take at the provider."""
_AUDIENCE: Final = "terminals-oidc"
_ALGORITHM: Final = "HS256"


class BadFlow(Exception):
    """Not begun by us, or too long ago."""


@dataclass(frozen=True, slots=True)
class Flow:
    """One sign-in. ``page``: the address of the page that it was begun at."""

    page: str
    state: str
    nonce: str
    verifier: str = field(repr=False)
    cookie: str = field(repr=False)


def begin(token: bytes, page: str) -> Flow:
    """A new one; ``token`` is the environment's."""
    import jwt

    name = secrets.token_urlsafe(16)
    claims = {"aud": _AUDIENCE, "sub": name, "page": page, "exp": int(time.time()) + SECONDS}
    return _flow(token, name, page, jwt.encode(claims, _key(token), _ALGORITHM))


def resume(token: bytes, cookie: str) -> Flow:
    """The one that a cookie is of.

    Raises:
        BadFlow: of none of ours, or of one that has taken too long.
    """
    import jwt

    try:
        claims = jwt.decode(
            cookie,
            _key(token),
            algorithms=[_ALGORITHM],
            audience=_AUDIENCE,
            options={"require": ["exp", "sub", "aud"]},
        )
        return _flow(token, str(claims["sub"]), str(claims["page"]), cookie)
    except (jwt.InvalidTokenError, KeyError, ValueError) as error:
        raise BadFlow(str(error)) from None


def _flow(token: bytes, name: str, page: str, cookie: str) -> Flow:
    key = _key(token)

    def derived(what: str) -> str:
        digest = hmac.digest(key, f"{what} {name}".encode(), "sha256")
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()

    return Flow(page, derived("state"), derived("nonce"), derived("verifier"), cookie)


def _key(token: bytes) -> bytes:
    return hmac.digest(token, b"terminals oidc key 1", "sha256")
