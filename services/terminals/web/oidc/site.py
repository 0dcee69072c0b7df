"""What the web process answers where people may sign in by a provider."""

from __future__ import annotations

import hmac
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Final
from urllib.parse import urlsplit

from aiohttp import web

from terminals.access import Access, Identity
from terminals.control.answers import Oidc
from terminals.web.oidc import flow as flows
from terminals.web.oidc.people import name_of, role_of
from terminals.web.oidc.provider import Provider
from terminals.web.oidc.trouble import NotSignedIn, quoted
from terminals.web.visitors import Refused, Visitors

log = logging.getLogger("terminals.web.oidc")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
UNDER_WAY: Final = "oidc"
CAME_BY: Final = "oidc-by"
"""What cookies are for: a sign-in under way; that somebody has come by the provider, for when they leave."""
_LATER: Final = frozenset({"temporarily_unavailable", "server_error"})
_NOT_NOW: Final = frozenset({"access_denied", "login_required", "consent_required", "interaction_required"})


class ProviderSignIn:
    """Leads people to the provider, and lets them in when they come back."""

    def __init__(self, oidc: Oidc, token: bytes, access: Access, visitors: Visitors) -> None:
        self._oidc = oidc
        self._token = token
        self._access = access
        self._visitors = visitors
        self._provider = Provider(oidc)

    def routes(self) -> dict[tuple[str, str], Handler]:
        """What is open to everybody, by method and path."""
        return {("POST", "/api/oidc"): self.begin, ("GET", "/oidc/callback"): self.callback}

    def described(self) -> dict[str, object]:
        """What a page is told of the provider."""
        return {"label": self._oidc.label or urlsplit(self._oidc.issuer).hostname}

    async def close(self, app: web.Application) -> None:
        """Let go of connections."""
        await self._provider.close()

    async def begin(self, request: web.Request) -> web.Response:
        """Where the browser is to go, for the page at ``?page=ADDRESS``: ``{"location": ...}``, and a cookie
        to come back with."""
        self._visitors.may_come(request)
        page = request.query.get("page", "")
        if page not in self._oidc.public_urls:
            # The provider would send nobody back there, or to where the cookie is not.
            raise Refused(409, f"sign in at {' or '.join(self._oidc.public_urls)}")
        flow = flows.begin(self._token, page)
        try:
            location = await self._provider.authorization_url(flow)
        except NotSignedIn as error:
            log.warning("nobody can sign in by the provider: %s", error)
            raise Refused(503 if error.reason == "unreachable" else 502, error.reason) from None
        response = web.json_response({"location": location})
        # The way back comes from another site: a strict cookie would not be sent with it.
        self._set(request, response, UNDER_WAY, flow.cookie, flows.SECONDS, "Lax")
        return response

    async def callback(self, request: web.Request) -> web.Response:
        """Somebody comes back. They go on to the page, which asks who they are now with a request of its own:
        the strict cookie that they get is not sent with this one's redirect."""
        address = self._visitors.address(request)
        response = web.Response(status=303, headers={"Location": "../"})
        try:
            flow = self._flow(request)
            self._take(request, response, UNDER_WAY)
            identity = await self._identity(request, flow)
        except NotSignedIn as error:
            log.info("%s has not signed in by the provider: %s", address, error)
            response.headers["Location"] = f"../#sign-in={error.reason}"
            return response
        log.info("%s has signed in from %s by the provider, as %s", identity.user, address, identity.role)
        self._visitors.let_in(request, response, identity)
        number = str(self._oidc.public_urls.index(flow.page))
        self._set(request, response, CAME_BY, number, int(self._oidc.session_seconds), "Strict")
        return response

    async def leave(self, request: web.Request, response: web.Response) -> str | None:
        """Where somebody who signs out here signs out at the provider; ``None``: they have not come by it, it
        has no such place, or it does not answer."""
        number = self._cookie(request, CAME_BY)
        if number is None:
            return None
        self._take(request, response, CAME_BY)
        pages = {str(number): page for number, page in enumerate(self._oidc.public_urls)}
        try:
            return await self._provider.leaving_url(pages.get(number, pages["0"]))
        except NotSignedIn as error:
            log.info("nobody can sign out at the provider: %s", error)
            return None

    # --- coming back -----------------------------------------------------------------------

    def _flow(self, request: web.Request) -> flows.Flow:
        """The sign-in that a browser comes back from.

        Raises:
            NotSignedIn: it has begun none, or another one since, or comes back too late.
        """
        cookie = self._cookie(request, UNDER_WAY)
        if cookie is None:
            raise NotSignedIn("stale", "this browser has begun no sign-in, or has finished it")
        try:
            flow = flows.resume(self._token, cookie)
        except flows.BadFlow as error:
            raise NotSignedIn("stale", f"the sign-in is not good any more: {error}") from None
        if flow.page not in self._oidc.public_urls:
            raise NotSignedIn("stale", f"{quoted(flow.page)} is no address of the page any more")
        states = request.query.getall("state", [])
        if len(states) != 1 or not hmac.compare_digest(
            states[0].encode("utf-8", "replace"), flow.state.encode()
        ):
            raise NotSignedIn("stale", "another sign-in than the one that this browser has begun last")
        return flow

    async def _identity(self, request: web.Request, flow: flows.Flow) -> Identity:
        try:
            self._visitors.listen(request)
        except Refused as refused:
            raise NotSignedIn("often", str(refused)) from None
        query = request.query
        await self._provider.check_issuer(query.get("iss"))
        if (error := query.get("error")) is not None:
            raise _refusal(error, query)
        code = query.get("code", "")
        if not code:
            raise NotSignedIn("invalid", "the provider has sent neither a code nor an error")
        try:
            claims = await self._provider.claims(flow, code)
        except NotSignedIn as trouble:
            if trouble.reason == "stale":
                self._visitors.guessed(request, code)
            raise
        now = time.time()
        role = role_of(self._oidc, claims)
        return Identity(
            name_of(self._oidc, claims),
            read_only=role == "viewer",
            born=int(now * 1000),
            role=role,
            until=int(now + self._oidc.session_seconds),
        )

    # --- cookies ---------------------------------------------------------------------------

    def _cookie(self, request: web.Request, purpose: str) -> str | None:
        secure = self._visitors.secure(request)
        return self._access.cookie(request.headers.getall("Cookie", []), secure=secure, purpose=purpose)

    def _set(
        self, request: web.Request, response: web.Response, purpose: str, value: str, seconds: int, site: str
    ) -> None:
        secure = self._visitors.secure(request)
        name = self._access.cookie_name(secure=secure, purpose=purpose)
        response.set_cookie(
            name, value, path="/", max_age=seconds, secure=secure, httponly=True, samesite=site
        )

    def _take(self, request: web.Request, response: web.Response, purpose: str) -> None:
        secure = self._visitors.secure(request)
        name = self._access.cookie_name(secure=secure, purpose=purpose)
        response.del_cookie(name, path="/", secure=secure, httponly=True, samesite="Lax")


def _refusal(error: str, query: Mapping[str, str]) -> NotSignedIn:
    """What an error means that the provider has sent a browser back with."""
    text = f"the provider says {quoted(error)}: {quoted(query.get('error_description', ''))}"
    if error in _LATER:
        return NotSignedIn("unreachable", text)
    return NotSignedIn("denied" if error in _NOT_NOW else "invalid", text)
