"""The server's side of a conversation, without I/O.

:class:`ServerSide` knows what one connection is at: whether its client has said who it is, which of its
channels are free, asked for or attached, and what may be said to it. Whoever uses it gives it messages,
carries out what :meth:`ServerSide.take` gives back, and tells it what has become of that::

    side.received(message)
    for item in side.take():
        match item:
            case Identify(): ...        # check the credentials; then side.welcome(...) or side.deny(...)
            case Attach(): ...          # ask the session manager; then side.attached(...) or side.refuse(...)
            case Typed() | Taken() | Resized() | Kill() | Detached(): ...      # of one attachment, by handle
            case Send(data): ...        # one message: text for a str, binary for bytes
            case Close(code, reason): ...
            case OpenUpload(): ...      # and what else is said of files: see server_transfers

Output does not come by here: it needs no decision.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from terminals.protocol import messages, transfer
from terminals.protocol.messages import BadMessage, Binary, CloseCode, ErrorCode, FrameType, LastScreen, Send
from terminals.protocol.server_transfers import ServerItem, ServerTransfers

MAX_PROGRAM = 32
MAX_ATTACH = 4096
"""Bytes of an ``attach``: with others of its connection it has to fit into a packet."""
SCREENS_SINCE = 2
"""The version of the protocol from which on a client knows snapshots, and modes ..."""
ELSEWHERE_SINCE = 3
"""... and from which on ``retry-later``, ``elsewhere``, ``size`` and ``ticket``."""


@dataclass(frozen=True, slots=True)
class Hello:
    """Who is at the other end."""

    client: str
    user: str = ""
    """Empty for the holder of the token."""
    only: str | None = None
    """The only session that may be opened, if there is such a limit."""
    read_only: bool = False
    version: int = 1
    """Of the protocol."""
    life: int = 0
    """Seconds that each of its tickets lives; 0: it came without."""
    born: int = 0
    """When the first of its tickets was issued, in Unix ms."""
    role: str = "user"
    """See :data:`terminals.tickets.Role`."""
    until: int = 0
    """Unix seconds at which it is nobody any more; 0: there is no such end."""


@dataclass(frozen=True, slots=True)
class Identify:
    """What a client presents: one of both, or neither where a browser has signed in."""

    token: str | None
    ticket: str | None
    program: str | None = None
    """What the token's holder calls itself, where it is no person."""


@dataclass(frozen=True, slots=True)
class Resume:
    """What a client has had: output up to ``output``, of the shell of this ``epoch``."""

    output: int
    epoch: str


@dataclass(frozen=True, slots=True)
class Attach:
    """A client wants a session on one of its channels."""

    channel: int
    session: str | None
    cols: int
    rows: int
    resume: Resume | None
    watch: bool
    snapshots: bool
    """Whether it knows what to do with a screen."""
    routable: bool
    """Whether the connection may be passed on for it: nothing else has been asked for on it."""


@dataclass(frozen=True, slots=True)
class Grant:
    """What a client is told of an attachment: see ``attached`` in docs/protocol.md."""

    session: str
    status: str
    epoch: str
    output: int
    head: int
    skipped: int
    input: int
    origin: str
    mode: str
    generation: str
    build: str
    profile: str
    cols: int | None = None
    rows: int | None = None
    """The terminal's present size, where it is known."""
    input_unknown: bool = False
    snapshot: bool = False
    recording: str = ""
    """Whether it is recorded: ``on``, ``lost`` where it should be and is not, or empty."""
    files: transfer.Grant | None = None


class Typed(NamedTuple):  # made in a third of the time: there is one for each key
    """Input, the first byte being at offset ``seq``."""

    handle: int
    seq: int
    data: bytes

    def __repr__(self) -> str:
        return f"<Typed {len(self.data)} bytes at {self.seq} for {self.handle}>"


class Taken(NamedTuple):
    """A client has output up to ``seq``."""

    handle: int
    seq: int


@dataclass(frozen=True, slots=True)
class Resized:
    """A terminal has another size."""

    handle: int
    cols: int
    rows: int


@dataclass(frozen=True, slots=True)
class Kill:
    """The shell is to end."""

    handle: int


@dataclass(frozen=True, slots=True)
class Detached:
    """An attachment is over. ``planned``: its end counts towards no loop."""

    handle: int
    planned: bool


@dataclass(frozen=True, slots=True)
class Close:
    """Say goodbye."""

    code: int
    reason: str


Item = Identify | Attach | Typed | Taken | Resized | Kill | Detached | Send | Close | ServerItem


@dataclass(frozen=True, slots=True)
class _Order:
    """How an attachment is to end."""

    close: int
    code: str
    message: str


class ServerSide:
    """One connection's conversation."""

    def __init__(self, *, build: str, generation: str, heartbeat: float, hello: Hello | None = None) -> None:
        """``hello``: of a connection that was passed on by another worker, after its client had said it."""
        self.hello = hello
        self.closing = False
        """Whether a goodbye was said: nothing more is sent, and what comes is not heard."""
        self.planned = False
        """Whether the end of this connection, as it comes, was asked for."""
        self._welcome: dict[str, Any] | None = {
            "build": build, "generation": generation, "heartbeat": heartbeat,
        }  # fmt: skip
        self._routable = hello is None
        self._presented: tuple[str, int] | None = None
        """Client and version of one whose credentials are being checked."""
        self._handles: dict[int, int] = {}
        self._asked: list[int] = []
        self._held: dict[int, bytes] = {}
        """Attaches, by channel, that wait for the first to tell whether this connection is passed on."""
        self._orders: dict[int, _Order] = {}
        """Orders that have overtaken the answer to their attach."""
        self._recordings: dict[int, str] = {}
        """The same, of what is said of recording."""
        self._items: list[Item] = []
        self._transfers: ServerTransfers | None = None

    def take(self) -> list[Item]:
        """What is to be done, in order."""
        items, self._items = self._items, []
        return items

    @property
    def transfers(self) -> ServerTransfers:
        """Those of files; there are thousands of connections, and few have any."""
        if self._transfers is None:
            self._transfers = ServerTransfers(self._of_transfer)
        return self._transfers

    @property
    def attached_to(self) -> Mapping[int, int]:
        """The handles of the attachments, by channel."""
        return self._handles

    @property
    def routable(self) -> bool:
        """Whether the connection may still be passed on to another worker."""
        return self._routable

    @property
    def waiting(self) -> list[bytes]:
        """Attaches that have not been looked at: where the connection is passed on, they come along."""
        return list(self._held.values())

    # --- what comes from the client ---------------------------------------------------

    def received(self, message: bytes, *, text: bool) -> None:
        """A message has come."""
        if self.closing:
            return
        try:
            if text:
                self._control(messages.decode_text(message), message)
            else:
                self._binary(messages.decode_binary(message))
        except BadMessage as error:
            self._broken(error)

    def plain(self, message: bytes) -> Typed | Taken | None:
        """What a binary message is that is nothing but input, or an acknowledgement; ``None``: it has to be
        :meth:`received`."""
        if self.closing or len(message) < messages.HEADER.size:
            return None
        kind, channel, seq = messages.HEADER.unpack_from(message)
        handle = self._handles.get(channel)
        if handle is None or seq > messages.MAX_OFFSET:
            return None
        if kind == FrameType.DATA:
            return Typed(handle, seq, message[messages.HEADER.size :])
        if kind == FrameType.ACK and len(message) == messages.HEADER.size:
            return Taken(handle, seq)
        return None

    def _control(self, message: dict[str, Any], raw: bytes) -> None:
        """A text message has come; ``raw`` is how.

        Raises:
            BadMessage: it does not follow the protocol.
        """
        kind = message["type"]
        if self.hello is None:
            if kind != "hello" or self._presented is not None:
                raise BadMessage(f"{kind} before hello")
            self._greeted(message)
            return
        match kind:
            case "attach":
                self._attach(message, raw)
            case "resize":
                channel = _channel(message)
                cols, rows = (
                    messages.integer(message, side, 1, messages.MAX_SIDE) for side in ("cols", "rows")
                )
                if channel in self._handles:
                    self._items.append(Resized(self._handles[channel], cols, rows))
            case "detach":
                self._detach(_channel(message), planned=True)
            case "kill":
                channel = _channel(message)
                if channel in self._handles:
                    self._items.append(Kill(self._handles[channel]))
            case "upload" | "download" | "finish" | "cancel":
                used = {*self._handles, *self._asked, *self._held}
                self.transfers.control(message, self._handles, used)
            case "ping":
                # A number, or it would be a way to have anything written.
                self._text("pong", t=messages.number(message, "t"))
            case _:
                # An unknown type is a newer client's: it learned our version and may try.
                self.error(ErrorCode.BAD_MESSAGE, f"unknown message type {kind[:40]!r}")

    def _broken(self, error: BadMessage) -> None:
        """The client does not follow the protocol."""
        self.error(ErrorCode.BAD_MESSAGE, str(error))
        self.close(error.close_code, "bad message")

    def lost(self, *, goodbye: bool) -> None:
        """The connection is gone. ``goodbye``: its client has said so."""
        self.closing = True
        self._held.clear()
        for channel in list(self._handles):
            self._detach(channel, planned=self.planned or goodbye)

    def _greeted(self, message: dict[str, Any]) -> None:
        version = messages.negotiate(message.get("versions"))
        token, ticket, program = (
            messages.string(message, name, most) if name in message else None
            for name, most in (("token", 4096), ("ticket", 4096), ("program", MAX_PROGRAM))
        )
        client = messages.string(message, "client", 64)
        if not client:
            raise BadMessage("hello.client must not be empty")
        self._presented = client, version
        if program is not None and not program.isprintable():
            raise BadMessage("hello.program must be printable")
        self._items.append(Identify(None, ticket) if ticket is not None else Identify(token, None, program))

    def _attach(self, message: dict[str, Any], raw: bytes) -> None:
        assert self.hello is not None
        channel = _channel(message)
        taken = (self._handles, self._asked, self._held, self._transfers or ())
        if any(channel in channels for channels in taken):
            raise BadMessage(f"channel {channel} is in use")
        if len(raw) > MAX_ATTACH:
            raise BadMessage(f"an attach has at most {MAX_ATTACH} bytes")
        if self._routable and self._asked:
            self._held[channel] = raw
            return
        session = message.get("session")
        if session is not None and not (isinstance(session, str) and messages.is_unicode(session)):
            self.error(ErrorCode.BAD_SESSION_ID, "attach.session must be a string or null", channel)
            return
        current = self.hello.version >= SCREENS_SINCE
        mode = message.get("mode", "write") if current else "write"
        if mode not in ("read", "write"):
            raise BadMessage('attach.mode must be "read" or "write"')
        attach = Attach(
            channel=channel,
            session=session,
            cols=messages.integer(message, "cols", 1, messages.MAX_SIDE, 80),
            rows=messages.integer(message, "rows", 1, messages.MAX_SIDE, 24),
            resume=_resume(message.get("resume")),
            watch=mode == "read" or self.hello.read_only,
            snapshots=current,
            routable=self._routable,
        )
        self._asked.append(channel)
        self._items.append(attach)

    def _binary(self, frame: Binary) -> None:
        handle = self._handles.get(frame.channel)
        if handle is None and self._transfers is not None and frame.channel in self._transfers:
            self._transfers.binary(frame)
            return
        if handle is None:
            return  # input that crossed the end of its channel; the client sends it again elsewhere
        if frame.type is FrameType.ACK:
            self._items.append(Taken(handle, frame.seq))
        else:
            self._items.append(Typed(handle, frame.seq, frame.payload))

    # --- what has become of it --------------------------------------------------------

    def welcome(
        self,
        *,
        user: str,
        only: str | None,
        read_only: bool,
        ticket: str | None,
        life: int = 0,
        born: int = 0,
        role: str = "user",
        until: int = 0,
    ) -> None:
        """The credentials are good. ``ticket``: the one to come back with; see :class:`Hello`."""
        assert self._presented is not None and self._welcome is not None
        client, version = self._presented
        self.hello = Hello(client, user, only, read_only, version, life, born, role, until)
        self._text("welcome", version=version, **self._welcome, **({"ticket": ticket} if ticket else {}))
        self._welcome = None  # said once; there are thousands of connections

    def deny(self, message: str) -> None:
        """They are not."""
        self.error(ErrorCode.UNAUTHORIZED, message)
        self.close(CloseCode.UNAUTHORIZED, "unauthorized")

    def admit(self, channel: int, handle: int) -> bool:
        """Whether an attachment that was granted is to be served: then :meth:`attached` follows.

        It is not, where the client has gone or an order to end it has come before. It is given back then.
        """
        self._answered(channel)
        self._routable = False
        order = self._orders.pop(handle, None)
        if order is None and not self.closing:
            return True
        self._recordings.pop(handle, None)
        self._items.append(Detached(handle, planned=self.planned or order is not None))
        if order is not None:
            self.error(order.code, order.message, channel)
            self._close_without_channels(order)
        return False

    def attached(self, channel: int, handle: int, grant: Grant) -> None:
        """It is served."""
        self._handles[channel] = handle
        fields = asdict(grant)
        fields["recording"] = self._recordings.pop(handle, grant.recording) if self._current else ""
        for unusual in ("input_unknown", "snapshot", "cols", "rows", "recording", "files"):
            if not fields[unusual] or (unusual == "files" and not self._current):
                del fields[unusual]
        self._text("attached", channel=channel, **fields)

    def size(self, channel: int, cols: int, rows: int) -> None:
        """A terminal that is watched has another size."""
        if self._current:
            self._text("size", channel=channel, cols=cols, rows=rows)

    def recorded(self, handle: int, state: str) -> None:
        """A session is recorded from now on, or is not any more."""
        channels = [channel for channel, known in self._handles.items() if known == handle]
        if not channels:
            self._recordings[handle] = state
        elif self._current:
            for channel in channels:
                self._text("recording", channel=channel, state=state)

    def renew(self, ticket: str) -> None:
        """There is another ticket to come back with."""
        if self._current:
            self._text("ticket", ticket=ticket)

    def _answered(self, channel: int) -> None:
        if channel in self._asked:
            self._asked.remove(channel)

    def refuse(
        self,
        channel: int,
        code: str,
        message: str,
        retry_after: float | None = None,
        *,
        since: float | None = None,
        screen: LastScreen | None = None,
    ) -> None:
        """There is none. Of a session whose host is lost: ``since`` when, and its last ``screen``."""
        self._answered(channel)
        if code == ErrorCode.UNAVAILABLE and self._current:
            self._text("retry-later", channel=channel, reason=message, after=retry_after)
        else:
            self.error(code, message, channel, retry_after, since=since, screen=screen)
        if code == ErrorCode.BREAKER_OPEN and not self._others:
            self.close(CloseCode.BREAKER_OPEN, "breaker open")

    def unavailable(self, channel: int, message: str) -> None:
        """Nobody can be asked, or nothing more can be opened here."""
        self.refuse(channel, ErrorCode.UNAVAILABLE, message, 1.0)
        self.close(CloseCode.TRY_AGAIN_LATER, "unavailable")

    def elsewhere(self, channel: int, url: str) -> None:
        """The session is served by another server, at ``url``."""
        if self._current:
            self._answered(channel)
            self._text("elsewhere", channel=channel, url=url)
        else:
            self.refuse(channel, ErrorCode.UNAVAILABLE, f"this session is at {url}", 30.0)

    def go_on(self) -> None:
        """The first attach is answered, and the connection is not passed on: look at those that waited."""
        held, self._held = self._held, {}
        try:
            for raw in held.values():
                if not self.closing:
                    self._attach(messages.decode_text(raw), raw)
        except BadMessage as error:
            self._broken(error)

    def end(self, handle: int, close: int, code: str, message: str) -> None:
        """End one attachment with an error; the connection ends with ``close`` when it was its last."""
        order = _Order(close, code, message)
        channels = [channel for channel, known in self._handles.items() if known == handle]
        if not channels:
            self._orders[handle] = order
            return
        for channel in channels:
            self._detach(channel, planned=True)
            self.error(code, message, channel)
        self._close_without_channels(order)

    def restart(self, retry_after: float) -> None:
        """Ask the client to come back within ``retry_after`` seconds."""
        self.planned = True
        self.close(CloseCode.SERVICE_RESTART, f"retry-after={retry_after:g}")

    # --- what is said to the client ---------------------------------------------------

    def exit(self, channel: int, status: int) -> None:
        """A shell has ended."""
        self._text("exit", channel=channel, status=status)

    def error(
        self,
        code: str,
        message: str,
        channel: int | None = None,
        retry_after: float | None = None,
        *,
        since: float | None = None,
        screen: LastScreen | None = None,
    ) -> None:
        """Tell the client what is wrong."""
        more: dict[str, Any] = {} if since is None else {"since": since}
        if screen is not None:
            more["screen"] = screen.fields()
        self._text("error", code=code, message=message, channel=channel, retry_after=retry_after, **more)

    def close(self, code: int, reason: str) -> None:
        """Say goodbye."""
        if not self.closing:
            self.closing = True
            self._items.append(Close(code, reason))

    @property
    def _current(self) -> bool:
        return self.hello is not None and self.hello.version >= ELSEWHERE_SINCE

    @property
    def _others(self) -> bool:
        """Whether somebody is served, or waits to be."""
        return bool(self._handles or self._asked or self._held)

    def _close_without_channels(self, order: _Order) -> None:
        if not self._others:
            self.planned = True
            self.close(order.close, order.code)

    def _detach(self, channel: int, *, planned: bool) -> None:
        handle = self._handles.pop(channel, None)
        if handle is not None:
            self._items.append(Detached(handle, planned))

    def _of_transfer(self, item: ServerItem) -> None:
        if not self.closing:
            self._items.append(item)

    def _text(self, kind: str, /, **fields: Any) -> None:
        if not self.closing:
            self._items.append(Send(messages.encode_text(kind, **fields).decode()))


def _channel(message: dict[str, Any]) -> int:
    return messages.integer(message, "channel", 0, messages.MAX_CHANNEL)


def _resume(value: object) -> Resume | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise BadMessage("attach.resume must be an object or null")
    fields = {**value, "type": "resume"}
    return Resume(
        messages.integer(fields, "output", 0, messages.MAX_OFFSET), messages.string(fields, "epoch", 64)
    )
