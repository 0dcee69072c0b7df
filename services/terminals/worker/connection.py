"""One WebSocket connection. The protocol is documented in docs/protocol.md."""

from __future__ import annotations

import asyncio
import base64
import collections
import contextlib
import errno
import json
import logging
import math
import os
import time
from collections.abc import Coroutine
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

from websockets.frames import CloseCode as StandardClose
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import SERVER, Protocol, State
from websockets.server import ServerProtocol

from terminals.access import Access, Denied
from terminals.background import Background
from terminals.control import packets
from terminals.control.channel import ControlError, ManagerLink
from terminals.protocol import HEARTBEAT, HEARTBEATS_MISSED, messages
from terminals.protocol.messages import BadMessage, CloseCode, ErrorCode, FrameType
from terminals.worker.viewer import Viewer, attached_message

log = logging.getLogger("terminals.worker")

HELLO_SECONDS = 10.0
CLOSE_SECONDS = 1.0
RETURN_WINDOW = 0.5
"""Seconds over which clients that are asked to come back spread their return."""
WRITE_HIGH_WATER = 1 << 18
ANSWERS_HIGH_WATER = 1 << 19
"""Answers are written whether or not the client takes them, but what more is asked for is not read."""
MAX_MESSAGE = messages.MAX_MESSAGE
MAX_ATTACH = 4096
"""Characters of an ``attach``: with others of its connection it has to fit into a packet."""


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

    def go_on(self) -> None:
        """The session manager has caught up."""
        held_back, self.held_back = self.held_back, set()
        for connection in held_back:
            connection.go_on()


class Connection(asyncio.Protocol):
    """Serves one client: handshake, hello, then attaches, input and output of its channels."""

    def __init__(self, server: Server, conn: dict[str, Any]) -> None:
        """``conn`` is the manager's packet; it carries state when a worker handed the connection over."""
        self._server = server
        self._profile = str(conn["listener"])
        self._address = str(conn["address"])
        self._handoff = "attach" in conn
        self._conn = conn
        # After a handoff the opening handshake is over: go on with the frames.
        self._ws: _Frames = (
            _Frames(SERVER, max_size=MAX_MESSAGE) if self._handoff else _Opening(max_size=MAX_MESSAGE)
        )
        self._hello: dict[str, Any] | None = conn.get("hello")
        self._channels: dict[int, Viewer] = {}
        self._attaching: set[int] = set()
        self._held: dict[int, dict[str, Any]] = {}
        """Attaches, by channel, that wait for the first to tell whether this connection is handed over."""
        self._orders: dict[int, tuple[int, str, str]] = {}
        """How attachments are to end, by handle, that have overtaken their attach."""
        self._events: collections.deque[Any] = collections.deque()
        self._begun: tuple[Opcode, bytearray] | None = None
        """A message of which the last fragment has not come: its kind, and what has."""
        self._rest = b""
        self._routable = not self._handoff
        self._writing = True
        self._planned = False
        self._heard = 0.0
        self._timers: list[asyncio.TimerHandle] = []

    # --- asyncio.Protocol -----------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start serving."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=WRITE_HIGH_WATER)
        self._loop = asyncio.get_running_loop()
        self._heard = self._loop.time()
        self._accepted = time.monotonic()
        self._server.connections.add(self)
        if self._handoff:
            self._message(self._conn["attach"])
            if rest := base64.b64decode(self._conn["rest"]):
                self.data_received(rest)
        else:
            self._timers.append(self._loop.call_later(HELLO_SECONDS, self._hello_missing))
        self._timers.append(self._loop.call_later(self._server.heartbeat, self._beat))

    def data_received(self, data: bytes) -> None:
        """Bytes from the client."""
        self._heard = self._loop.time()
        if self._routable:
            self._rest += data
            self._ws.behind = None
        self._ws.receive_data(data)
        if self._routable and self._ws.behind is not None:
            # What the parser holds of an incomplete frame has to travel along with a handover.
            self._rest = self._rest[len(self._rest) - self._ws.behind :]
        self._events.extend(self._ws.events_received())
        self._work_off()

    def go_on(self) -> None:
        """The session manager takes packets again."""
        self._work_off()
        if not self._events and not self._transport.is_closing() and self._writing:
            self._transport.resume_reading()

    def _work_off(self) -> None:
        """Handle what the client has sent, as far as the session manager takes it."""
        while self._events:
            if self._server.link.congested and not self._transport.is_closing():
                self._transport.pause_reading()
                self._server.held_back.add(self)
                break
            event = self._events.popleft()
            if isinstance(event, Request):
                self._handshake(event)
            elif isinstance(event, Frame):
                self._frame(event)
        self._flush()

    def eof_received(self) -> None:
        """The client has closed its side."""
        self._ws.receive_eof()
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone: give its sessions back."""
        self._server.connections.discard(self)
        self._server.held_back.discard(self)
        self._held.clear()
        for timer in self._timers:
            timer.cancel()
        rcvd = self._ws.close_rcvd
        goodbye = rcvd is not None and rcvd.code in (StandardClose.NORMAL_CLOSURE, StandardClose.GOING_AWAY)
        for channel in list(self._channels):
            self._detach(channel, planned=self._planned or goodbye)
        self._server.link.send({"type": "closed"})

    def pause_writing(self) -> None:
        """The client reads slower than we write."""
        self._writing = False

    def resume_writing(self) -> None:
        """The client has caught up."""
        self._writing = True
        if self not in self._server.held_back and not self._transport.is_closing():
            self._transport.resume_reading()
        for viewer in list(self._channels.values()):
            viewer.pump()

    # --- called by the worker ---------------------------------------------------------

    def restart(self, retry_after: float) -> None:
        """Close with *service restart*: the client comes back within ``retry_after`` seconds."""
        self._planned = True
        self._close(CloseCode.SERVICE_RESTART, f"retry-after={retry_after:g}")

    def drop(self, handle: int, code: int, error: str, message: str) -> None:
        """End one attachment with an error; the connection ends with ``code`` when it was its last."""
        if all(viewer.handle != handle for viewer in self._channels.values()):
            self._orders[handle] = (code, error, message)
            return
        for channel, viewer in list(self._channels.items()):
            if viewer.handle == handle:
                self._detach(channel, planned=True)
                self._error(error, message, channel)
        if not self._channels:
            self._planned = True
            self._close(code, error)

    def abort(self) -> None:
        """Cut the connection."""
        self._transport.abort()

    # --- frames -----------------------------------------------------------------------

    def _handshake(self, request: Request) -> None:
        assert isinstance(self._ws, _Opening)
        access = self._server.access
        self._address = access.address(self._address, request.headers.get_all("X-Forwarded-For"))
        twice = [name for name in ("Host", "Origin") if len(request.headers.get_all(name)) > 1]
        if twice:
            response = self._ws.reject(400, f"there may be one {twice[0]} header\n")
        elif wait := access.limit.wait(self._address, self._loop.time()):
            response = self._ws.reject(429, "too many wrong credentials\n")
            response.headers["Retry-After"] = str(math.ceil(wait))
        elif not access.page_allowed(request.headers.get("Origin"), request.headers.get("Host", "")):
            response = self._ws.reject(403, "pages of other hosts may not open terminals here\n")
        else:
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
        try:
            if opcode is Opcode.TEXT:
                self._message(messages.decode_text(data))
            else:
                self._binary(messages.decode_binary(data))
        except BadMessage as error:
            self._refuse(error)

    def _refuse(self, error: BadMessage) -> None:
        self._error(ErrorCode.BAD_MESSAGE, str(error), None)
        self._close(error.close_code, "bad message")

    def _binary(self, frame: messages.Binary) -> None:
        viewer = self._channels.get(frame.channel)
        if viewer is None:
            # Input that crossed the end of its channel; the client sends it again elsewhere.
            return
        if frame.type is FrameType.ACK:
            self._server.link.send_raw(packets.encode_ack(viewer.handle, frame.seq))
        else:
            self._server.link.send_raw(packets.encode_input(viewer.handle, frame.seq, frame.payload))

    def _message(self, message: dict[str, Any]) -> None:
        kind = message["type"]
        if self._hello is None:
            if kind != "hello":
                raise BadMessage(f"{kind} before hello")
            self._greet(message)
            return
        match kind:
            case "attach":
                self._start_attach(message)
            case "resize":
                viewer = self._channels.get(messages.integer(message, "channel", 0, messages.MAX_CHANNEL))
                size = {
                    name: messages.integer(message, name, 1, messages.MAX_SIDE) for name in ("cols", "rows")
                }
                if viewer is not None:
                    self._server.link.send({"type": "resize", "handle": viewer.handle, **size})
            case "detach":
                self._detach(messages.integer(message, "channel", 0, messages.MAX_CHANNEL), planned=True)
            case "kill":
                viewer = self._channels.get(messages.integer(message, "channel", 0, messages.MAX_CHANNEL))
                if viewer is not None:
                    self._server.link.send({"type": "end", "handle": viewer.handle})
            case "ping":
                # A number, or it would be a way to have anything written.
                self._send("pong", t=messages.number(message, "t"))
            case _:
                # An unknown type is a newer client's: it learned our version and may try.
                self._error(ErrorCode.BAD_MESSAGE, f"unknown message type {kind[:40]!r}", None)

    def _greet(self, message: dict[str, Any]) -> None:
        version = messages.negotiate(message.get("versions"))
        kind = "ticket" if "ticket" in message else "token"
        presented = {kind: messages.string(message, kind, 4096)}
        try:
            identity = self._server.access.identify(presented.get("token"), presented.get("ticket"))
        except Denied as error:
            self._server.access.limit.failed(self._address, presented[kind], self._loop.time())
            log.info("%s presented a wrong %s", self._address, kind)
            self._error(ErrorCode.UNAUTHORIZED, str(error), None)
            self._close(CloseCode.UNAUTHORIZED, "unauthorized")
            return
        client = messages.string(message, "client", 64)
        if not client:
            raise BadMessage("hello.client must not be empty")
        self._hello = {
            "type": "hello",
            "client": client,
            "user": identity.user,
            "only": identity.session,
            "read_only": identity.read_only,
            "version": version,
        }
        renewed = {"ticket": identity.renewed} if identity.renewed else {}
        self._send(
            "welcome",
            version=version,
            build=self._server.build,
            generation=self._server.generation,
            heartbeat=self._server.heartbeat,
            **renewed,
        )

    # --- channels ---------------------------------------------------------------------

    def _start_attach(self, message: dict[str, Any]) -> None:
        channel = messages.integer(message, "channel", 0, messages.MAX_CHANNEL)
        if channel in self._channels or channel in self._attaching or channel in self._held:
            raise BadMessage(f"channel {channel} is in use")
        if len(json.dumps(message)) > MAX_ATTACH:
            raise BadMessage(f"an attach has at most {MAX_ATTACH} characters")
        if self._routable and self._attaching:
            self._held[channel] = message
            return
        assert self._hello is not None
        session = message.get("session")
        if session is not None and not isinstance(session, str):
            self._error(ErrorCode.BAD_SESSION_ID, "attach.session must be a string or null", channel)
            return
        resume = message.get("resume")
        if resume is not None:
            if not isinstance(resume, dict):
                raise BadMessage("attach.resume must be an object or null")
            fields = {"type": "resume", **resume}
            resume = {
                "output": messages.integer(fields, "output", 0, 1 << 62),
                "epoch": messages.string(fields, "epoch", 64),
            }
        # A connection that was handed over by an older worker speaks version 1, as that one did.
        current = self._hello.get("version", 1) >= 2
        mode = message.get("mode", "write") if current else "write"
        if mode not in ("read", "write"):
            raise BadMessage('attach.mode must be "read" or "write"')
        watch = mode == "read" or bool(self._hello.get("read_only"))
        if watch and self._server.link.welcome.get("protocol", 1) < 2:
            self._error(
                ErrorCode.UNAVAILABLE,
                "the session manager here is too old for watching",
                channel,
                retry_after=60.0,
            )
            return
        request = {
            "type": "attach",
            "watch": watch,
            "snapshots": current,
            "session": session,
            "profile": self._profile,
            "client": self._hello["client"],
            "user": self._hello["user"],
            "only": self._hello["only"],
            "address": self._address,
            "cols": messages.integer(message, "cols", 1, messages.MAX_SIDE, 80),
            "rows": messages.integer(message, "rows", 1, messages.MAX_SIDE, 24),
            "resume": resume,
            "routable": self._routable,
            "since": self._conn.get("since", self._accepted),
        }
        self._attaching.add(channel)
        self._spawn(self._attach(channel, message, request), "an attach")

    def _spawn(self, work: Coroutine[Any, Any, None], what: str) -> None:
        self._server.background.start(work, what)

    async def _attach(self, channel: int, message: dict[str, Any], request: dict[str, Any]) -> None:
        try:
            reply, fds = await self._server.link.request(request, self._replied)
            if "route" in reply and self._hand_over(str(reply["route"]), message):
                return
            if "route" in reply:
                request = {**request, "routable": False}
                reply, fds = await self._server.link.request(request, self._replied)
        except ControlError as error:
            self._unavailable(str(error), channel)
            return
        finally:
            self._attaching.discard(channel)
        self._attached(channel, reply, fds)
        held, self._held = self._held, {}
        try:
            for later in held.values():
                if self._ws.state is State.OPEN:
                    self._start_attach(later)
        except BadMessage as error:
            self._refuse(error)

    def _replied(self, reply: dict[str, Any]) -> None:
        """From here on the session manager may say something about the new attachment."""
        if "handle" in reply:
            self._server.viewers[int(reply["handle"])] = self

    def _attached(self, channel: int, reply: dict[str, Any], fds: list[int]) -> None:
        """Carry out what the session manager has said to an attach."""
        if reply.get("refused"):
            self._error(reply["code"], reply["message"], channel, retry_after=reply["retry_after"])
            if reply["code"] == ErrorCode.BREAKER_OPEN and not self._channels:
                self._close(CloseCode.BREAKER_OPEN, "breaker open")
            return
        handle = int(reply["handle"])
        self._routable, self._rest = False, b""
        order = self._orders.pop(handle, None)
        if order is not None or self._transport.is_closing():
            for fd in fds:
                os.close(fd)
            self._give_back(handle, planned=self._planned or order is not None)
            if order is not None:
                code, error, text = order
                self._error(error, text, channel)
                if not self._channels:
                    self._planned = True
                    self._close(code, error)
            return
        painted = reply.get("snapshot")
        try:
            if len(fds) != (3 if painted else 2):
                raise OSError(errno.EMFILE, "some of its descriptors got lost")
            screen = _contents(fds.pop(), painted["length"]) if painted else b""
            viewer = Viewer(
                handle=handle,
                start=reply["output"],
                input_base=reply["input"],
                fds=fds,
                send_output=partial(self._output, channel),
                send_input_ack=partial(self._input_ack, channel),
                send_exit=lambda status: self._send("exit", channel=channel, status=status),
                send_snapshot=lambda seq, data: self._send_binary(
                    messages.encode_snapshot(channel, seq, data)
                ),
                writable=lambda: self._writing and not self._transport.is_closing(),
                overrun=lambda: self._spawn(self._repaint(viewer), "a new screen"),
            )
        except OSError as error:
            for fd in fds:
                os.close(fd)
            if reply["status"] == "created":  # nobody will ever know of it
                self._server.link.send({"type": "end", "handle": handle})
            self._give_back(handle, planned=True)
            self._unavailable(f"no more files can be open: {error.strerror}", channel)
            return
        if painted:
            viewer.paint(painted["offset"], screen)
        self._channels[channel] = viewer
        server = self._server
        self._send(
            "attached",
            **attached_message(
                channel, reply, generation=server.generation, build=server.build, profile=self._profile
            ),
        )
        viewer.pump()

    async def _repaint(self, viewer: Viewer) -> None:
        """A client that does not type came too slow for the shell: show it the screen as it is now."""
        assert self._hello is not None
        try:
            if self._hello.get("version", 1) < 2:
                raise ControlError("its client knows no screens")
            reply, fds = await self._server.link.request({"type": "snapshot", "handle": viewer.handle})
            if not fds:
                raise ControlError("no more files can be open")
        except ControlError as error:
            log.info("%s is sent back to attach again: %s", self._address, error)
            self.restart(RETURN_WINDOW)
            return
        screen = _contents(fds.pop(), reply["length"])
        if viewer in self._channels.values():
            viewer.jump(reply["offset"], screen)

    def _hand_over(self, generation: str, attach: dict[str, Any]) -> bool:
        """Pass this connection on to the generation that its session belongs to."""
        waits = self._transport.get_write_buffer_size() or self._events or self._begun
        if self._transport.is_closing() or waits:
            return False
        # As if they had come after it: whoever has the connection then finds the other attaches there.
        later = b"".join(
            Frame(Opcode.TEXT, json.dumps(message).encode()).serialize(mask=True)
            for message in self._held.values()
        )
        self._transport.pause_reading()
        fd = -1
        try:
            fd = os.dup(self._transport.get_extra_info("socket").fileno())
            self._server.link.send(
                {
                    "type": "handoff",
                    "to": generation,
                    "listener": self._profile,
                    "address": self._address,
                    "hello": self._hello,
                    "attach": attach,
                    "since": self._accepted,
                    "rest": base64.b64encode(later + self._rest).decode(),
                },
                (fd,),
            )
        except (OSError, packets.BadPacket) as error:
            log.info("%s is not handed over: %s", self._address, error)
            self._transport.resume_reading()
            return False
        finally:
            if fd >= 0:
                os.close(fd)
        self._transport.abort()  # closes our descriptor only; the connection lives on in the other worker
        return True

    def _detach(self, channel: int, *, planned: bool) -> None:
        viewer = self._channels.pop(channel, None)
        if viewer is not None:
            viewer.close()
            self._give_back(viewer.handle, planned=planned)

    def _give_back(self, handle: int, *, planned: bool) -> None:
        self._server.viewers.pop(handle, None)
        self._server.link.send({"type": "detach", "handle": handle, "planned": planned})

    # --- output -----------------------------------------------------------------------

    def _output(self, channel: int, seq: int, data: bytes) -> None:
        self._send_binary(messages.encode_data(channel, seq, data))

    def _input_ack(self, channel: int, seq: int) -> None:
        if self._ws.state is State.OPEN:
            self._ws.send_binary(messages.encode_ack(channel, seq))
            # The output that follows, the echo of that input, takes it along in the same segment.
            self._loop.call_soon(self._flush)

    def _send_binary(self, data: bytes) -> None:
        if self._ws.state is State.OPEN:
            self._ws.send_binary(data)
            self._flush()

    def _send(self, kind: str, /, **fields: Any) -> None:
        if self._ws.state is State.OPEN:
            self._ws.send_text(messages.encode_text(kind, **fields))
            self._flush()

    def _error(
        self, code: str, message: str, channel: int | None, *, retry_after: float | None = None
    ) -> None:
        self._send("error", code=code, message=message, channel=channel, retry_after=retry_after)

    def _unavailable(self, message: str, channel: int) -> None:
        self._error(ErrorCode.UNAVAILABLE, message, channel, retry_after=1.0)
        self._close(CloseCode.TRY_AGAIN_LATER, "unavailable")

    def _flush(self) -> None:
        chunks = self._ws.data_to_send()
        if (data := b"".join(chunks)) and not self._transport.is_closing():
            self._transport.write(data)  # at once: each write wakes the client
            if (
                self._transport.get_write_buffer_size() > ANSWERS_HIGH_WATER
                and not self._transport.is_closing()
            ):
                self._transport.pause_reading()
        if chunks and not chunks[-1] and self._transport.can_write_eof():
            with contextlib.suppress(OSError, RuntimeError):
                self._transport.write_eof()
        if self._ws.close_expected():
            self._timers.append(self._loop.call_later(CLOSE_SECONDS, self._transport.abort))
        if self._ws.state is State.CLOSED:
            self._transport.close()

    def _close(self, code: int, reason: str) -> None:
        if self._ws.state is State.OPEN:
            self._ws.send_close(code, reason)
            self._flush()
        elif self._ws.state is State.CONNECTING:
            self._transport.close()

    # --- timers -----------------------------------------------------------------------

    def _hello_missing(self) -> None:
        if self._hello is None:
            self._transport.abort()

    def _beat(self) -> None:
        """Find half-open connections: nothing is heard, though we pinged."""
        if self in self._server.held_back:
            self._heard = self._loop.time()  # it is we who do not listen
        if self._loop.time() - self._heard >= HEARTBEATS_MISSED * self._server.heartbeat:
            self._transport.abort()
            return
        self._timers = [timer for timer in self._timers if timer.when() > self._loop.time()]
        self._timers.append(self._loop.call_later(self._server.heartbeat, self._beat))
        if self._ws.state is State.OPEN:
            self._ws.send_ping(b"")
            self._flush()


def _contents(fd: int, length: int) -> bytes:
    """What a memory file holds. Takes over ``fd``."""
    try:
        return os.pread(fd, length, 0)
    finally:
        os.close(fd)
