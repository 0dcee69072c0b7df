"""One WebSocket connection: what is said on it :class:`~terminals.protocol.server.ServerSide` decides.

The protocol is documented in docs/protocol.md.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import errno
import logging
import math
import os
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

import msgspec
from websockets.frames import CloseCode as StandardClose
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import SERVER, Protocol, State
from websockets.server import ServerProtocol

from terminals.access import Access, Denied
from terminals.background import Background
from terminals.control import packets
from terminals.control.answers import (
    Attached,
    Elsewhere,
    Outcome,
    Refusal,
    Routed,
    read_outcome,
    read_painted,
)
from terminals.control.asking import ControlError
from terminals.control.channel import ManagerLink
from terminals.control.framing import BadPacket, pack
from terminals.protocol import HEARTBEAT, HEARTBEATS_MISSED, messages, server
from terminals.protocol.messages import ErrorCode
from terminals.protocol.server import ServerSide
from terminals.tickets import Role, Ticket
from terminals.worker.beats import Beats
from terminals.worker.files import Files
from terminals.worker.turns import Allowance, Turns
from terminals.worker.viewer import Viewer

log = logging.getLogger("terminals.worker")

HELLO_SECONDS = 10.0
CLOSE_SECONDS = 1.0
RENEWED = 0.4
"""Share of a ticket's life after which whoever is still here gets the next."""
RETURN_WINDOW = 0.5
"""Seconds over which clients that are asked to come back spread their return."""
WRITE_HIGH_WATER = 1 << 18
ANSWERS_HIGH_WATER = 1 << 14
"""Bytes of answers are written whether or not the client takes them, but what more is asked for is not read
before it has taken them all."""
ANSWERS_SECONDS = 0.25
"""Between two looks whether it has."""
READ_BYTES = 1 << 13
"""Most that is read at once: a thousand connections may be kept waiting with that."""
MAX_MESSAGE = messages.MAX_MESSAGE
TURN_BYTES = 1 << 10
"""So much is looked at in one turn: some 40 frames of the shortest kind."""
SHORT = 126
"""Bytes of a message below which a frame's head has two, and a mask of four."""
ASKED_AT_ONCE = 16
"""Attaches of all connections that the session manager has to answer at the same time: what is typed waits
behind them on its way there."""
ASKED_BY_ONE = 8
"""Attaches of a connection that are not answered, past which it is not read."""
WATCHING_SINCE = 2
"""The manager's version of the protocol; an older one would take a watcher for somebody who types."""


HEAD_END = b"\r\n\r\n"
_BINARY = 0x80 | Opcode.BINARY
"""First byte of a binary message in one frame."""


class _Frames(Protocol):
    """Knows how many received bytes lay behind the last complete frame."""

    behind: int | None = None

    def recv_frame(self, frame: Frame) -> None:
        super().recv_frame(frame)
        self.behind = len(self.reader.buffer)


class _Opening(_Frames, ServerProtocol):
    """A connection that begins with the opening handshake."""


@dataclass
class Server:
    """What the connections of a worker share."""

    link: ManagerLink
    access: Access
    generation: str
    build: str
    heartbeat: float = HEARTBEAT
    """Seconds between pings."""
    connections: set[Connection] = field(default_factory=set)
    viewers: dict[int, Connection] = field(default_factory=dict)
    """Which connection serves which attachment."""
    background: Background = field(default_factory=lambda: Background(log))
    held_back: set[Connection] = field(default_factory=set)
    """Connections that are not read until the session manager has caught up."""
    turns: Turns = field(default_factory=Turns)
    buffer: memoryview = field(default_factory=lambda: memoryview(bytearray(READ_BYTES)), repr=False)
    """What was read last, by whichever connection."""
    beats: Beats = field(default_factory=Beats)

    asked: int = 0
    """Attaches that the session manager has not answered."""
    to_ask: collections.deque[Callable[[], bool]] = field(default_factory=collections.deque)
    """Those that wait until there are fewer."""

    def ask(self, attach: Callable[[], bool]) -> None:
        """Have an attach asked for when its time has come: ``attach()`` says whether it was."""
        self.to_ask.append(attach)
        self._ask_next()

    def answered(self) -> None:
        """One of them has come to its end."""
        self.asked -= 1
        self._ask_next()

    def _ask_next(self) -> None:
        while self.to_ask and self.asked < ASKED_AT_ONCE:
            self.asked += 1
            if not self.to_ask.popleft()():
                self.asked -= 1

    def go_on(self) -> None:
        """The session manager has caught up."""
        held_back, self.held_back = self.held_back, set()
        for connection in held_back:
            connection.go_on()


class Connection(asyncio.BufferedProtocol):
    """Serves one client: its socket, its frames, and a viewer for each of its attachments."""

    # There are thousands, most of them idle.
    __slots__ = (
        "__weakref__",
        "_accepted",
        "_address",
        "_allowance",
        "_answers",
        "_asking",
        "_beats_at",
        "_begun",
        "_boundary",
        "_conn",
        "_cookie",
        "_events",
        "_files",
        "_greeting",
        "_heard",
        "_leaving",
        "_look",
        "_loop",
        "_profile",
        "_renewal",
        "_rest",
        "_server",
        "_side",
        "_together",
        "_transport",
        "_unread",
        "_viewers",
        "_waits",
        "_writing",
        "_ws",
    )

    def __init__(self, worker: Server, conn: packets.Conn) -> None:
        """``conn`` is the manager's packet; it carries state when a worker handed the connection over."""
        self._server = worker
        self._profile = conn.listener
        self._address = conn.address
        self._conn: packets.Conn | None = conn
        """Until it has begun."""
        handoff = conn.hello is not None
        # After a handoff the opening handshake is over: go on with the frames.
        self._ws: _Frames = (
            _Frames(SERVER, max_size=MAX_MESSAGE) if handoff else _Opening(max_size=MAX_MESSAGE)
        )
        self._side = ServerSide(
            build=worker.build,
            generation=worker.generation,
            heartbeat=worker.heartbeat,
            hello=conn.hello,
        )
        self._viewers: dict[int, Viewer] = {}
        """By handle."""
        self._events: list[Any] = []
        self._begun: tuple[Opcode, bytearray] | None = None
        """A message of which the last fragment has not come: its kind, and what has."""
        self._rest = b""
        self._unread = bytearray()
        """What has come, and waits for its turn."""
        self._waits = False
        """Whether there is a turn to come."""
        self._asking = 0
        """Attaches that are not answered."""
        self._answers = 0
        """Bytes of answers that wait for the client."""
        self._boundary = False
        """Whether the parser has read whole frames and nothing else."""
        self._files: Files | None = None
        """Once there are transfers."""
        self._together = False
        """Whether what is sent waits for more that goes along with it."""
        self._writing = True
        self._heard = 0.0
        self._beats_at = 0
        self._cookie: str | None = None
        """Of a browser that has signed in, until it has said hello."""
        self._greeting: asyncio.TimerHandle | None = None
        """Until it has said hello."""
        self._renewal: asyncio.TimerHandle | None = None
        self._leaving: asyncio.TimerHandle | None = None
        self._look: asyncio.TimerHandle | None = None

    # --- asyncio.Protocol -----------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start serving."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=WRITE_HIGH_WATER)
        self._loop = asyncio.get_running_loop()
        self._heard = self._loop.time()
        self._allowance = Allowance(self._heard)
        conn, self._conn = self._conn, None
        assert conn is not None
        self._accepted = time.monotonic() if conn.since is None else conn.since
        self._server.connections.add(self)
        if self._side.hello is not None:
            if not self.check():  # who passed it on did not know that yet
                return
            # The attach for which it was passed on, as if it came now.
            assert conn.attach is not None
            self._side.received(pack(conn.attach), text=True)
            self._carry_out()
            if conn.rest:
                self.data_received(conn.rest)
        else:
            self._greeting = self._loop.call_later(HELLO_SECONDS, self._hello_missing)
            if conn.rest:  # a web process has read the request
                self.data_received(conn.rest)
        self._renew_later()
        self._beats_at = self._server.beats.add(self, self._server.heartbeat)

    def data_received(self, data: bytes) -> None:
        """Bytes from the client."""
        self._heard = self._loop.time()
        if not self._unread and self._allowance.takes(len(data), self._heard):
            self._take(data)
            if self._stuck() or self._asking >= ASKED_BY_ONE:
                self._read_on()
            return
        self._unread += data
        self._read_on()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the next bytes are put."""
        return self._server.buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Bytes have come."""
        self.data_received(bytes(self._server.buffer[:nbytes]))

    def _turn(self) -> None:
        """Look at a little of what waits."""
        self._waits = False
        piece = bytes(self._unread[:TURN_BYTES])
        del self._unread[:TURN_BYTES]
        if piece:
            self._take(piece)
        self._read_on()

    def _read_on(self) -> None:
        """Look at what comes next, unless something has to be waited for."""
        if self._transport.is_closing() or self._events or self in self._server.held_back:
            return
        if self._stuck():
            self._transport.pause_reading()
            self._look_again()
        elif self._asking >= ASKED_BY_ONE:
            self._transport.pause_reading()
        elif not self._unread:
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()
            if not self._waits:
                self._waits = True
                self._server.turns.add(self._turn)

    def _stuck(self) -> bool:
        """Whether it does not take its answers; once it has taken them all, they are counted anew."""
        if self._answers and not self._transport.get_write_buffer_size():
            self._answers = 0
        return self._answers > ANSWERS_HIGH_WATER

    def _look_again(self) -> None:
        if self._look is None:
            self._look = self._loop.call_later(ANSWERS_SECONDS, self._looked)

    def _looked(self) -> None:
        self._look = None
        self._read_on()

    def _take_rest(self) -> None:
        """Nothing comes behind what has come: look at it all."""
        if self._unread:
            rest, self._unread = bytes(self._unread), bytearray()
            self._take(rest)

    def _take(self, data: bytes) -> None:
        if self._boundary and len(data) < SHORT + 6 and self._plain(data):
            return
        if self._side.routable:
            self._rest += data
        self._ws.behind = None
        self._ws.receive_data(data)
        self._boundary = self._ws.behind == 0
        if self._side.routable and self._ws.behind is not None:
            # What the parser holds of an incomplete frame has to travel along with a handover.
            self._rest = self._rest[len(self._rest) - self._ws.behind :]
        self._events.extend(self._ws.events_received())
        alone = self._ws.state is State.CONNECTING and data.endswith(HEAD_END)
        self._work_off()
        if alone and self._ws.state is State.OPEN and isinstance(self._ws, _Opening):
            # Nothing came behind the request: go on without it, and all that was kept of it.
            self._ws = _Frames(SERVER, max_size=MAX_MESSAGE)
            self._boundary = True

    def _plain(self, data: bytes) -> bool:
        """Pass on one short frame of input, as a key is, or an acknowledgement: most of what comes, and all
        that a person waits for. Whether it was one; whatever else it is goes the usual way."""
        size = len(data) - 6
        if size < 0 or data[0] != _BINARY or data[1] != 0x80 | size:
            return False
        if self._events or self._begun or self._ws.state is not State.OPEN or self._server.link.congested:
            return False
        message = self._side.plain(_unmasked(data[6:], data[2:6]))
        if message is None:
            return False
        if isinstance(message, server.Typed):
            self._server.link.send_raw(packets.encode_input(message.handle, message.seq, message.data))
        else:
            self._server.link.send_raw(packets.encode_ack(message.handle, message.seq))
        return True

    def go_on(self) -> None:
        """The session manager takes packets again."""
        self._work_off()
        self._read_on()

    def _work_off(self) -> None:
        """Handle what the client has sent, as far as the session manager takes it."""
        # What it is answered goes at the end of it: whom it asks for something is asked first.
        self._together = True
        try:
            self._work_off_events()
        finally:
            self._together = False
        self._answers += self._flush()

    def _work_off_events(self) -> None:
        while self._events:
            if self._server.link.congested and not self._transport.is_closing():
                self._transport.pause_reading()
                self._server.held_back.add(self)
                break
            event = self._events.pop(0)
            if isinstance(event, Request):
                self._handshake(event)
            elif isinstance(event, Frame):
                self._frame(event)

    def eof_received(self) -> None:
        """The client has closed its side."""
        self._take_rest()
        self._ws.receive_eof()
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone: give its sessions back."""
        self._take_rest()
        self._server.connections.discard(self)
        self._server.held_back.discard(self)
        self._server.beats.discard(self, self._beats_at)
        for timer in (self._greeting, self._renewal, self._leaving, self._look):
            if timer is not None:
                timer.cancel()
        rcvd = self._ws.close_rcvd
        goodbye = rcvd is not None and rcvd.code in (StandardClose.NORMAL_CLOSURE, StandardClose.GOING_AWAY)
        if self._files is not None:
            self._files.close()
        self._side.lost(goodbye=goodbye)
        self._carry_out()
        self._server.link.send(packets.Closed())

    def pause_writing(self) -> None:
        """The client reads slower than we write."""
        self._writing = False

    def resume_writing(self) -> None:
        """The client has caught up."""
        self._writing = True
        self._read_on()
        for handle, viewer in list(self._viewers.items()):
            viewer.pump()
            if not self._writing and handle in self._viewers:
                # It has taken all the room there was: next time the others have theirs first.
                self._viewers[handle] = self._viewers.pop(handle)
                break
        if self._files is not None:
            self._files.go_on()

    # --- called by the worker ---------------------------------------------------------

    def restart(self, retry_after: float) -> None:
        """Close with *service restart*: the client comes back within ``retry_after`` seconds."""
        self._side.restart(retry_after)
        self._carry_out()

    def drop(self, handle: int, code: int, error: str, message: str) -> None:
        """End one attachment with an error; the connection ends with ``code`` when it was its last."""
        self._side.end(handle, code, error, message)
        self._carry_out()

    def recorded(self, handle: int, state: str) -> None:
        """Say that a session is recorded from now on, or is not any more."""
        self._side.recorded(handle, state)
        self._carry_out()

    def check(self) -> bool:
        """Whether it may go on: it ends, if it came with a ticket that is revoked."""
        hello = self._side.hello
        by_token = hello is None or not (hello.life or hello.born)
        if hello is None or by_token or not self._server.access.revoked(hello.user, hello.born):
            return True
        self._side.deny("the ticket was revoked")
        self._carry_out()
        return False

    def abort(self) -> None:
        """Cut the connection."""
        self._transport.abort()

    # --- frames -----------------------------------------------------------------------

    def _handshake(self, request: Request) -> None:
        assert isinstance(self._ws, _Opening)
        access = self._server.access
        origin, host, proto = (
            next(iter(request.headers.get_all(name)), None)
            for name in ("Origin", "Host", "X-Forwarded-Proto")
        )
        secure = access.secure(self._address, proto)
        self._address = access.address(self._address, request.headers.get_all("X-Forwarded-For"))
        twice = [name for name in ("Host", "Origin") if len(request.headers.get_all(name)) > 1]
        if twice:
            response = self._ws.reject(400, f"there may be one {twice[0]} header\n")
        elif wait := access.limit.wait(self._address, self._loop.time()):
            response = self._ws.reject(429, "too many wrong credentials\n")
            response.headers["Retry-After"] = str(math.ceil(wait))
        elif not access.page_allowed(origin, host or ""):
            response = self._ws.reject(403, "pages of other hosts may not open terminals here\n")
        else:
            if access.same_page(origin, host or "", secure=secure):
                self._cookie = access.cookie(request.headers.get_all("Cookie"), secure=secure)
            response = self._ws.accept(request)
        self._ws.send_response(response)

    def _frame(self, frame: Frame) -> None:
        if frame.opcode not in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            return  # pings are answered and closes echoed by the library
        opcode: Opcode = frame.opcode
        data = bytes(frame.data)
        if self._begun is not None or not frame.fin:
            # The bytes alone are kept, which have a limit: frames would have none, for they may be empty.
            opcode, whole = self._begun or (opcode, bytearray())
            whole += data
            self._begun = None if frame.fin else (opcode, whole)
            if not frame.fin:
                return
            data = bytes(whole)
        self._side.received(data, text=opcode is Opcode.TEXT)
        self._carry_out()

    # --- what the conversation wants ----------------------------------------------------

    def _carry_out(self) -> None:
        link = self._server.link
        while items := self._side.take():
            for item in items:
                match item:
                    case server.Typed(handle, seq, data):
                        link.send_raw(packets.encode_input(handle, seq, data))
                    case server.Taken(handle, seq):
                        link.send_raw(packets.encode_ack(handle, seq))
                    case messages.Send(data):
                        self._send(data)
                    case server.Resized(handle, cols, rows):
                        link.send(packets.Resize(handle=handle, cols=cols, rows=rows))
                    case server.Kill(handle):
                        link.send(packets.End(handle=handle))
                    case server.Detached(handle, planned):
                        self._detached(handle, planned=planned)
                    case server.Identify():
                        self._identify(item)
                    case server.Attach():
                        self._start_attach(item)
                    case server.Close(code, reason):
                        self._close(code, reason)
                    case _:
                        self._with_files().do(item)

    def _identify(self, presented: server.Identify) -> None:
        access = self._server.access
        cookie, self._cookie = self._cookie, None
        try:
            identity = access.identify(presented.token, presented.ticket, cookie, presented.program)
        except Denied as error:
            shown = (("ticket", presented.ticket), ("token", presented.token), ("cookie", cookie))
            kind, credential = next((pair for pair in shown if pair[1] is not None), ("nothing", None))
            if credential:
                access.limit.failed(self._address, credential, self._loop.time())
            log.info("%s is not let in with a %s: %s", self._address, kind, error)
            self._side.deny(str(error))
        else:
            self._side.welcome(
                user=identity.user,
                only=identity.session,
                read_only=identity.read_only,
                ticket=identity.renewed,
                life=identity.life,
                born=identity.born,
                role=identity.role,
                until=identity.until,
            )
            if self._greeting is not None:
                self._greeting.cancel()
                self._greeting = None
            self._renew_later()

    def _with_files(self) -> Files:
        if self._files is None:
            self._files = Files(self._side.transfers, self._server.link, self._carry_out, self.writable)
        return self._files

    def offer(self, order: packets.Offer | packets.Withdraw) -> None:
        """Tell whoever is attached by a handle that there is a file to download, or is none any more."""
        channels = [channel for channel, handle in self._side.attached_to.items() if handle == order.handle]
        self._with_files().offer(order, channels[0] if channels else None)
        self._carry_out()

    def _detached(self, handle: int, *, planned: bool) -> None:
        if self._files is not None:
            self._files.detached(handle)
        if viewer := self._viewers.pop(handle, None):
            viewer.close()
        self._server.viewers.pop(handle, None)
        self._server.link.send(packets.Detach(handle=handle, planned=planned))

    # --- attaching ----------------------------------------------------------------------

    def _start_attach(self, attach: server.Attach) -> None:
        if attach.watch and self._server.link.welcome.protocol < WATCHING_SINCE:
            text = "the session manager here is too old for watching"
            self._side.refuse(attach.channel, ErrorCode.UNAVAILABLE, text, 60.0)
            return
        hello = self._side.hello
        assert hello is not None
        request = packets.Attach(
            profile=self._profile,
            client=hello.client,
            user=hello.user,
            only=hello.only,
            address=self._address,
            cols=attach.cols,
            rows=attach.rows,
            since=self._accepted,
            session=attach.session,
            resume=attach.resume,
            watch=attach.watch,
            snapshots=attach.snapshots,
            routable=attach.routable,
            everyone=hello.role != "user",
            hops=hello.version >= server.ELSEWHERE_SINCE,
        )
        self._asking += 1
        self._server.ask(partial(self._ask, attach, request))

    def _ask(self, attach: server.Attach, request: packets.Attach) -> bool:
        """Ask the session manager, unless nobody would hear the answer; whether it was asked."""
        try:
            if self._transport.is_closing():
                raise ControlError("the client has gone")
            asked = self._server.link.post(request, read_outcome, self._decided)
        except ControlError as error:
            self._asking -= 1
            self._side.unavailable(attach.channel, str(error))
            self._loop.call_soon(self._carry_out)
            return False
        self._spawn(self._counted(self._attach(attach, request, asked)), "an attach")
        return True

    async def _counted(self, attach: Coroutine[Any, Any, None]) -> None:
        """Carry an attach out that was asked for; the next has its turn then."""
        try:
            await attach
        finally:
            self._asking -= 1
            self._server.answered()
            self._read_on()

    def _spawn(self, work: Coroutine[Any, Any, None], what: str) -> None:
        self._server.background.start(work, what)

    async def _attach(
        self,
        attach: server.Attach,
        request: packets.Attach,
        asked: asyncio.Future[tuple[Outcome, list[int]]],
    ) -> None:
        try:
            outcome, fds = await asked
            if isinstance(outcome, Routed) and self._hand_over(outcome.route, attach):
                return
            if isinstance(outcome, Routed):
                here = msgspec.structs.replace(request, routable=False)
                outcome, fds = await self._server.link.post(here, read_outcome, self._decided)
        except ControlError as error:
            self._side.unavailable(attach.channel, str(error))
            self._carry_out()
            return
        match outcome:
            case Attached():
                self._attached(attach.channel, outcome, fds)
            case Refusal():
                self._side.refuse(
                    attach.channel,
                    outcome.code,
                    outcome.message,
                    outcome.retry_after,
                    since=outcome.since,
                    screen=outcome.screen,
                )
            case Elsewhere(url=url):
                self._side.elsewhere(attach.channel, url)
            case Routed():
                self._side.unavailable(attach.channel, "the session manager does not say where it is served")
        self._side.go_on()
        self._carry_out()

    def _decided(self, outcome: Outcome) -> None:
        """From here on the session manager may say something about the new attachment."""
        if isinstance(outcome, Attached):
            self._server.viewers[outcome.handle] = self

    def _attached(self, channel: int, granted: Attached, fds: list[int]) -> None:
        """Carry out what the session manager has said to an attach."""
        side, handle = self._side, granted.handle
        side.closing = side.closing or self._transport.is_closing()
        self._rest = b""
        if not side.admit(channel, handle):
            for fd in fds:
                os.close(fd)
            return
        try:
            viewer = self._view(channel, granted, fds)
        except OSError as error:
            for fd in fds:
                os.close(fd)
            if granted.status == "created":  # nobody will ever know of it
                self._server.link.send(packets.End(handle=handle))
            self._detached(handle, planned=True)
            side.unavailable(channel, f"no more files can be open: {error.strerror}")
            return
        self._viewers[handle] = viewer
        side.attached(channel, handle, self._grant(granted))
        if self._files is not None:
            self._files.attached(handle, channel)
        self._carry_out()
        viewer.pump()

    def _grant(self, granted: Attached) -> server.Grant:
        return server.Grant(
            session=granted.session,
            status=granted.status,
            epoch=granted.epoch,
            output=granted.output,
            head=granted.output if granted.head is None else granted.head,
            skipped=granted.skipped,
            input=granted.input,
            origin=granted.origin,
            mode=granted.mode,
            cols=granted.cols,
            rows=granted.rows,
            generation=self._server.generation,
            build=self._server.build,
            profile=self._profile,
            input_unknown=granted.input_unknown,
            snapshot=granted.snapshot is not None,
            recording=granted.recording,
            files=granted.files,
        )

    def _view(self, channel: int, granted: Attached, fds: list[int]) -> Viewer:
        painted = granted.snapshot
        if len(fds) != (3 if painted else 2):
            raise OSError(errno.EMFILE, "some of its descriptors got lost")
        screen = _contents(fds.pop(), painted.length) if painted else b""
        viewer = Viewer(
            handle=granted.handle,
            start=granted.output,
            input_base=granted.input,
            fds=fds,
            channel=channel,
            outlet=self,
            size=(granted.cols or 0, granted.rows or 0) if granted.mode == "read" else None,
        )
        if painted:
            viewer.paint(painted.offset, screen)
        return viewer

    async def _repaint(self, viewer: Viewer) -> None:
        """A client that does not type came too slow for the shell: show it the screen as it is now."""
        self._flush()  # an acknowledgement may have waited for the output that is not to be had
        assert self._side.hello is not None
        try:
            if self._side.hello.version < server.SCREENS_SINCE:
                raise ControlError("its client knows no screens")
            painted, fds = await self._server.link.post(packets.Repaint(handle=viewer.handle), read_painted)
            if not fds:
                raise ControlError("no more files can be open")
        except ControlError as error:
            log.info("%s is sent back to attach again: %s", self._address, error)
            self.restart(RETURN_WINDOW)
            return
        screen = _contents(fds.pop(), painted.length)
        if self._viewers.get(viewer.handle) is viewer:
            viewer.jump(painted.offset, screen)

    def _hand_over(self, generation: str, attach: server.Attach) -> bool:
        """Pass this connection on to the generation that its session belongs to."""
        waits = self._transport.get_write_buffer_size() or self._events or self._begun
        if self._transport.is_closing() or self._side.closing or waits:
            return False
        assert self._side.hello is not None
        # As if they had come after it: whoever has the connection then finds the other attaches there.
        later = b"".join(Frame(Opcode.TEXT, message).serialize(mask=True) for message in self._side.waiting)
        self._transport.pause_reading()
        fd = -1
        try:
            fd = os.dup(self._transport.get_extra_info("socket").fileno())
            handoff = packets.Handoff(
                to=generation,
                listener=self._profile,
                address=self._address,
                hello=self._side.hello,
                attach=packets.ClientAttach(
                    channel=attach.channel,
                    session=attach.session,
                    cols=attach.cols,
                    rows=attach.rows,
                    resume=attach.resume,
                    mode="read" if attach.watch else "write",
                ),
                since=self._accepted,
                rest=later + self._rest + self._unread,
            )
            self._server.link.send(handoff, (fd,))
        except (OSError, BadPacket) as error:
            log.info("%s is not handed over: %s", self._address, error)
            self._transport.resume_reading()
            return False
        finally:
            if fd >= 0:
                os.close(fd)
        self._unread.clear()
        self._transport.abort()  # closes our descriptor only; the connection lives on in the other worker
        return True

    # --- what the viewers have to say (see viewer.Outlet) -------------------------------

    def writable(self) -> bool:
        """Whether the client takes more."""
        return self._writing and not self._transport.is_closing()

    def output(self, channel: int, seq: int, data: bytes) -> None:
        """Send output."""
        self._send(messages.encode_data(channel, seq, data))

    def input_ack(self, channel: int, seq: int, *, alone: bool) -> None:
        """Acknowledge input; unless it is ``alone``, output that follows, its echo, takes that along."""
        together, self._together = self._together, self._together or not alone
        self._send(messages.encode_ack(channel, seq))
        self._together = together

    def snapshot(self, channel: int, seq: int, screen: bytes) -> None:
        """Show a screen."""
        self._send(messages.encode_snapshot(channel, seq, screen))

    def exit(self, channel: int, status: int) -> None:
        """Tell that the shell has ended."""
        self._side.exit(channel, status)
        self._carry_out()

    def resized(self, channel: int, cols: int, rows: int) -> None:
        """Tell that a terminal which is watched has another size."""
        self._side.size(channel, cols, rows)
        self._carry_out()

    def overrun(self, viewer: Viewer) -> None:
        """A client that does not type came too slow for the shell."""
        self._spawn(self._repaint(viewer), "a new screen")

    # --- output -----------------------------------------------------------------------

    def _send(self, data: str | bytes) -> None:
        if self._ws.state is State.OPEN:
            if isinstance(data, str):
                self._ws.send_text(data.encode())
            else:
                # As the library would, at a fifth of the cost: unmasked, whole, and without extensions.
                self._ws.writes += (_head(len(data)), data)
            if not self._together:
                self._flush()

    def _flush(self) -> int:
        """Write what is to be written; how many bytes that were."""
        chunks = self._ws.data_to_send()
        if (data := b"".join(chunks)) and not self._transport.is_closing():
            self._transport.write(data)  # at once: each write wakes the client
        if self._ws.state is State.OPEN:
            return len(data)
        if chunks and not chunks[-1] and self._transport.can_write_eof():
            with contextlib.suppress(OSError, RuntimeError):
                self._transport.write_eof()
        if self._ws.close_expected() and self._leaving is None:
            self._leaving = self._loop.call_later(CLOSE_SECONDS, self._transport.abort)
        if self._ws.state is State.CLOSED:
            self._transport.close()
        return len(data)

    def _close(self, code: int, reason: str) -> None:
        if self._ws.state is State.OPEN:
            self._ws.send_close(code, reason)
            self._flush()
        elif self._ws.state is State.CONNECTING:
            self._transport.close()

    # --- timers -----------------------------------------------------------------------

    def _hello_missing(self) -> None:
        if self._side.hello is None:
            self._transport.abort()

    def _renew_later(self) -> None:
        """Long before its ticket has ended, a client gets the next: who has been here all the time can come
        back, too. At the end of all its tickets it has to go."""
        hello = self._side.hello
        if hello is None or not (hello.life or hello.until):
            return
        waits = [RENEWED * hello.life] if hello.life else []
        if hello.until:
            waits.append(max(0.0, hello.until - time.time()))
        self._renewal = self._loop.call_later(min(waits), self._renew)

    def _renew(self) -> None:
        hello = self._side.hello
        assert hello is not None
        if hello.until and time.time() >= hello.until:
            self._side.deny("the ticket has expired")
            self._carry_out()
            return
        if hello.life:
            role = cast(Role, hello.role)
            ticket = Ticket(
                hello.user, hello.only, hello.life, hello.read_only, hello.born, role, hello.until
            )
            self._side.renew(self._server.access.renew(ticket))
            self._carry_out()
        self._renew_later()

    def beat(self) -> None:
        """Find half-open connections: nothing is heard, though we pinged."""
        if self in self._server.held_back:
            self._heard = self._loop.time()  # it is we who do not listen
        if self._loop.time() - self._heard >= HEARTBEATS_MISSED * self._server.heartbeat:
            self._transport.abort()
            return
        self._beats_at = self._server.beats.add(self, self._server.heartbeat)
        if self._ws.state is State.OPEN:
            self._ws.send_ping(b"")
            self._flush()


def _head(size: int) -> bytes:
    """What a binary message of ours begins with."""
    if size < SHORT:
        return bytes((_BINARY, size))
    if size < 1 << 16:
        return bytes((_BINARY, 126)) + size.to_bytes(2)
    return bytes((_BINARY, 127)) + size.to_bytes(8)


def _unmasked(payload: bytes, mask: bytes) -> bytes:
    size = len(payload)
    key = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(payload) ^ int.from_bytes(key)).to_bytes(size)


def _contents(fd: int, length: int) -> bytes:
    """What a memory file holds. Takes over ``fd``."""
    try:
        return os.pread(fd, length, 0)
    finally:
        os.close(fd)
