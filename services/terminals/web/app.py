"""The HTTP application. Whatever is not listed as open is for visitors who are known, by their role.

Everything is there at ``/`` and below :data:`BASE`: a proxy needs one rule, whether or not it takes the path
off.
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from aiohttp import web

from terminals.access import Access, Identity
from terminals.control.answers import Front, LinkInfo, Oidc, SessionInfo
from terminals.control.framing import pack
from terminals.protocol import ids
from terminals.tickets import Ticket, check_person, check_user, guest, is_person, issue
from terminals.web import metrics, security
from terminals.web.assets import Assets
from terminals.web.backend import Backend, BackendError, BackendUnavailable, NoSuchRecording, NoSuchSession
from terminals.web.health import Readiness
from terminals.web.recordings import Recordings
from terminals.web.visitors import Refused, Visitors, described

if TYPE_CHECKING:
    from terminals.web.oidc.site import ProviderSignIn

log = logging.getLogger("terminals.web")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
PassOn = Callable[[web.Request, str], None]
BASE = "/terminals"
MOST_BODY = 1 << 16
BODY_SECONDS = 10.0
WHO: web.RequestKey[Identity] = web.RequestKey("who", Identity)
EVERYBODY = frozenset({"operator", "user", "viewer", "guest"})
OWNERS = frozenset({"operator", "user"})
OPERATORS = frozenset({"operator"})
LISTENER_OF_THIS = "web"
IMMUTABLE = "public, max-age=31536000, immutable"


@dataclass(frozen=True, slots=True)
class WebSettings:
    """What the HTTP service needs to know. ``listeners`` maps listener names to ports."""

    token: bytes = field(repr=False)
    generation: str
    build: str
    listeners: Mapping[str, int]
    neighbours: tuple[str, ...] = ()
    """Where terminals of other hosts are, to which visitors may be sent on."""

    @property
    def terminals(self) -> dict[str, int]:
        """The listeners that speak the terminal protocol."""
        return {name: port for name, port in self.listeners.items() if name != LISTENER_OF_THIS}


def build_app(
    settings: WebSettings,
    backend: Backend,
    assets: Assets | None = None,
    *,
    access: Access | None = None,
    pass_on: PassOn | None = None,
    oidc: Oidc | None = None,
) -> web.Application:
    """Put the application together.

    ``pass_on(request, profile)`` gives the connection of a request for a terminal away, to a worker; without
    it the terminals are to be had at their own ports only. ``oidc``: a provider that people may sign in by.

    Raises:
        OSError: the package is incomplete.
    """
    access = access or Access(settings.token, Front())
    visitors = Visitors(access)
    provider = _provider(oidc, settings.token, access, visitors)
    site = _Site(settings, backend, assets or Assets.load(), visitors, pass_on, provider)
    recordings = Recordings(backend, site.session, lambda request: request[WHO])
    app = web.Application(middlewares=[site.guard], client_max_size=MOST_BODY)
    app.on_response_prepare.append(site.harden)
    opened: dict[tuple[str, str], Handler] = {
        ("GET", "/"): site.page,
        ("GET", "/static/{digest}/{name:.+}"): site.asset,
        ("GET", "/health/live"): site.live,
        ("GET", "/health/ready"): site.ready,
        ("GET", "/ws/{profile}"): site.terminal,  # its worker asks who that is
        ("GET", "/api/visitor"): site.visitor,
        ("POST", "/api/sign-in"): site.sign_in,
        ("POST", "/api/sign-out"): site.sign_out,
    }
    if provider is not None:
        opened |= provider.routes()
        app.on_cleanup.append(provider.close)
    closed: dict[tuple[str, str], tuple[Handler, Collection[str]]] = {
        ("GET", "/metrics"): (site.metrics, OPERATORS),
        ("GET", "/api/info"): (site.info, EVERYBODY),
        ("GET", "/api/status"): (site.status, OPERATORS),
        ("GET", "/api/sessions"): (site.sessions, EVERYBODY),
        ("GET", "/api/pass"): (site.pass_on, EVERYBODY),
        ("PATCH", "/api/sessions/{id}"): (site.rename, OWNERS),
        ("DELETE", "/api/sessions/{id}"): (site.kill, OWNERS),
        ("GET", "/api/links"): (site.links, OWNERS),
        ("POST", "/api/links"): (site.link, OWNERS),
        ("DELETE", "/api/links/{id}"): (site.unlink, OWNERS),
        ("POST", "/api/sessions/{id}/recording"): (recordings.begin, OWNERS),
        ("DELETE", "/api/sessions/{id}/recording"): (recordings.stop, OWNERS),
        ("GET", "/api/recordings"): (recordings.all, OWNERS),
        ("GET", "/api/recordings/{id}"): (recordings.read, OWNERS),
        ("DELETE", "/api/recordings/{id}"): (recordings.remove, OWNERS),
        ("POST", "/api/tickets"): (site.ticket, OPERATORS),
        ("DELETE", "/api/tickets/{user}"): (site.revoke, OPERATORS),
    }
    site.open_handlers = frozenset([*opened.values(), site.to_base])
    site.roles = dict(closed.values())
    handlers = opened | {route: handler for route, (handler, _) in closed.items()}
    for (method, path), handler in handlers.items():
        for base in ("", BASE):
            # A GET answers HEAD, too.
            add = app.router.add_get if method == "GET" else partial(app.router.add_route, method)
            add(base + path, handler)
    app.router.add_get(BASE, site.to_base)
    return app


def _provider(oidc: Oidc | None, token: bytes, access: Access, visitors: Visitors) -> ProviderSignIn | None:
    if oidc is None:
        return None
    from terminals.web.oidc.site import ProviderSignIn  # with all its libraries

    return ProviderSignIn(oidc, token, access, visitors)


class _Site:
    def __init__(
        self,
        settings: WebSettings,
        backend: Backend,
        assets: Assets,
        visitors: Visitors,
        pass_on: PassOn | None,
        provider: ProviderSignIn | None,
    ) -> None:
        self._settings = settings
        self._backend = backend
        self._assets = assets
        self._visitors = visitors
        self._pass_on = pass_on
        self._provider = provider
        self._readiness: Readiness | None = None
        self.open_handlers: frozenset[Any] = frozenset()
        self.roles: dict[Any, Collection[str]] = {}

    # --- around every request ---------------------------------------------------------

    @web.middleware
    async def guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Let through what is open, or whom it is for; errors become one JSON line."""
        try:
            # By handler, not by path: no spelling of a path gets around it, and what does not
            # exist looks the same as what is closed.
            wanted = request.match_info.handler
            if wanted in self.open_handlers:
                return await handler(request)
            request[WHO] = who = self._visitors.who(request)
            self._allow(who, request.method, self.roles.get(wanted, EVERYBODY))
            response = await handler(request)
            if isinstance(response, web.Response):
                self._visitors.renew(request, response, who)
            return response
        except Refused as error:
            return _error(error.status, str(error), error.headers, **error.more)
        except web.HTTPException as error:
            allow = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
            return _error(error.status, error.reason.lower(), allow)
        except (NoSuchSession, NoSuchRecording) as error:
            return _error(404, str(error))
        except BackendUnavailable as error:
            log.warning("%s %s: %s", request.method, request.path, error)
            return _error(503, "the session manager does not answer")
        except BackendError as error:
            return _error(400, str(error))

    @staticmethod
    def _allow(who: Identity, method: str, roles: Collection[str]) -> None:
        if who.role not in roles:
            raise Refused(403, f"this is not for the role {who.role}")
        if who.read_only and method not in ("GET", "HEAD"):
            raise Refused(403, "whoever looks on changes nothing")
        if who.session is not None and roles == OPERATORS:
            raise Refused(403, "a ticket for one session is for nothing else")

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
            self._settings.neighbours,
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

    async def to_base(self, request: web.Request) -> web.Response:
        """The page's addresses are below its own, which has to end with a slash."""
        return web.Response(status=308, headers={"Location": f".{BASE}/"})

    async def terminal(self, request: web.Request) -> web.Response:
        """A WebSocket with a terminal: the connection becomes a worker's."""
        profile = request.match_info["profile"]
        if profile not in self._settings.terminals:
            return _error(404, f"there are no terminals at {profile!r}")
        if request.headers.get("Upgrade", "").lower() != "websocket":
            return _error(426, "this is a WebSocket's address", {"Upgrade": "websocket"})
        if self._pass_on is None:
            return _error(503, "the session manager here is too old: terminals have ports of their own")
        self._pass_on(request, profile)
        return web.Response()  # to nobody: the connection is not ours any more

    async def sign_in(self, request: web.Request) -> web.Response:
        """Let a browser in: ``{"credential": ...}``, the token, a ticket or what a link carries."""
        self._visitors.may_come(request)
        credential = (await _body(request)).get("credential")
        if not isinstance(credential, str) or not credential:
            raise Refused(400, 'the body is {"credential": "..."}')
        who, response = self._visitors.sign_in(request, credential)
        address = self._visitors.address(request)
        log.info("%s has signed in from %s, as %s", who.user or "a holder of the token", address, who.role)
        return response

    async def visitor(self, request: web.Request) -> web.Response:
        """As whom a browser has signed in, ``null``: it has not; and by which provider it may."""
        try:
            who = described(self._visitors.who(request))
        except Refused:
            who = None
        provider = self._provider and self._provider.described()
        return web.json_response({"visitor": who, "provider": provider})

    async def sign_out(self, request: web.Request) -> web.Response:
        """Let it out; ``leave``: where it signs out at the provider that its visitor has come by."""
        response = self._visitors.sign_out(request)
        if self._provider is not None:
            leave = await self._provider.leave(request, response)
            response.text = json.dumps({"user": "", "leave": leave})
        return response

    # --- for those who are known ----------------------------------------------------------

    async def info(self, request: web.Request) -> web.Response:
        """Who answers, whom, and where the terminals are."""
        settings = self._settings
        return web.json_response(
            {
                "build": settings.build,
                "generation": settings.generation,
                "listeners": settings.terminals,
                "one_port": self._pass_on is not None,
                "visitor": described(request[WHO]),
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
        """The sessions that are the visitor's; those of programs, as of a rollout's load, only with
        ``?programs=1``."""
        who, programs = request[WHO], "programs" in request.query
        every = [*await self._backend.sessions(), *await self._backend.elsewhere()]
        found = [entry for entry in every if _open_to(who, entry)]
        return _json(pack({"sessions": [entry for entry in found if programs or is_person(entry.user)]}))

    async def ticket(self, request: web.Request) -> web.Response:
        """A ticket for a user; only ``user`` is required.

        ``{"user": "ada", "role": "user", "session": null, "seconds": 60, "read_only": false}``
        """
        asked = await _body(request)
        try:
            check_person(user := str(asked["user"]))
            if (role := asked.get("role", "user")) == "guest":
                raise ValueError("a guest comes by a link")
            read_only = asked.get("read_only", False) is not False
            ticket = Ticket(user, asked.get("session"), read_only=read_only, role=role)
            text = issue(self._settings.token, ticket, seconds=int(asked.get("seconds", 60)))
        except (ValueError, TypeError, KeyError, OverflowError) as error:
            raise Refused(
                400, f'the body is {{"user": ..., "session": ..., "seconds": ...}}: {error}'
            ) from None
        return web.json_response({"ticket": text})

    async def pass_on(self, request: web.Request) -> web.Response:
        """A ticket for the visitor, by which to go on to another host whose session they want."""
        if not self._settings.neighbours:
            raise Refused(404, "there are no other hosts")
        # No page of another origin can read it: there is no header that would let it.
        return web.json_response({"ticket": self._visitors.pass_on(request[WHO])})

    async def revoke(self, request: web.Request) -> web.Response:
        """Have all tickets of a user be good for nothing, and disconnect whoever works with one."""
        user = request.match_info["user"]
        try:
            check_user(user)
        except ValueError as error:
            raise Refused(400, str(error)) from None
        before = await self._backend.revoke(user)
        log.info("tickets of %r are revoked by request of %s", user, self._visitors.address(request))
        return web.json_response({"revoked": user, "before": before})

    async def rename(self, request: web.Request) -> web.Response:
        """Give a session a title: ``{"title": "..."}``."""
        title = (await _body(request)).get("title")
        if not isinstance(title, str):
            raise Refused(400, 'the body is {"title": "..."}')
        session = await self.session(request, request.match_info["id"], anywhere=True)
        await self._backend.rename(session.id, title, session.host)
        return web.json_response({"renamed": session.id})

    async def kill(self, request: web.Request) -> web.Response:
        """End a session."""
        session = await self.session(request, request.match_info["id"], anywhere=True)
        await self._backend.kill(session.id, session.host)
        log.info("%s ended by request of %s", session.id, self._visitors.address(request))
        return web.json_response({"ended": session.id})

    async def links(self, request: web.Request) -> web.Response:
        """The links that the visitor has given away, or, to an operator, that anybody has."""
        return _json(pack({"links": await self._links(request[WHO])}))

    async def link(self, request: web.Request) -> web.Response:
        """A link to one session: ``{"session": ..., "minutes": 60, "read_only": true}``.

        Its ticket is told this once; it belongs behind the ``#ticket=`` of the page's address.
        """
        asked = await _body(request)
        try:
            seconds = round(60 * float(asked.get("minutes", 60)))
            session = await self.session(request, str(asked["session"]))
        except (ValueError, TypeError, KeyError, OverflowError) as error:
            text = f'the body is {{"session": ..., "minutes": 60, "read_only": true}}: {error}'
            raise Refused(400, text) from None
        read_only = asked.get("read_only", True) is not False
        if until := request[WHO].until:
            seconds = min(seconds, until - int(time.time()))  # no longer than who gives it away is here
        made = await self._backend.link(session.id, request[WHO].user, read_only=read_only, seconds=seconds)
        ticket = Ticket(guest(made.id), made.session, read_only=read_only, role="guest", until=made.until)
        text = issue(self._settings.token, ticket, seconds=seconds)
        return _json(pack({"link": made, "ticket": text}))

    async def unlink(self, request: web.Request) -> web.Response:
        """Revoke a link, and disconnect whoever came by it."""
        name = request.match_info["id"]
        if all(link.id != name for link in await self._links(request[WHO])):
            raise Refused(404, f"no link {name!r}")
        await self._backend.unlink(name)
        return web.json_response({"revoked": name})

    async def _links(self, who: Identity) -> list[LinkInfo]:
        return [link for link in await self._backend.links() if who.role == "operator" or link.by == who.user]

    async def session(self, request: web.Request, name: str, *, anywhere: bool = False) -> SessionInfo:
        """A session of the visitor's; ``anywhere``: it may be at another host.

        Raises:
            Refused: no id, or none of theirs.
        """
        if not ids.is_canonical(name):
            raise Refused(400, "not a session id")
        # Other hosts are asked only where it is not here.
        for look in (self._backend.sessions, self._backend.elsewhere):
            for entry in await look():
                if entry.id == name and _open_to(request[WHO], entry):
                    if entry.host and not anywhere:
                        raise Refused(409, f"this session is at {entry.host}: ask there")
                    return entry
        raise Refused(404, f"no session {name!r}")


def _open_to(who: Identity, session: SessionInfo) -> bool:
    own = who.everyone or session.user == who.user
    return own and who.session in (None, session.id)


async def _body(request: web.Request) -> dict[str, Any]:
    try:
        async with asyncio.timeout(BODY_SECONDS):
            body = await request.json()
    except (ValueError, RecursionError, LookupError, TimeoutError):
        raise Refused(400, "the body is no JSON") from None
    if not isinstance(body, dict):
        raise Refused(400, "the body is no JSON object")
    return body


def _json(body: bytes) -> web.Response:
    return web.Response(body=body, content_type="application/json", charset="utf-8")


def _error(status: int, text: str, headers: Mapping[str, str] | None = None, **more: object) -> web.Response:
    return web.json_response({"error": text, **more}, status=status, headers=headers)
