"""The dashboard's HTTP service. One person's tool: it acts as the user who has started it."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import ipaddress
import json
import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, Final

from aiohttp import web

from rollout.config import Config
from rollout.dashboard.orders import ACTIONS, Orders
from rollout.dashboard.view import Memory, look
from rollout.errors import RolloutError
from rollout.report import collect
from rollout.report.render import fill, html

log = logging.getLogger("rollout.dashboard")

_HERE: Final = Path(__file__).parent
FILES: Final = {
    path.name: path
    for path in (
        _HERE / "static" / "dashboard.js",
        _HERE / "static" / "dashboard.css",
        _HERE.parent / "report" / "templates" / "report.css",  # as reports look, so does this
    )
}
OURS: Final = "X-Rollout"
"""A header that no other site's page can have a browser add."""
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:;"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
SECTIONS: Final = ("trouble", "alerts", "ongoing", "environments", "orders", "history")
KEEP_ALIVE_SECONDS: Final = 15.0

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Dashboard:
    """What is shown to everybody who looks, kept up to date while somebody does.

    ``open_to_all``: whether it may be looked at without the key. ``every``: seconds between two looks.
    """

    def __init__(self, config: Config, *, key: str, open_to_all: bool, every: float) -> None:
        self._config = config
        self._key = key
        self._open = open_to_all
        self._every = every
        self._memory = Memory()
        self._orders = Orders(config)
        self._signed_in: set[str] = set()
        self._cookie = f"rollout-{hashlib.sha256(str(config.path).encode()).hexdigest()[:8]}"
        self._sections: dict[str, str] = {}
        self._changed = asyncio.Event()
        self._viewers = 0
        self._awake = asyncio.Event()

    def app(self) -> web.Application:
        """Put the application together."""
        app = web.Application(middlewares=[self._guard])
        app.on_response_prepare.append(self._harden)
        app.add_routes(
            [
                web.get("/", self._page),
                web.get("/static/{name}", self._static),
                web.get("/events", self._events),
                web.get("/report/{environment}/{number}", self._report),
                web.get("/incident/{environment}/{number}", self._incident),
                web.post("/sign-in", self._sign_in),
                web.post("/orders", self._order),
            ]
        )
        app.cleanup_ctx.append(self._looking)
        return app

    # --- around every request -----------------------------------------------------------------

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if not _own_host(request):
            # A page elsewhere whose name was pointed at this machine would be let in otherwise.
            return _said(421, "this is not the name of this server")
        opened = (self._page, self._static, self._sign_in)
        at_home = self._open and _from_here(request)
        if request.match_info.handler not in opened and not (at_home and request.method == "GET"):
            if not self._signed_in_by(request):
                return _said(401, "sign in with the link that rollout dashboard has printed")
            if request.method != "GET" and not _ours(request):
                return _said(403, "only this page may ask that")
        try:
            return await handler(request)
        except web.HTTPException as error:
            return _said(error.status, error.reason.lower())
        except RolloutError as error:
            return _said(404, error.message)

    async def _harden(self, request: web.Request, response: web.StreamResponse) -> None:
        response.headers.setdefault("Content-Security-Policy", POLICY)
        response.headers.setdefault("Cache-Control", "no-store")
        response.headers.update(
            {"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer"}
        )

    def _signed_in_by(self, request: web.Request) -> bool:
        shown = request.cookies.get(self._cookie, "")
        return any(hmac.compare_digest(shown.encode(), one.encode()) for one in self._signed_in)

    # --- pages ------------------------------------------------------------------------------------

    async def _page(self, request: web.Request) -> web.Response:
        title = f"rollout: {', '.join(self._config.environments)}"
        text = fill("dashboard.html.j2", title=title, sections=SECTIONS, actions=ACTIONS)
        return web.Response(text=text, content_type="text/html")

    async def _static(self, request: web.Request) -> web.Response:
        kinds = {".js": "text/javascript", ".css": "text/css"}
        path = FILES.get(request.match_info["name"])
        if path is None:
            raise web.HTTPNotFound
        return web.Response(text=path.read_text(), content_type=kinds[path.suffix])

    async def _report(self, request: web.Request) -> web.Response:
        environment, number = self._asked(request)
        text = await asyncio.to_thread(lambda: html(collect(self._config, environment, number)))
        policy = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
        return web.Response(text=text, content_type="text/html", headers={"Content-Security-Policy": policy})

    async def _incident(self, request: web.Request) -> web.Response:
        environment, number = self._asked(request)
        path = self._config.runs(environment, number) / "incident.md"
        if not path.is_file():
            raise web.HTTPNotFound
        return web.Response(text=path.read_text(), content_type="text/plain")

    def _asked(self, request: web.Request) -> tuple[str, int]:
        environment, number = request.match_info["environment"], request.match_info["number"]
        if environment not in self._config.environments or not number.isdecimal() or len(number) > 9:
            raise web.HTTPNotFound
        return environment, int(number)

    # --- what changes -------------------------------------------------------------------------------

    async def _events(self, request: web.Request) -> web.StreamResponse:
        """Sections as they are, and each anew when it has changed: server-sent events."""
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        may = self._signed_in_by(request)
        told: dict[str, str] = {}
        await response.write(_event("visitor", json.dumps({"may": may})))
        self._viewers += 1
        self._awake.set()
        try:
            while True:
                changed = self._changed
                for name, text in self._sections.items():
                    if told.get(name) != text:
                        told[name] = text
                        await response.write(_event("section", json.dumps({"name": name, "html": text})))
                try:
                    await asyncio.wait_for(changed.wait(), KEEP_ALIVE_SECONDS)
                except TimeoutError:
                    await response.write(b": still here\n\n")
        except ConnectionError:
            pass
        finally:
            self._viewers -= 1
        return response

    async def _looking(self, app: web.Application) -> AsyncIterator[None]:
        task = asyncio.create_task(self._look_on())
        yield
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    async def _look_on(self) -> None:
        """Look again and again while somebody is shown what is seen."""
        while True:
            if not self._viewers:
                self._awake.clear()
                await self._awake.wait()
            await self._look()
            await asyncio.sleep(self._every)

    async def _look(self) -> None:
        try:
            seen = await asyncio.to_thread(look, self._config, self._memory)
            self._show(trouble=[], **seen)
        except Exception as error:  # a host or the ledger is away for a moment: what was seen last stays
            if not isinstance(error, RolloutError):
                log.exception("a look has failed")
            self._show(trouble=[" ".join(str(error).split()) or type(error).__name__])

    def _show(self, **seen: Any) -> None:
        for name in seen.keys() & set(SECTIONS):
            self._sections[name] = fill(f"dashboard/{name}.html.j2", **seen, anchors={}, plots=[])
        orders = self._orders.latest()
        self._sections["orders"] = fill("dashboard/orders.html.j2", orders=orders)
        self._changed.set()
        self._changed = asyncio.Event()

    # --- what is done ---------------------------------------------------------------------------------

    async def _sign_in(self, request: web.Request) -> web.Response:
        if not _ours(request):
            return _said(403, "only this page may ask that")
        key = (await _body(request)).get("key")
        if not isinstance(key, str) or not hmac.compare_digest(
            key.encode(errors="replace"), self._key.encode()
        ):
            return _said(401, "this is not the key: open the link that rollout dashboard has printed")
        cookie = secrets.token_urlsafe(32)
        self._signed_in.add(cookie)
        response = web.json_response({"may": True})
        response.set_cookie(self._cookie, cookie, path="/", httponly=True, samesite="Strict")
        return response

    async def _order(self, request: web.Request) -> web.Response:
        """Do ``{"action": ..., "environment": ..., "confirmed": the environment again}``."""
        asked = await _body(request)
        action, environment = str(asked.get("action")), str(asked.get("environment"))
        if asked.get("confirmed") != environment:
            return _said(400, f"to confirm, write the name of the environment: {environment}")
        try:
            order = self._orders.give(action, environment)
        except (ValueError, OSError) as error:
            return _said(400, str(error))
        log.info("rollout %s %s, asked for by the page", action, environment)
        self._show()
        return web.json_response({"pid": order.process.pid, "log": str(order.log)})


def _own_host(request: web.Request) -> bool:
    """Whether the request names this server by an address, as localhost, or as it is called elsewhere."""
    name = request.host.rpartition(":")[0] if not request.host.endswith("]") else request.host
    name = (name or request.host).strip("[]").lower()
    with contextlib.suppress(ValueError):
        ipaddress.ip_address(name)
        return True
    return name == "localhost" or name in request.app[NAMES]


def _from_here(request: web.Request) -> bool:
    """Whether whoever asks sits at this machine, as far as can be told: no proxy has passed it on."""
    forwarded = any(
        name.lower() in ("forwarded", "via") or name.lower().startswith("x-forwarded")
        for name in request.headers
    )
    return not forwarded and not request.app[NAMES]


NAMES: web.AppKey[frozenset[str]] = web.AppKey("names", frozenset)


def _ours(request: web.Request) -> bool:
    origin = request.headers.get("Origin")
    return OURS in request.headers and (origin is None or origin.partition("://")[2] == request.host)


async def _body(request: web.Request) -> dict[str, Any]:
    try:
        body = await request.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _said(status: int, text: str) -> web.Response:
    return web.json_response({"error": text}, status=status)


def _event(kind: str, data: str) -> bytes:
    return f"event: {kind}\ndata: {data}\n\n".encode()


def serve(
    config: Config, host: str, port: int, *, every: float, names: frozenset[str], said: Callable[[str], None]
) -> None:
    """Serve until Ctrl-C. ``said`` is given the link with the key, once it can be opened.

    Raises:
        OSError: the address cannot be listened on.
    """
    asyncio.run(_serve(config, host, port, every, names, said))


async def _serve(
    config: Config, host: str, port: int, every: float, names: frozenset[str], said: Callable[[str], None]
) -> None:
    key = secrets.token_urlsafe(24)
    site = Dashboard(config, key=key, open_to_all=_loopback(host), every=every)
    app = site.app()
    app[NAMES] = names
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        listening = web.TCPSite(runner, host, port)
        await listening.start()
        bound = runner.addresses[0][1]
        shown = f"[{host}]" if ":" in host else host
        said(f"http://{shown}:{bound}/#key={key}")
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()


def _loopback(host: str) -> bool:
    if host == "localhost":
        return True
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return False
