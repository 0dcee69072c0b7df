"""The client's side of a conversation, without I/O.

:class:`ClientSession` decides all that a reconnecting client decides: when to connect, what to say, what
a lost connection means, when to try again and when never. It has no socket, no clock and no randomness of
its own. Whoever uses it tells it what has happened, with the time, and carries out what it gives back::

    session.open(now)
    for item in session.take():
        match item:
            case Connect(url): ...        # open a WebSocket; then connected(now), or lost(now, code, reason)
            case Send(data): ...          # one message: text for a str, binary for bytes
            case Close(code): ...         # say goodbye with this code; None: cut it
            case Output(data): ...        # an event for whoever uses the terminal
    ...                                   # wait until something comes, and until session.wake_at() at most
    session.received(now, message)        # or session.tick(now)

Times are seconds of any one clock. The page's twin is ``conversation.ts``; both run the conversations of
``vectors.json``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from terminals.protocol import (
    HEARTBEAT,
    HEARTBEATS_MISSED,
    LOOP_THRESHOLD,
    PROTOCOL_VERSIONS,
    STABLE_AFTER,
    messages,
)
from terminals.protocol.addresses import is_address
from terminals.protocol.backoff import Backoff
from terminals.protocol.breaker import BreakerState, CircuitBreaker
from terminals.protocol.client_transfers import TransferItem, Transfers
from terminals.protocol.closing import Action, action
from terminals.protocol.messages import BadMessage, Binary, CloseCode, ErrorCode, FrameType, LastScreen, Send
from terminals.protocol.resume import Receiver, Sender, SequenceGap
from terminals.protocol.transfer import Grant, read_grant

CHANNEL = 0
"""One terminal a connection: ports and generations differ from one terminal to the next."""
ACK_BYTES = 1 << 16
ACK_SECONDS = 0.1
"""So long after one acknowledgement of output the next one waits, or until so many bytes have come."""
INPUT_WINDOW = 1 << 16
"""So many bytes of input are sent ahead of what the shell's terminal has taken."""
CONNECT_SECONDS = 10.0
PROBE_SECONDS = 5.0
LONGEST = 3600.0
"""Seconds: the longest heartbeat, and time to come again after, that a server is believed."""
FORGET_SECONDS = 30.0
"""A session that was attached so shortly ago and is unknown now may be known again in a moment: a session
manager that has lost some is taken back as soon as that is seen."""
WATCHING_SINCE = 2
"""The protocol's version; an older server takes a watcher for somebody who types."""
MAX_HOPS = 3
"""So often a client is sent on to another address before it has found its session."""
_FINAL = frozenset(
    {
        ErrorCode.UNAUTHORIZED,
        ErrorCode.UNKNOWN_SESSION,
        ErrorCode.TAKEN_OVER,
        ErrorCode.BAD_SESSION_ID,
        ErrorCode.TOO_MANY_SESSIONS,
        ErrorCode.BAD_MESSAGE,
    }
)
"""Errors that answer an attach for good: asking again would give the same."""
_FINAL_LATER = frozenset({ErrorCode.UNAUTHORIZED, ErrorCode.TAKEN_OVER})
"""Errors that end an attach which is in force. Others only tell of a message that was not understood."""


class Phase(Enum):
    """Where a conversation stands."""

    CLOSED = "closed"
    """Not begun, or let go by its user."""
    WAITING = "waiting"
    """For the next attempt."""
    CONNECTING = "connecting"
    """For a connection."""
    GREETING = "greeting"
    """For the server's version, on which it depends whether to attach."""
    ATTACHING = "attaching"
    """For the acknowledgement of an attach."""
    ATTACHED = "attached"
    """An attach is in force."""
    STOPPED = "stopped"
    """For good: its shell has ended and the connection is lost, or a person has to act."""


ATTEMPT = frozenset({Phase.CONNECTING, Phase.GREETING, Phase.ATTACHING})


# --- what to do ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Connect:
    """Open a connection to an address."""

    url: str


@dataclass(frozen=True, slots=True)
class Close:
    """End the connection: with a goodbye of this code, or cut where it is ``None``."""

    code: int | None


# --- what has happened --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Attached:
    """The server's acknowledgement of an attach. Offsets are bytes since the stream's start."""

    session: str
    status: str
    epoch: str
    output: int
    skipped: int
    input: int
    generation: str
    build: str
    origin: str
    profile: str
    mode: str
    """``write``, or ``read`` for one that only looks on."""
    input_unknown: bool
    """The server does not know any more what it had taken of our input, which goes on at ``input``."""
    snapshot: bool
    """The screen follows, as of ``output`` where that is behind what we have."""
    head: int
    """Output before it is of the past: what a program asked for in it, nobody waits for any more."""
    size: tuple[int, int] | None = None
    """Columns and rows of the terminal; an older server does not tell them."""
    recording: str = ""
    """Whether the session is recorded: ``on``, ``lost`` where it should be and is not, or empty."""
    files: Grant | None = None
    """What files may be transferred; ``None``: none, or by none that this server knows."""


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """The session is at another address, and is asked for there."""

    url: str


@dataclass(frozen=True, slots=True)
class HostLost:
    """The host of the session has not been heard of since then, in Unix seconds, where that is told. It may
    be back, and is asked for again; what ran there may be gone.

    ``screen``: the last one that is known, where that shows more than the client has seen; the same one is
    told once."""

    since: float | None
    message: str
    screen: LastScreen | None = None


@dataclass(frozen=True, slots=True)
class Resized:
    """Whoever types has given the terminal that is watched another size."""

    cols: int
    rows: int


@dataclass(frozen=True, slots=True)
class Recording:
    """The session is recorded from now on, or is not any more; see :attr:`Attached.recording`."""

    state: str


@dataclass(frozen=True, slots=True)
class Connecting:
    """An attempt begins."""

    again: bool
    """Whether there was an attach before."""


@dataclass(frozen=True, slots=True)
class Connected:
    """An attach is in force."""

    attached: Attached
    reconnect: bool
    planned: bool
    """Whether the loss before it was."""
    away: float
    """Seconds since the loss, or since ``open``."""
    attempt_seconds: float
    """Seconds since this attempt began."""
    attach_seconds: float
    """Seconds from the opened connection to the acknowledgement, the last part of both."""
    missed: int
    """Output bytes that the server no longer had."""


@dataclass(frozen=True, slots=True)
class Output:
    """Bytes that the terminal has printed, each once. ``end`` is the offset after the last."""

    data: bytes
    end: int

    def __repr__(self) -> str:
        return f"<Output {len(self.data)} bytes to {self.end}>"


@dataclass(frozen=True, slots=True)
class Screen:
    """What paints the screen as of offset ``end``, in place of ``skipped`` bytes of output."""

    data: bytes
    end: int
    skipped: int

    def __repr__(self) -> str:
        return f"<Screen of {len(self.data)} bytes at {self.end}, {self.skipped} skipped>"


@dataclass(frozen=True, slots=True)
class InputDropped:
    """The last ``count`` bytes typed are not sent again: the server does not know whether it has them."""

    count: int


@dataclass(frozen=True, slots=True)
class Pong:
    """The server has answered a ping after so many ``seconds``."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Lost:
    """An attach is over that was in force for ``lasted`` seconds."""

    planned: bool
    reason: str
    lasted: float


@dataclass(frozen=True, slots=True)
class Loop:
    """Attaches were lost too often, each before it was stable."""

    reason: str


@dataclass(frozen=True, slots=True)
class Failed:
    """An attempt has failed after so many ``seconds``."""

    reason: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Waiting:
    """The next attempt is at ``until``."""

    until: float
    reason: str
    planned: bool
    breaker: bool
    """Whether it is the breaker that makes it wait."""


@dataclass(frozen=True, slots=True)
class Ended:
    """The shell has ended; ``status`` is its exit status. The attach stays; lost, it is not come back to."""

    status: int


@dataclass(frozen=True, slots=True)
class TakenOver:
    """Another client has attached to the session; coming back would only fight it."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The server does not want this client. ``code`` is the protocol's error code."""

    code: str
    message: str


Event = (
    Elsewhere
    | HostLost
    | Resized
    | Recording
    | Connecting
    | Connected
    | Output
    | Screen
    | InputDropped
    | Pong
    | Lost
    | Loop
    | Failed
    | Waiting
    | Ended
    | TakenOver
    | Refused
    | TransferItem
)
Item = Connect | Send | Close | Event


class ClientSession:
    """One terminal's conversation with its server, over connections that come and go."""

    def __init__(
        self,
        credentials: Mapping[str, str],
        client: str,
        *,
        url: str = "",
        session: str | None = None,
        epoch: str | None = None,
        watch: bool = False,
        size: tuple[int, int] = (80, 24),
        sender: Sender | None = None,
        backoff: Backoff | None = None,
        breaker: CircuitBreaker | None = None,
        stable_after: float = STABLE_AFTER,
        connect_timeout: float = CONNECT_SECONDS,
        forget_after: float = FORGET_SECONDS,
        pings: bool = False,
        versions: tuple[int, ...] = PROTOCOL_VERSIONS,
    ) -> None:
        """``credentials``: ``{"token": ...}``, with a ``program`` perhaps, or ``{"ticket": ...}``.
        ``client``: a random id of this client. ``url``: where the server is, which may send it on to another
        one.

        ``epoch``: of a ``session`` that is to be shown from its beginning on. ``watch``: look on, without
        typing. ``sender`` carries input of an earlier conversation of the same client that was not
        acknowledged. ``size``: columns and rows. ``connect_timeout``: seconds that one attempt may take.
        ``forget_after``: seconds for which a session that was attached is asked for though it is unknown.
        ``pings``: ask the server for a sign of life, for whoever does not see those that it gives itself.
        """
        self.session = session
        self.watch = watch
        self.attached: Attached | None = None
        self.breaker = breaker or CircuitBreaker()
        self.phase = Phase.CLOSED
        self.sender = sender or Sender()
        self.version = 1
        """Of the protocol, as the server has said last."""
        self._credentials = dict(credentials)
        self._client = client
        self._epoch = epoch
        self._size = self._told_size = size
        self._backoff = backoff or Backoff()
        self._stable_after = stable_after
        self._connect_timeout = connect_timeout
        self._forget_after = forget_after
        self._pings = pings
        self._versions = versions
        self._home = self._url = url
        """The address that was given, and the one to connect to: where the session was found."""
        self._asked_at = {url}
        """Addresses that this attempt has come by."""
        self._items: list[Item] = []
        self.transfers = Transfers(CHANNEL, lambda item: self._items.append(item))
        """Of files; see :mod:`terminals.protocol.client_transfers`."""

        # Of the streams.
        self._receiver = Receiver()
        self._unpainted: int | None = None
        """Where we are as long as a screen that was announced has not come: it may be lost on its way."""
        self._sent = 0
        self._acked = 0
        self._consumed = 0

        # Of this connection.
        self._began = self._linked = self._attached_at = 0.0
        self._stable = True
        self._ended = False
        self._heartbeat = HEARTBEAT
        self._acked_at = 0.0
        self._ack_at: float | None = None
        self._ping_at: float | None = None
        self._dead_at: float | None = None

        # Across connections.
        self._lost_at: float | None = None
        self._planned = False
        self._attempt = 0
        self._unstable = 0
        self._retry_after: float | None = None
        self._until = 0.0
        self._reason = ""
        self._shown_at: float | None = None
        """When the last screen was made that was told."""

    # --- what a user looks at -------------------------------------------------------------

    def take(self) -> list[Item]:
        """What is to be done and what has happened since the last call, in order."""
        items, self._items = self._items, []
        return items

    def wake_at(self) -> float | None:
        """When :meth:`tick` is to be called, if nothing else happens before."""
        match self.phase:
            case Phase.WAITING:
                return self._until
            case Phase.CONNECTING | Phase.GREETING | Phase.ATTACHING:
                return self._began + self._connect_timeout
            case Phase.ATTACHED:
                stable_at = None if self._stable else self._attached_at + self._stable_after
                due = [self._ack_at, self._ping_at, self._dead_at, stable_at]
                return min((at for at in due if at is not None), default=None)
            case _:
                return None

    @property
    def received_bytes(self) -> int:
        """Output bytes received, ever: the offset to resume from."""
        return self._receiver.received

    @property
    def reason(self) -> str:
        """Why the last attempt or connection came to its end."""
        return self._reason

    @property
    def url(self) -> str:
        """The address that the user gave. Another one is connected to from the next attempt on."""
        return self._home

    @url.setter
    def url(self, url: str) -> None:
        self._home = self._url = url

    @property
    def ticket(self) -> str | None:
        """The ticket to come back with; the server gives a new one at each connection."""
        return self._credentials.get("ticket")

    # --- what a user wants ----------------------------------------------------------------

    def open(self, now: float) -> None:
        """Connect and attach, and stay so; also after it has stopped."""
        if self._lost_at is None:
            self._lost_at = now
        self._attempt = 0
        self._url = self._home
        self._connect(now)

    def close(self, *, kill: bool = False) -> None:
        """Let go of the session, which keeps running; ``kill`` ends its shell."""
        if kill and self.phase is Phase.ATTACHED:
            self._text("kill", channel=CHANNEL)
        self._leave(Phase.CLOSED)

    def type(self, data: bytes) -> None:
        """Type ``data``. It is kept until the server has it, across any number of connections.

        Raises:
            BufferError: more than the sender's limit is not acknowledged yet.
        """
        self.sender.push(data)
        self._flush()

    def resize(self, cols: int, rows: int) -> None:
        """The terminal has another size."""
        self._size = (cols, rows)
        self._tell_size()

    def consumed(self, now: float, end: int) -> None:
        """Whoever uses the terminal has done with output before offset ``end``: more may come."""
        self._consumed = max(self._consumed, end)
        if self.phase is not Phase.ATTACHED or self._consumed <= self._acked:
            return
        self._ack_at = self._acked_at + ACK_SECONDS
        if self._consumed - self._acked >= ACK_BYTES or now >= self._ack_at:
            self._acknowledge(now)

    def retry_now(self, now: float) -> None:
        """Do not wait any longer: a person asks."""
        if self.phase is Phase.WAITING:
            self.breaker.trial_now(now)
            self._connect(now)

    def probe(self, now: float) -> None:
        """The network may have changed: find out now, rather than at the next heartbeat."""
        if self.phase is Phase.ATTACHED:
            self._ping(now, PROBE_SECONDS)
        elif self.phase is Phase.WAITING and self.breaker.state is not BreakerState.OPEN:
            self._connect(now)

    def cut(self, now: float) -> None:
        """Cut the connection as a lost network does, to come back at once. No failure."""
        if self.phase is Phase.ATTACHED:
            self._items.append(Close(None))
            self._detached(now, None, "", "cut on purpose", wanted=True)

    # --- what happens ---------------------------------------------------------------------

    def connected(self, now: float) -> None:
        """There is a connection."""
        if self.phase is not Phase.CONNECTING:
            return
        self._linked = now
        self._text("hello", versions=list(self._versions), client=self._client, **self._credentials)
        if self.watch:
            self.phase = Phase.GREETING
        else:
            self._attach()

    def lost(self, now: float, code: int | None = None, reason: str = "", *, text: str = "") -> None:
        """There is no connection any more, or none came about.

        ``code`` and ``reason`` are those of the server's goodbye, if it said one; ``text`` tells a person.
        """
        attached = self.phase is Phase.ATTACHED
        usual = {
            Action.RETURN: "the server is being replaced",
            Action.STOP: reason or "the server does not want this client",
            Action.BACK_OFF: "the connection was lost" if attached else "the server cannot be reached",
        }
        told = text or usual[action(code)]
        if attached:
            self._detached(now, code, reason, told)
        elif self.phase in ATTEMPT:
            self._failed(now, code, reason, told)

    def heard(self, now: float) -> None:
        """Something has come from the server, if only a sign of life."""
        if self.phase is Phase.ATTACHED:
            self._dead_at = None if self._pings else now + HEARTBEATS_MISSED * self._heartbeat

    def received(self, now: float, message: str | bytes) -> None:
        """A message has come."""
        if self.phase not in ATTEMPT and self.phase is not Phase.ATTACHED:
            return  # it has crossed our goodbye
        self.heard(now)
        try:
            if isinstance(message, str):
                self._control(now, messages.decode_text(message.encode()))
            else:
                self._binary(messages.decode_binary(message))
        except (BadMessage, SequenceGap) as error:
            self._items.append(Close(None))
            self.lost(now, text=f"the server broke the protocol: {error}")

    def tick(self, now: float) -> None:
        """Do what is due. Tell of what has been received before calling it."""
        match self.phase:
            case Phase.WAITING if now >= self._until:
                self._connect(now)
            case Phase.CONNECTING | Phase.GREETING | Phase.ATTACHING if (
                now >= self._began + self._connect_timeout
            ):
                self._items.append(Close(None))
                what = {
                    Phase.CONNECTING: "no answer",
                    Phase.GREETING: "no welcome",
                    Phase.ATTACHING: "the attach was not acknowledged",
                }[self.phase]
                self._failed(now, None, "", f"{what} in time")
            case Phase.ATTACHED:
                self._beat(now)

    # --- an attempt -----------------------------------------------------------------------

    def _connect(self, now: float) -> None:
        self._leave(Phase.WAITING)
        if not self.breaker.allow(now):  # it may be shared, and another's trial go on
            self._wait(now, 0.0)
            return
        self._asked_at = {self._url}
        self._items.append(Connecting(self.attached is not None))
        self._call(now)

    def _call(self, now: float) -> None:
        self.phase = Phase.CONNECTING
        self._began = now
        self._items.append(Connect(self._url))

    def _sent_on(self, now: float, fields: dict[str, Any]) -> None:
        """The session is at another address."""
        url = messages.string(fields, "url", 2048)
        self._items.append(Close(CloseCode.NORMAL))
        if not is_address(url) or (self._url.lower().startswith("wss:") and not url.startswith("wss:")):
            self._failed(now, None, "", "the server names an address that is none")
        elif url in self._asked_at or len(self._asked_at) > MAX_HOPS:
            self._failed(now, None, "", "the servers send this client in a circle")
        else:
            self._asked_at.add(url)
            self._url = url
            self._items.append(Elsewhere(url))
            self._call(now)

    def _attach(self) -> None:
        output = self._receiver.received if self._unpainted is None else self._unpainted
        self._told_size = self._size
        self._text(
            "attach",
            channel=CHANNEL,
            session=self.session,
            cols=self._size[0],
            rows=self._size[1],
            resume=None if self._epoch is None else {"output": output, "epoch": self._epoch},
            mode="read" if self.watch else "write",
        )
        self.phase = Phase.ATTACHING

    def _welcomed(self, now: float, fields: dict[str, Any]) -> None:
        version, heartbeat, ticket = (fields.get(name) for name in ("version", "heartbeat", "ticket"))
        self.version = version if isinstance(version, int) else 1
        if isinstance(heartbeat, int | float) and heartbeat is not True and 0 < heartbeat <= LONGEST:
            self._heartbeat = float(heartbeat)
        self._renew(ticket)
        if self.phase is not Phase.GREETING:
            return
        if self.version >= WATCHING_SINCE:
            self._attach()
        else:
            self._refuse(now, ErrorCode.UNAVAILABLE, "the server is too old for watching a session")

    def _renew(self, ticket: object) -> None:
        if isinstance(ticket, str) and "ticket" in self._credentials:
            self._credentials["ticket"] = ticket

    def _acknowledged(self, now: float, fields: dict[str, Any]) -> None:
        attached = read_attached(fields)
        dropped = 0
        if attached.input_unknown and self.sender.acked < attached.input:
            dropped = self.sender.restart(attached.input)
        else:
            self.sender.ack(attached.input)
        had = self._receiver.received
        if not (attached.snapshot and attached.skipped):
            self._unpainted = None
        elif self._unpainted is None:
            self._unpainted = had
        self._receiver.received = self._acked = self._consumed = attached.output
        self._sent = self.sender.acked
        reconnect = self.attached is not None
        missed = max(0, attached.output - had) if reconnect else 0
        self.attached, self.session, self._epoch = attached, attached.session, attached.epoch
        self.phase = Phase.ATTACHED
        self._attached_at = self._acked_at = now
        self._stable = self._ended = False
        away = now - (self._began if self._lost_at is None else self._lost_at)
        self._items.append(
            Connected(attached, reconnect, self._planned, away, now - self._began, now - self._linked, missed)
        )
        if dropped:
            self._items.append(InputDropped(dropped))
        self._lost_at, self._reason = None, ""
        self.heard(now)
        if self._pings:
            self._ping(now, HEARTBEATS_MISSED * self._heartbeat)
        self._tell_size()
        self._flush()
        self.transfers.attached(attached.files)

    # --- how it ends ----------------------------------------------------------------------

    def _failed(self, now: float, code: int | None, reason: str, text: str) -> None:
        """An attempt came to nothing."""
        self._give_up(now, text)
        what = action(code)
        if what is Action.STOP:
            self._stop(code, reason)
            return
        # One that is told to come back has not failed; but who is told so again and again slows down.
        self._schedule(now, failure=what is not Action.RETURN)

    def _give_up(self, now: float, text: str) -> None:
        self._reason = text
        self._items.append(Failed(text, now - self._began))
        self._url = self._home  # wherever it was, it may be somewhere else by now

    def _come_again(self, now: float, text: str, after: float | None) -> None:
        """Not now, as the server says; that is no failure."""
        self._items.append(Close(CloseCode.NORMAL))
        self._give_up(now, text)
        self._retry_after = after
        self._schedule(now, failure=False)

    def _detached(
        self, now: float, code: int | None, reason: str, text: str, *, wanted: bool = False
    ) -> None:
        """An attach is over that was in force. ``wanted``: by us."""
        if self._ended and not wanted:
            self._become(Phase.STOPPED)
            return
        self._settle(now)
        what = action(code)
        self._planned = what is Action.RETURN
        self._lost_at = now
        self._reason = text
        self._items.append(Lost(self._planned, self._reason, now - self._attached_at))
        if what is Action.STOP:
            self._stop(code, reason)
        elif self._planned or wanted:
            if self.breaker.state is BreakerState.HALF_OPEN:
                self.breaker.success()  # the trial did not fail, and nobody else may try
            window = messages.retry_window(reason)
            wait = self._backoff.uniform(0.0, self._backoff.ceiling(0) if window is None else window)
            if not (self._stable or wanted):
                # A server that sends everybody away at once is a loop, too, whatever it calls that.
                wait = max(wait, self._backoff.delay(self._attempt))
                self._attempt += 1
            self._wait(now, wait, planned=self._planned)
        else:
            if not self._stable:
                self._unstable += 1
                if self._unstable >= LOOP_THRESHOLD:
                    self._items.append(Loop(self._reason))
            self._schedule(now, failure=not self._stable)

    def _schedule(self, now: float, *, failure: bool) -> None:
        """Decide when to try again. ``failure``: it counts for the breaker."""
        wait = self._backoff.delay(self._attempt)
        self._attempt += 1
        if self._retry_after is not None:
            # The server has said when; spread over half as much again, not all at that moment. And who is
            # told "at once" again and again must not knock without a pause.
            after, self._retry_after = max(self._retry_after, self._backoff.ceiling(0)), None
            wait = after * self._backoff.uniform(1.0, 1.5)
            failure = self.breaker.state is BreakerState.HALF_OPEN
        if failure:
            self.breaker.failure(now)
        self._wait(now, wait)

    def _wait(self, now: float, seconds: float, *, planned: bool = False) -> None:
        self._become(Phase.WAITING)
        self._until = now + max(seconds, self.breaker.retry_after(now))
        open_ = self.breaker.state is BreakerState.OPEN
        self._items.append(Waiting(self._until, self._reason, planned, open_))

    def _stop(self, code: int | None, reason: str) -> None:
        """The server has closed for good."""
        self._become(Phase.STOPPED)
        if code == CloseCode.TAKEN_OVER:
            self._items.append(TakenOver())
        else:
            known = ErrorCode.UNAUTHORIZED if code == CloseCode.UNAUTHORIZED else ErrorCode.REFUSED
            self._items.append(Refused(known, reason))

    def _refuse(self, now: float, code: str, message: str) -> None:
        """An error has told us not to come back."""
        if self.phase is Phase.ATTACHED:
            self._items.append(Lost(False, message, now - self._attached_at))
        else:
            self.breaker.success()  # the server works; it is us that it does not want
        self._reason = message
        self._leave(Phase.STOPPED)
        self._items.append(TakenOver() if code == ErrorCode.TAKEN_OVER else Refused(code, message))

    def _leave(self, phase: Phase) -> None:
        """Close the connection, if there is one."""
        if self.phase in ATTEMPT or self.phase is Phase.ATTACHED:
            self._items.append(Close(CloseCode.NORMAL))
        self._become(phase)

    def _become(self, phase: Phase) -> None:
        """There is no connection any more: forget what was due on it."""
        self.phase = phase
        self.transfers.detached()
        self._ack_at = self._ping_at = self._dead_at = None

    # --- messages -------------------------------------------------------------------------

    def _control(self, now: float, fields: dict[str, Any]) -> None:
        match self.phase, fields["type"]:
            case ((Phase.GREETING | Phase.ATTACHING), "welcome"):
                self._welcomed(now, fields)
            case Phase.ATTACHING, "attached":
                self._acknowledged(now, fields)
            case ((Phase.GREETING | Phase.ATTACHING), "error"):
                self._rejected(now, fields)
            case ((Phase.GREETING | Phase.ATTACHING), "retry-later"):
                self._come_again(now, str(fields.get("reason")), _seconds(fields, "after"))
            case ((Phase.GREETING | Phase.ATTACHING), "elsewhere"):
                self._sent_on(now, fields)
            case Phase.ATTACHED, "ticket":
                self._renew(fields.get("ticket"))
            case Phase.ATTACHED, "size":
                self._items.append(Resized(*_size(fields)))
            case Phase.ATTACHED, "recording":
                self._items.append(Recording(_recording(fields.get("state"))))
            case Phase.ATTACHED, "error" if str(fields.get("code")) in _FINAL_LATER:
                self._refuse(now, str(fields["code"]), str(fields.get("message")))
            case Phase.ATTACHED, "exit":
                status = messages.integer(fields, "status", -255, 255)
                self._ended = True
                self._items.append(Ended(status))
            case Phase.ATTACHED, "pong":
                if (asked := messages.number(fields, "t")) is not None:
                    self._items.append(Pong(now - asked / 1000))
            case Phase.ATTACHED, _ if self.transfers.control(fields):
                pass
            case _:
                pass  # a newer server's: it may add to what it says

    def _rejected(self, now: float, fields: dict[str, Any]) -> None:
        code, text = str(fields.get("code")), str(fields.get("message"))
        if code == ErrorCode.UNKNOWN_SESSION and self._was_attached(now):
            self._come_again(now, text, None)
        elif code == ErrorCode.HOST_LOST:
            known = messages.last_screen(fields)
            screen = None if known is None or known.at == self._shown_at else known
            if screen is not None:
                self._shown_at = screen.at
            self._items.append(HostLost(messages.number(fields, "since"), text, screen))
            self._come_again(now, text, _seconds(fields, "retry_after"))
        elif code in _FINAL:
            self._refuse(now, code, text)
        else:
            self._retry_after = _seconds(fields, "retry_after")
            self._items.append(Close(CloseCode.NORMAL))
            self._failed(now, None, "", text)

    def _was_attached(self, now: float) -> bool:
        """Whether it was so a moment ago."""
        if self.attached is None or self._lost_at is None:
            return False
        return now < self._lost_at + self._forget_after

    def _binary(self, frame: Binary) -> None:
        if frame.channel != CHANNEL:
            self.transfers.binary(frame)
            return
        if self.phase is not Phase.ATTACHED:
            raise BadMessage("data before the attach was acknowledged")
        if frame.type is FrameType.ACK:
            self.sender.ack(frame.seq)
            self._flush()
        elif frame.type is FrameType.SNAPSHOT:
            skipped = self._receiver.jump(frame.seq)
            self._unpainted = None
            self._items.append(Screen(frame.payload, frame.seq, skipped))
        elif fresh := self._receiver.accept(frame.seq, frame.payload):
            self._items.append(Output(fresh, self._receiver.received))

    def _text(self, kind: str, /, **fields: Any) -> None:
        self._items.append(Send(messages.encode_text(kind, **fields).decode()))

    def _flush(self) -> None:
        if self.phase is not Phase.ATTACHED:
            return
        acked, pending = self.sender.pending()
        self._sent = max(self._sent, acked)
        while self._sent < self.sender.end and self._sent - acked < INPUT_WINDOW:
            piece = pending[self._sent - acked :][: messages.MAX_INPUT]
            self._items.append(Send(messages.encode_data(CHANNEL, self._sent, piece)))
            self._sent += len(piece)

    def _acknowledge(self, now: float) -> None:
        self._ack_at = None
        self._acked, self._acked_at = self._consumed, now
        self._items.append(Send(messages.encode_ack(CHANNEL, self._acked)))

    def _tell_size(self) -> None:
        """Also of a size that came while the attach was on its way."""
        if self.phase is Phase.ATTACHED and self._size != self._told_size:
            self._told_size = self._size
            self._text("resize", channel=CHANNEL, cols=self._size[0], rows=self._size[1])

    # --- what is due while attached -------------------------------------------------------

    def _beat(self, now: float) -> None:
        self._settle(now)
        if self._dead_at is not None and now >= self._dead_at:
            self._items.append(Close(None))
            self.lost(now, text="nothing was heard from the server")
            return
        if self._ack_at is not None and now >= self._ack_at:
            self._acknowledge(now)
        if self._ping_at is not None and now >= self._ping_at:
            self._ping(now, HEARTBEATS_MISSED * self._heartbeat)

    def _ping(self, now: float, patience: float) -> None:
        """Ask for a sign of life. Only one that was asked for can be missed: who slept has not asked."""
        self._text("ping", t=round(now * 1000, 3))
        self._dead_at = min(now + patience, math.inf if self._dead_at is None else self._dead_at)
        if self._pings:
            self._ping_at = now + self._heartbeat

    def _settle(self, now: float) -> None:
        if not self._stable and now >= self._attached_at + self._stable_after:
            self._stable = True
            self._unstable = self._attempt = 0
            self.breaker.success()


def _seconds(fields: dict[str, Any], name: str) -> float | None:
    after = messages.number(fields, name)
    return None if after is None else min(max(0.0, after), LONGEST)


def _size(fields: dict[str, Any]) -> tuple[int, int]:
    cols, rows = (messages.integer(fields, side, 1, messages.MAX_SIDE) for side in ("cols", "rows"))
    return cols, rows


def _recording(state: object) -> str:
    return str(state) if state in ("on", "lost") else ""


def read_attached(fields: dict[str, Any]) -> Attached:
    """Read an ``attached`` message.

    Raises:
        BadMessage: something is missing, of another type, or out of range.
    """
    texts = ("session", "status", "epoch", "generation", "build", "origin", "profile")
    offset = messages.integer(fields, "output", 0, messages.MAX_OFFSET)
    return Attached(
        **{name: messages.string(fields, name) for name in texts},
        output=offset,
        skipped=messages.integer(fields, "skipped", 0, messages.MAX_OFFSET),
        input=messages.integer(fields, "input", 0, messages.MAX_OFFSET),
        mode="read" if fields.get("mode") == "read" else "write",
        input_unknown=fields.get("input_unknown") is True,
        snapshot=fields.get("snapshot") is True,
        head=messages.integer(fields, "head", 0, messages.MAX_OFFSET, offset),
        size=_size(fields) if "cols" in fields else None,
        recording=_recording(fields.get("recording")),
        files=read_grant(fields.get("files")),
    )
