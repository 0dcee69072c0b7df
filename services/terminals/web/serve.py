"""The web process: serves the connections that the session manager passes."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Callable
from typing import Any, cast

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from terminals.access import Access
from terminals.background import Background, Troubles
from terminals.control import packets
from terminals.control.answers import Front, Welcome
from terminals.control.channel import ManagerLink, Unasked, first_of, serve_managers
from terminals.control.descriptors import scarce
from terminals.control.framing import BadPacket
from terminals.web.app import WebSettings, build_app
from terminals.web.backend import ManagerBackend
from terminals.web.visitors import Refused

log = logging.getLogger("terminals.web")

LEAVE_SECONDS = 3.0
REQUEST_SECONDS = 10.0
"""A connection on which no request has come by then is closed; after one, aiohttp's own limits hold."""
KEPT_SECONDS = 75.0
"""... and one on which no other has come for so long; proxies keep theirs for less."""
HEAD_END = b"\r\n\r\n"


class _From:
    """A transport whose peer is whom the manager saw: of a TLS connection we have only a unix socket."""

    def __init__(self, transport: asyncio.BaseTransport, address: str) -> None:
        self._transport = transport
        self._address = address

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        if name == "peername":
            return (self._address, 0)
        return self._transport.get_extra_info(name, default)


class Adopted(asyncio.Protocol):
    """An adopted connection: aiohttp's protocol, whom it is from, and word when it has ended."""

    def __init__(self, handler: RequestHandler, address: str, ended: Callable[[], None]) -> None:
        self._handler = handler
        self._address = address
        self._ended = ended
        self._tail: bytes | None = b""
        """The last of what has come, until the first request's head is whole."""
        self._patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Pass on."""
        close = cast(asyncio.Transport, transport).abort
        self._patience = asyncio.get_running_loop().call_later(REQUEST_SECONDS, close)
        self._handler.connection_made(cast(asyncio.Transport, _From(transport, self._address)))

    def data_received(self, data: bytes) -> None:
        """Pass on."""
        if self._tail is not None:
            seen = self._tail + data
            self._tail = seen[1 - len(HEAD_END) :]
            if HEAD_END in seen:
                self._tail = None
                self._stop_waiting()
        self._handler.data_received(data)

    def eof_received(self) -> None:
        """Pass on."""
        self._handler.eof_received()

    def pause_writing(self) -> None:
        """Pass on."""
        self._handler.pause_writing()

    def resume_writing(self) -> None:
        """Pass on."""
        self._handler.resume_writing()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Pass on, and say so."""
        self._stop_waiting()
        self._handler.connection_lost(exc)
        self._ended()

    def _stop_waiting(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None


async def adopt(
    runner: web.BaseRunner, conn: socket.socket, address: str, ended: Callable[[], None] = lambda: None
) -> None:
    """Serve an already accepted connection from ``address`` with the server of ``runner``.

    ``conn`` belongs to the server from here on. ``ended`` is called once it is closed.

    Raises:
        RuntimeError: ``runner`` has not been set up.
    """
    server = runner.server
    if server is None:
        raise RuntimeError("the runner has not been set up")
    conn.setblocking(False)
    try:
        await asyncio.get_running_loop().connect_accepted_socket(
            lambda: Adopted(server(), address, ended), conn
        )
    except OSError as error:
        log.info("a passed connection was gone already: %s", error)
        conn.close()
        ended()


def give_away(link: ManagerLink, request: web.Request, profile: str) -> None:
    """Have the manager pass the connection of a request for a terminal on to a worker, which answers it.

    Raises:
        Refused: it cannot be passed on.
    """
    transport = request.transport
    if transport is None or transport.is_closing():
        return
    lines = [f"GET {request.raw_path} HTTP/1.1".encode("utf-8", "surrogateescape")]
    lines += [name + b": " + value for name, value in request.raw_headers]
    head = b"\r\n".join(lines) + HEAD_END
    fd = -1
    try:
        fd = os.dup(transport.get_extra_info("socket").fileno())
        link.send(packets.Passed(listener=profile, address=request.remote or "", head=head), (fd,))
    except BadPacket:
        raise Refused(431, "the request's head is too long") from None
    except OSError as error:
        raise Refused(503, f"no more files can be open: {error.strerror}") from None
    finally:
        if fd >= 0:
            os.close(fd)
    transport.abort()  # closes our descriptor only; the connection lives on in the worker


async def run_web(socket_path: str, *, generation: str, build: str, token: bytes) -> None:
    """Serve the connections that the manager passes, until told to stop.

    When the manager goes away, the next one is waited for.

    Raises:
        ControlError: no manager at ``socket_path``, or it refuses this process.
    """
    await serve_managers(lambda stop: _serve(socket_path, stop, generation, build, token), log)


async def _serve(socket_path: str, stop: asyncio.Event, generation: str, build: str, token: bytes) -> None:
    """Serve one manager until it has gone away, or ``stop`` is set."""
    background, troubles = Background(log), Troubles(log)
    access = Access(token, Front())
    waiting: list[tuple[socket.socket, str]] = []
    runner: web.AppRunner | None = None

    def serve(conn: socket.socket, address: str) -> None:
        if runner is None:
            waiting.append((conn, address))
            return
        background.start(adopt(runner, conn, address, lambda: link.send(packets.Closed())), "an adoption")

    def packet(packet: Unasked, fds: list[int]) -> None:
        match packet:
            case packets.Conn() if not fds or scarce(fds[0]):
                troubles.say("connections", "one is refused: no more files can be open")
                link.send(packets.Closed())
            case packets.Conn(address=address):
                serve(socket.socket(fileno=fds.pop()), address)
            case packets.Revoked(users=users):
                access.revoke(users)
            case packets.Quit():
                stop.set()
        for fd in fds:
            os.close(fd)

    def welcomed(welcome: Welcome) -> None:
        nonlocal access
        access = Access(token, welcome.front)

    def pass_on(request: web.Request, profile: str) -> None:
        give_away(link, request, profile)

    link = ManagerLink(packet, on_welcome=welcomed)
    await link.connect(socket_path, role="web", generation=generation, build=build)
    settings = WebSettings(token, generation, build, link.welcome.listeners, link.welcome.front.neighbours)
    app = build_app(
        settings,
        ManagerBackend(socket_path, hosts=bool(settings.neighbours)),
        access=access,
        pass_on=pass_on if link.welcome.passes else None,
        oidc=link.welcome.front.oidc,
    )
    ready = web.AppRunner(
        app, access_log=None, shutdown_timeout=LEAVE_SECONDS, keepalive_timeout=KEPT_SECONDS
    )
    await ready.setup()
    runner = ready
    for conn, address in waiting:
        serve(conn, address)
    log.info("serving for generation %s, build %s", generation, build)
    await first_of(stop, link.closed)
    if background.tasks:
        await asyncio.wait(background.tasks, timeout=LEAVE_SECONDS)
    await ready.cleanup()
    link.close()
