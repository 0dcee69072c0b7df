"""The HTTP application. Whatever is not listed as open needs the token."""

from __future__ import annotations

import asyncio
import logging
import math
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from terminals.access import FailureLimit
from terminals.control.framing import pack
from terminals.protocol import ids
from terminals.tickets import Ticket, check_user, issue
from terminals.web import metrics, security
from terminals.web.assets import Assets
from terminals.web.backend import Backend, BackendError, BackendUnavailable, NoSuchSession
from terminals.web.health import Readiness

log = logging.getLogger("terminals.web")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
LISTENER_OF_THIS = "web"
IMMUTABLE = "public, max-age=31536000, immutable"


@dataclass(frozen=True, slots=True)
class WebSettings:
    """What the HTTP service needs to know. ``listeners`` maps listener names to ports."""

    token: bytes = field(repr=False)
    generation: str
    build: str
    listeners: Mapping[str, int]

    @property
    def terminals(self) -> dict[str, int]:
        """The listeners that speak the terminal protocol."""
        return {name: port for name, port in self.listeners.items() if name != LISTENER_OF_THIS}


def build_app(settings: WebSettings, backend: Backend, assets: Assets | None = None) -> web.Application:
    """Put the application together.

    Raises:
        OSError: the package is incomplete.
    """
    site = _Site(settings, backend, assets or Assets.load())
    app = web.Application(middlewares=[site.guard])
    app.on_response_prepare.append(site.harden)
    opened = [
        web.get("/", site.page),
        web.get("/static/{digest}/{name:.+}", site.asset),
        web.get("/health/live", site.live),
        web.get("/health/ready", site.ready),
    ]
    site.open_handlers = frozenset(route.handler for route in opened)
    app.add_routes(opened)
    app.add_routes(
        [
            web.get("/metrics", site.metrics),
            web.get("/api/info", site.info),
            web.get("/api/status", site.status),
            web.get("/api/sessions", site.sessions),
            web.post("/api/tickets", site.ticket),
            web.delete("/api/tickets/{user}", site.revoke),
            web.patch("/api/sessions/{id}", site.rename),
            web.delete("/api/sessions/{id}", site.kill),
        ]
    )
    return app


class _Site:
    def __init__(self, settings: WebSettings, backend: Backend, assets: Assets) -> None:
        self._settings = settings
        self._backend = backend
        self._assets = assets
        self._readiness: Readiness | None = None
        self._limit = FailureLimit()
        self.open_handlers: frozenset[Any] = frozenset()

    # --- around every request ---------------------------------------------------------

    @web.middleware
    async def guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Let through what is open or carries the token; errors become one JSON line."""
        # By handler, not by path: no spelling of a path gets around it, and what does not
        # exist looks the same as what is closed.
        if request.match_info.handler not in self.open_handlers:
            address, now = request.remote or "", time.monotonic()
            presented = request.headers.get("Authorization")
            if presented is not None and (wait := self._limit.wait(address, now)):
                return _error(429, "too many wrong credentials", {"Retry-After": str(math.ceil(wait))})
            if not security.authorized(presented, self._settings.token):
                if presented is not None:
                    self._limit.failed(address, presented, now)
                return _error(401, "unauthorized", {"WWW-Authenticate": security.CHALLENGE})
        try:
            return await handler(request)
        except web.HTTPException as error:
            allow = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
            return _error(error.status, error.reason.lower(), allow)
        except BackendUnavailable as error:
            log.warning("%s %s: %s", request.method, request.path, error)
            return _error(503, "the session manager does not answer")

    async def harden(self, request: web.Request, response: web.StreamResponse) -> None:
        """Add the headers that every answer has."""
        response.headers.update(security.HEADERS)
        response.headers.setdefault("Content-Security-Policy", security.API_POLICY)
        response.headers.setdefault("Cache-Control", "no-store")

    # --- open ---------------------------------------------------------------------------

    async def live(self, request: web.Request) -> web.Response:
        """This process answers."""
        return web.json_response({"status": "ok"})

    async def ready(self, request: web.Request) -> web.Response:
        """The session manager answers, too."""
        if self._readiness is None:
            self._readiness = Readiness(self._backend, asyncio.get_running_loop().time)
        if await self._readiness.ready():
            return web.json_response({"status": "ok"})
        return web.json_response({"status": "unavailable"}, status=503)

    async def page(self, request: web.Request) -> web.Response:
        """The page. It holds no data; its script asks for the token."""
        nonce = secrets.token_urlsafe(16)
        policy = security.page_policy(
            request.headers.get("Host", ""),
            self._settings.terminals.values(),
            self._assets.script_hashes,
            nonce,
        )
        return web.Response(
            body=self._assets.page(nonce),
            content_type="text/html",
            charset="utf-8",
            headers={"Content-Security-Policy": policy},
        )

    async def asset(self, request: web.Request) -> web.Response:
        """A file of the page."""
        known = self._assets.files.get(request.match_info["name"])
        if known is None or request.match_info["digest"] != self._assets.digest:
            response = _error(404, "not found")
            response.force_close()
            return response
        kind, content = known
        response = web.Response(
            body=content, content_type=kind, charset="utf-8", headers={"Cache-Control": IMMUTABLE}
        )
        if len(content) > 1024:
            response.enable_compression()
        return response

    # --- behind the token ---------------------------------------------------------------

    async def info(self, request: web.Request) -> web.Response:
        """Who answers, and where the terminals are."""
        settings = self._settings
        return web.json_response(
            {
                "build": settings.build,
                "generation": settings.generation,
                "listeners": settings.terminals,
            }
        )

    async def metrics(self, request: web.Request) -> web.Response:
        """Everything that is counted, in Prometheus' text format."""
        body = metrics.render(await self._backend.metrics())
        return web.Response(body=body, headers={"Content-Type": metrics.CONTENT_TYPE})

    async def status(self, request: web.Request) -> web.Response:
        """Generations and their weights, counts of sessions."""
        return _json(pack(await self._backend.status()))

    async def sessions(self, request: web.Request) -> web.Response:
        """Every session."""
        return _json(pack({"sessions": await self._backend.sessions()}))

    async def ticket(self, request: web.Request) -> web.Response:
        """A ticket for a user; only ``user`` is required.

        ``{"user": "ada", "session": null, "seconds": 60, "read_only": false}``
        """
        try:
            asked = await request.json()
            read_only = asked.get("read_only", False) is not False
            ticket = Ticket(str(asked["user"]), asked.get("session"), read_only=read_only)
            text = issue(self._settings.token, ticket, seconds=int(asked.get("seconds", 60)))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            return _error(400, f'the body is {{"user": ..., "session": ..., "seconds": ...}}: {error}')
        return web.json_response({"ticket": text}, headers={"Cache-Control": "no-store"})

    async def revoke(self, request: web.Request) -> web.Response:
        """Have all tickets of a user be good for nothing, and disconnect whoever works with one."""
        user = request.match_info["user"]
        try:
            check_user(user)
        except ValueError as error:
            return _error(400, str(error))
        before = await self._backend.revoke(user)
        log.info("tickets of %r are revoked by request of %s", user, request.remote)
        return web.json_response({"revoked": user, "before": before})

    async def rename(self, request: web.Request) -> web.Response:
        """Give a session a title: ``{"title": "..."}``."""
        session = request.match_info["id"]
        if not ids.is_canonical(session):
            return _error(400, "not a session id")
        try:
            title = (await request.json())["title"]
        except (ValueError, TypeError, KeyError):
            return _error(400, 'the body is {"title": "..."}')
        try:
            await self._backend.rename(session, str(title))
        except NoSuchSession as error:
            return _error(404, str(error))
        except BackendUnavailable:
            raise
        except BackendError as error:
            return _error(400, str(error))
        return web.json_response({"renamed": session})

    async def kill(self, request: web.Request) -> web.Response:
        """End a session."""
        session = request.match_info["id"]
        if not ids.is_canonical(session):
            return _error(400, "not a session id")
        try:
            await self._backend.kill(session)
        except NoSuchSession as error:
            return _error(404, str(error))
        log.info("%s ended by request of %s", session, request.remote)
        return web.json_response({"ended": session})


def _json(body: bytes) -> web.Response:
    return web.Response(body=body, content_type="application/json", charset="utf-8")


def _error(status: int, text: str, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.json_response({"error": text}, status=status, headers=headers)
