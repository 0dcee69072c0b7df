"""The process that asks the other hosts how they are, and answers them.

Started by the session manager (see :mod:`terminals.manager.cluster`) where others are configured: what comes
from the network is parsed here, and not where the sessions are. It stays of the manager's account, since
certificates are renewed while it runs. Hosts prove to each other by certificates who they are, or, where
nothing is encrypted, by the token. What is said to the manager is in :mod:`terminals.cluster.news`.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import os
import signal
import socket
import ssl
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import aiohttp
from aiohttp import web
from msgspec.structs import replace

from terminals.background import Background, Troubles
from terminals.cluster.lastscreens import LastScreens, NotKept, packed
from terminals.cluster.news import (
    Alive,
    Copied,
    Copy,
    Doubled,
    FromAsker,
    Heard,
    Missing,
    Neighbour,
    News,
    Own,
    Plan,
    ToAsker,
    Unheard,
    name_of,
    read_by_asker,
    read_news,
)
from terminals.cluster.others import ANSWER_SECONDS, ASK, HOSTS, OthersError, read_asked
from terminals.cluster.table import good_for
from terminals.control.asking import ControlError, exchange
from terminals.control.channel import Channel
from terminals.control.framing import BadPacket, encode, pack
from terminals.logs import log_to_stderr

log = logging.getLogger("terminals.cluster")

PATH: Final = "/peers"
MAX_ANSWER: Final = 1 << 20
"""Bytes of an answer, of which the ids of strays are nearly all."""
RENEWED_SECONDS: Final = 5.0
"""So often the files of the certificates are looked at: they are renewed while this process runs."""
CONFLICT: Final = 409
SCREENS: Final = "/screens"
ALIVE: Final = "/alive"
MAX_REASON: Final = 200
"""Characters of why another host takes no screen."""
MAX_MISSING: Final = 1000
"""Ids of one answer: the others are heard of the next time."""
MAX_ASKED: Final = 1 << 20
"""Bytes of what one host wants another to do, of which ids of sessions that live are the most."""


class Credentials:
    """By what hosts know each other."""

    def __init__(self, plan: Plan) -> None:
        """Raises:
        OSError: a file cannot be read.
        ssl.SSLError: it has no certificate, or the key is another's.
        """
        self._plan = plan
        self.token = Path(plan.token).read_text().strip() if plan.token else ""
        self.server: ssl.SSLContext | None = None
        self.client: ssl.SSLContext | None = None
        if plan.certificate:
            self.server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            self.server.verify_mode = ssl.CERT_REQUIRED
            for context in (self.server, self.client):
                context.minimum_version = ssl.TLSVersion.TLSv1_3
        self._load()

    def renew(self) -> bool:
        """Use the files as they are now, if they have changed; whether they have.

        Raises:
            OSError, ssl.SSLError: as at first; those before stay in use.
        """
        if self._stamp() == self._changed:
            return False
        self._load()
        return True

    def _load(self) -> None:
        self._changed = self._stamp()
        for context in (self.server, self.client):
            if context is not None:
                # New handshakes only; an authority that is added is trusted beside the one before.
                context.load_verify_locations(self._plan.authority)
                context.load_cert_chain(self._plan.certificate, self._plan.key)

    def _stamp(self) -> tuple[int, ...]:
        plan = self._plan
        names = [name for name in (plan.authority, plan.certificate, plan.key) if name]
        return tuple(Path(name).stat().st_mtime_ns for name in names)


class Asker:
    """Asks each neighbour again and again, and answers those that ask."""

    def __init__(self, manager: socket.socket, listener: socket.socket, plan: Plan) -> None:
        """Raises:
        OSError, ssl.SSLError: see :class:`Credentials`.
        """
        self._listener = listener
        self._plan = plan
        self._credentials = Credentials(plan)
        self._channel: Channel[ToAsker]
        self._manager = manager
        self._own: News | None = None
        self._known: dict[str, tuple[str, str, float]] = {}
        """By tag: name, instance, and when it was heard."""
        self._fresh = good_for(plan.interval)
        self._neighbours = {host.tag: host for host in plan.neighbours}
        self._kept = LastScreens(Path(plan.screens)) if plan.screens else None
        self._elsewhere: set[str] = set()
        """Tags of those whose screens are kept elsewhere, or nowhere."""
        self._over = asyncio.Event()
        self._background = Background(log)
        self._troubles = Troubles(log)
        self._session: aiohttp.ClientSession

    async def run(self) -> None:
        """Serve until the manager closes its end."""
        self._channel = Channel(self._manager, read_by_asker, self._told, self._over.set)
        outside, inside = (web.Application(client_max_size=MAX_ASKED) for _ in range(2))
        outside.router.add_get(PATH, self._answer)
        outside.router.add_post(ASK, self._do)
        outside.router.add_post(SCREENS, partial(self._keep, _take))
        outside.router.add_post(ALIVE, partial(self._keep, _keep_only))
        inside.router.add_post(HOSTS, self._names)
        inside.router.add_post(ASK + "/{name}", self._pass_on)
        runners = [
            web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=ANSWER_SECONDS)
            for app in (outside, inside)
        ]
        for runner in runners:
            await runner.setup()
        await web.SockSite(runners[0], self._listener, ssl_context=self._credentials.server).start()
        await web.UnixSite(runners[1], self._plan.socket).start()
        connector = aiohttp.TCPConnector(limit=0, ssl=self._credentials.client or True)
        timeout = aiohttp.ClientTimeout(total=self._plan.interval)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
            self._session = session
            tasks = [asyncio.create_task(self._ask_on(host)) for host in self._plan.neighbours]
            tasks.append(asyncio.create_task(self._renew_on()))
            await self._over.wait()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for runner in runners:
            await runner.cleanup()

    def _told(self, packet: ToAsker, fds: list[int]) -> None:
        try:
            match packet:
                case Own(news=news):
                    self._own = replace(news, screens_of=self._kept.tags()) if self._kept else news
                case Copy(to=to, screen=screen) if fds:
                    body = packed(screen, os.pread(fds[0], packet.length, 0))
                    self._background.start(self._copy(to, screen.id, body), f"a copy of {screen.id}")
                case Copy(screen=screen):
                    self._say(Copied(id=screen.id, trouble="no more files can be open"))
                case Alive(to=to) if fds:
                    sessions = os.pread(fds[0], packet.length, 0)
                    self._background.start(self._say_alive(to, sessions), "which sessions live")
        finally:
            for fd in fds:
                os.close(fd)

    def _say(self, packet: FromAsker) -> None:
        self._channel.send(packet)

    async def _renew_on(self) -> None:
        while True:
            await asyncio.sleep(RENEWED_SECONDS)
            try:
                if self._credentials.renew():
                    log.info("certificates for the other hosts were renewed")
            except (OSError, ssl.SSLError) as error:
                log.warning("certificates for the other hosts cannot be renewed: %s", error)

    # --- asking -------------------------------------------------------------------------

    async def _ask_on(self, host: Neighbour) -> None:
        while True:
            began = time.monotonic()
            if self._own is not None:
                try:
                    self._say(await self._ask(host, self._own))
                except Exception as error:
                    # Whatever it has said: who is not asked any more would be taken to be there for ever.
                    reason = str(error)[:500] or f"no answer within {self._plan.interval:g} s"
                    self._say(Unheard(tag=host.tag, reason=reason))
            wait = self._plan.interval - (time.monotonic() - began)
            await asyncio.sleep(max(wait, self._plan.interval / 10) if self._own is not None else 0.05)

    async def _ask(self, host: Neighbour, own: News) -> FromAsker:
        """Raises:
        aiohttp.ClientError, OSError, TimeoutError: it does not answer.
        ValueError: what it answers is not what it should.
        """
        async with self._session.get(host.address + PATH, **self._as_own(host, own)) as response:
            if response.status == CONFLICT:
                return Doubled(name=(await response.text())[:100])
            if response.status != web.HTTPOk.status_code:
                raise ValueError(f"it answers {response.status} {response.reason}")
            body = await _read(response, MAX_ANSWER + 1)
        if len(body) > MAX_ANSWER:
            raise ValueError("its answer is too long")
        try:
            news = read_news(body)
        except BadPacket as error:
            raise ValueError(f"its answer is none: {error}") from None
        if news.tag != host.tag:
            raise ValueError(f"it has the tag {news.tag}, not {host.tag}")
        self._known[news.tag] = (news.name, news.instance, time.monotonic())
        await self._forget_screens(news, own)
        return Heard(news=news)

    def _as_own(self, host: Neighbour, own: News) -> dict[str, Any]:
        """What a request to a host has, by which it knows this one, and this one it."""
        token = self._credentials.token
        return {
            "params": {"name": own.name, "tag": own.tag, "instance": own.instance},
            "headers": {"Authorization": f"Bearer {token}"} if token else {},
            "server_hostname": name_of(host.tag) if self._credentials.client is not None else None,
        }

    # --- last screens -------------------------------------------------------------------

    async def _copy(self, to: str, session: str, body: bytes) -> None:
        """Have another host keep a screen."""
        try:
            await self._post(to, SCREENS, body)
        except OthersError as error:
            self._say(Copied(id=session, trouble=str(error)[:MAX_REASON]))
        else:
            self._say(Copied(id=session))

    async def _say_alive(self, to: str, sessions: bytes) -> None:
        try:
            missing = await self._post(to, ALIVE, sessions)
        except OthersError as error:
            log.debug("it is not heard which sessions live: %s", error)  # it is said again
        else:
            self._say(Missing(of=to, sessions=missing.split()[:MAX_MISSING]))

    async def _post(self, to: str, path: str, body: bytes) -> str:
        """What another host says to this.

        Raises:
            OthersError: it does not take it.
        """
        own, host = self._own, self._neighbours.get(to)
        if own is None or host is None:
            raise OthersError(f"no host has the tag {to}")
        async with self._posting(host, own, path, body) as response:
            said = (await _read(response, MAX_ANSWER)).decode(errors="replace")
        if response.status != web.HTTPOk.status_code:
            raise OthersError(f"{host.name} answers {response.status}: {said[:MAX_REASON].strip()}")
        return said

    async def _keep(
        self, act: Callable[[LastScreens, str, bytes], str], request: web.Request
    ) -> web.Response:
        """Do something about the screens that are kept for another host; ``act(kept, tag, body)`` gives the
        answer."""
        if not self._is(request, tag := request.query.get("tag", "")):
            return _stranger()
        if self._kept is None or tag not in self._neighbours:
            return web.Response(status=web.HTTPNotFound.status_code, text="no screens are kept here\n")
        body = await request.read()
        try:
            return web.Response(text=await asyncio.to_thread(act, self._kept, tag, body))
        except NotKept as error:
            return web.Response(status=web.HTTPUnprocessableEntity.status_code, text=f"{error}\n")
        except OSError as error:
            return web.Response(status=web.HTTPInsufficientStorage.status_code, text=f"{error.strerror}\n")

    async def _forget_screens(self, news: News, own: News) -> None:
        """Let the screens of a host go that has them kept elsewhere now, or nowhere."""
        if self._kept is None or news.screens_at in (own.tag, None):
            self._elsewhere.discard(news.tag)
        elif news.tag not in self._elsewhere:
            try:
                await asyncio.to_thread(self._kept.drop, news.tag)
            except OSError as error:
                self._troubles.say(f"screens of {news.name}", f"they cannot be removed: {error}")
            else:
                self._elsewhere.add(news.tag)

    # --- for this host ------------------------------------------------------------------

    async def _names(self, request: web.Request) -> web.Response:
        """The names of the others that have answered a moment ago."""
        now = time.monotonic()
        heard = {tag for tag, (_, _, at) in self._known.items() if now - at < self._fresh}
        return web.Response(text="\n".join(host.name for host in self._plan.neighbours if host.tag in heard))

    async def _pass_on(self, request: web.Request) -> web.Response:
        """Ask another host something, and answer what it answers."""
        name, own = request.match_info["name"], self._own
        host = next((host for host in self._plan.neighbours if host.name == name), None)
        if host is None or own is None:
            return web.Response(status=web.HTTPNotFound.status_code, text=f"no host {name}\n")
        try:
            async with self._posting(host, own, ASK, await request.read()) as response:
                return web.Response(status=response.status, body=await response.read())
        except OthersError as error:
            return web.Response(status=web.HTTPBadGateway.status_code, text=f"{error}\n")

    @asynccontextmanager
    async def _posting(
        self, host: Neighbour, own: News, path: str, body: bytes
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Another host's answer to something that it is sent.

        Raises:
            OthersError: it does not answer.
        """
        timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
        try:
            async with self._session.post(
                host.address + path, data=body, timeout=timeout, **self._as_own(host, own)
            ) as response:
                yield response
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            reason = str(error) or f"no answer within {ANSWER_SECONDS:g} s"
            raise OthersError(f"{host.name}: {reason}") from None

    # --- answering ----------------------------------------------------------------------

    async def _answer(self, request: web.Request) -> web.Response:
        own, said = self._own, request.query
        tag = said.get("tag", "")
        if not self._is(request, tag):
            return _stranger()
        if own is None:
            return web.Response(status=web.HTTPServiceUnavailable.status_code, text="not yet\n")
        if holder := self._other_of(own, tag, said.get("instance", "")):
            text = f"{said.get('name', '')[:100]!a} asks as one with it, and it is that of {holder}"
            self._troubles.say(f"the tag {tag}", text)
            return web.Response(status=CONFLICT, text=holder)
        return web.Response(body=pack(own), content_type="application/json")

    async def _do(self, request: web.Request) -> web.Response:
        """Have the session manager here do something for another host."""
        if not self._is(request, request.query.get("tag", "")):
            return _stranger()
        try:
            asked = encode(replace(read_asked(await request.read()), req=1))
            answers = await asyncio.to_thread(exchange, self._plan.control, asked, ANSWER_SECONDS)
        except (BadPacket, ControlError, OSError) as error:
            return web.Response(status=web.HTTPConflict.status_code, text=f"{error}\n")
        return web.Response(body=b"\n".join(answers))

    def _is(self, request: web.Request, tag: str) -> bool:
        """Whether a request is by the host of this tag."""
        if self._credentials.server is None:
            expected = f"Bearer {self._credentials.token}"
            return hmac.compare_digest(request.headers.get("Authorization", "").encode(), expected.encode())
        certificate = request.transport.get_extra_info("peercert") if request.transport else None
        names = (certificate or {}).get("subjectAltName", ())
        return ("DNS", name_of(tag)) in names

    def _other_of(self, own: News, tag: str, instance: str) -> str:
        """The name of the host that has this tag, if that is another; "" where there is none."""
        if tag == own.tag:
            return own.name if instance != own.instance else ""
        name, known, at = self._known.get(tag, ("", instance, 0.0))
        recent = time.monotonic() - at < self._fresh
        return name if recent and known != instance else ""


def _take(kept: LastScreens, tag: str, body: bytes) -> str:
    """Keep a screen for another host."""
    kept.take(tag, body)
    return ""


def _keep_only(kept: LastScreens, tag: str, body: bytes) -> str:
    """Keep no screens of what has ended at another host; says which are missing."""
    sessions = frozenset(body.decode(errors="replace").split("\n")) - {""}
    return "\n".join(kept.only(tag, sessions))


async def _read(response: aiohttp.ClientResponse, most: int) -> bytes:
    """What another host answers, or so much of it."""
    body = b""
    while len(body) < most and (more := await response.content.read(most - len(body))):
        body += more
    return body


def _stranger() -> web.Response:
    return web.Response(status=web.HTTPForbidden.status_code, text="you are not who you say\n")


def main(fd: int, listener: int) -> None:
    """Serve the manager on the other end of socket ``fd``, and other hosts on ``listener``."""
    log_to_stderr()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C at the manager's terminal is the manager's affair
    manager = socket.socket(fileno=fd)
    plan = read_by_asker(manager.recv(1 << 17))
    assert isinstance(plan, Plan)

    Path(plan.socket).unlink(missing_ok=True)  # of the one before
    os.umask(0o077)

    async def serve() -> None:
        await Asker(manager, socket.socket(fileno=listener), plan).run()

    try:
        asyncio.run(serve())
    except (OSError, ssl.SSLError) as error:
        sys.exit(f"other hosts cannot be asked: {error}")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
