"""Who asks: a holder of the token, or a browser that has signed in with the token, a ticket or a link.

The browser keeps a cookie that its scripts cannot read, that pages of other sites do not get sent, and that
says who its visitor is, and no secret of this environment.
"""

from __future__ import annotations

import logging
import math
import time
from dataclasses import replace

from aiohttp import web

from terminals.access import Access, Denied, Identity
from terminals.web import security

log = logging.getLogger("terminals.web")

SIGNED_IN_SECONDS = 12 * 3600
"""A cookie is good for so long ..."""
RENEWED = 0.5
"""... and with less than this share of it left a visitor who is here gets the next."""
OURS = "X-Terminals"
"""A header that requests of our page carry: no other site's page can have a browser add it."""


class Refused(Exception):
    """A request is not answered; ``status``, ``headers`` and ``more`` of the body are for the HTTP answer."""

    def __init__(self, status: int, text: str, headers: dict[str, str] | None = None, **more: object) -> None:
        super().__init__(text)
        self.status = status
        self.headers = headers or {}
        self.more = more


class Visitors:
    """Tells visitors from each other, and lets them in and out."""

    def __init__(self, access: Access) -> None:
        self._access = access

    def address(self, request: web.Request) -> str:
        """Where a request really comes from."""
        return self._access.address(request.remote or "", request.headers.getall("X-Forwarded-For", []))

    def who(self, request: web.Request) -> Identity:
        """Who asks.

        Raises:
            Refused: nobody who is known, or a page of another site in a visitor's name.
        """
        presented = security.bearer(request.headers.get("Authorization"))
        if presented is not None:
            try:
                return self._tried(request, presented, None)
            except Denied:
                raise _unauthorized() from None
        cookie = self._cookie(request)
        if cookie is None:
            raise _unauthorized()
        try:
            identity = self._access.identify(None, None, cookie)
        except Denied as error:  # one that has ended is no guess
            raise _unauthorized(str(error)) from None
        if request.method not in ("GET", "HEAD"):
            self._only_ours(request)
        return identity

    def may_come(self, request: web.Request) -> None:
        """Look at somebody who wants to sign in, before anything else of the request is read.

        Raises:
            Refused: the page of another site asks, or one who guesses.
        """
        self._only_ours(request)
        self.listen(request)

    def sign_in(self, request: web.Request, credential: str) -> tuple[Identity, web.Response]:
        """Let somebody in with the token, a ticket or a link's; who that is, and an answer with the cookie.

        Raises:
            Refused: it is neither.
        """
        ticket = credential if credential.count(".") == 2 else None
        try:
            identity = self._tried(request, None if ticket else credential, ticket)
        except Denied as error:
            raise _unauthorized(str(error)) from None
        # Of a cookie that has just been made nobody can have been robbed before.
        identity = replace(identity, born=identity.born or int(time.time() * 1000))
        response = web.json_response(described(identity))
        self.let_in(request, response, identity)
        return identity, response

    def sign_out(self, request: web.Request) -> web.Response:
        """Take the cookie back.

        Raises:
            Refused: the page of another site asks.
        """
        self._only_ours(request)
        response = web.json_response({"user": ""})
        for secure in (False, True):
            name = self._access.cookie_name(secure=secure)
            response.del_cookie(name, path="/", secure=secure, httponly=True, samesite="Strict")
        return response

    def renew(self, request: web.Request, response: web.Response, identity: Identity) -> None:
        """Give the next cookie to somebody who has come with one, once that has half its life behind it."""
        signed_in = security.bearer(request.headers.get("Authorization")) is None
        left = identity.ends - time.time()
        if signed_in and left < RENEWED * SIGNED_IN_SECONDS and identity.ends != identity.until:
            self.let_in(request, response, identity)

    def pass_on(self, identity: Identity) -> str:
        """See :meth:`Access.pass_on`."""
        return self._access.pass_on(identity)

    def _cookie(self, request: web.Request) -> str | None:
        return self._access.cookie(request.headers.getall("Cookie", []), secure=self.secure(request))

    def secure(self, request: web.Request) -> bool:
        """Whether the browser speaks TLS, to us or to a proxy that is trusted."""
        return self._access.secure(request.remote or "", request.headers.get("X-Forwarded-Proto"))

    def let_in(self, request: web.Request, response: web.Response, identity: Identity) -> None:
        """Give somebody the cookie."""
        secure = self.secure(request)
        response.set_cookie(
            self._access.cookie_name(secure=secure),
            self._access.sign_in(identity, seconds=SIGNED_IN_SECONDS),
            path="/",
            max_age=SIGNED_IN_SECONDS,
            secure=secure,
            httponly=True,
            samesite="Strict",
        )

    def _tried(self, request: web.Request, token: str | None, ticket: str | None) -> Identity:
        address = self.listen(request)
        try:
            return self._access.identify(token, ticket)
        except Denied:
            self.guessed(request, token or ticket or "")
            log.info("%s presented a wrong credential", address)
            raise

    def guessed(self, request: web.Request, credential: str) -> None:
        """Count a wrong credential."""
        self._access.limit.failed(self.address(request), credential, time.monotonic())

    def listen(self, request: web.Request) -> str:
        """Where somebody presents something from.

        Raises:
            Refused: they guess.
        """
        address = self.address(request)
        if wait := self._access.limit.wait(address, time.monotonic()):
            raise Refused(429, "too many wrong credentials", {"Retry-After": str(math.ceil(wait))})
        return address

    def _only_ours(self, request: web.Request) -> None:
        origin = request.headers.get("Origin")
        host, secure = request.headers.get("Host", ""), self.secure(request)
        strange = origin is not None and not self._access.same_page(origin, host, secure=secure)
        if OURS not in request.headers or strange:
            raise Refused(403, f"only this server's own page may ask that, with {OURS}")


def described(identity: Identity) -> dict[str, object]:
    """What a page is told of its visitor."""
    return {
        "user": identity.user,
        "role": identity.role,
        "session": identity.session,
        "read_only": identity.read_only,
        "until": identity.until or None,
    }


def _unauthorized(text: str = "unauthorized") -> Refused:
    # By the last, a page tells this from the answer of a build that knows no cookies.
    return Refused(401, text, {"WWW-Authenticate": security.CHALLENGE}, sign_in="api/sign-in")
