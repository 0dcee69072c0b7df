"""A terminal that stays: reconnects by itself and delivers every byte once, in both directions."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from terminals.client.errors import AttachError, ConnectError, SessionLost, TakenOver, Unauthorized
from terminals.client.link import Link, LinkLost
from terminals.protocol import (
    HEARTBEAT,
    HEARTBEATS_MISSED,
    LOOP_THRESHOLD,
    PROTOCOL_VERSIONS,
    STABLE_AFTER,
    messages,
)
from terminals.protocol.backoff import Backoff
from terminals.protocol.breaker import BreakerState, CircuitBreaker
from terminals.protocol.closing import Action, action
from terminals.protocol.messages import BadMessage, CloseCode, ErrorCode, FrameType
from terminals.protocol.resume import Receiver, Sender, SequenceGap

ACK_BYTES = 1 << 16
ACK_SECONDS = 0.1
INPUT_WINDOW = 1 << 16
CONNECT_SECONDS = 10.0
EXPECT_SPAN = 1 << 16


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
    mode: str = "write"
    """``write``, or ``read`` for one that only looks on."""
    input_unknown: bool = False
    """The server does not know any more what it had taken of our input, which goes on at ``input``."""
    snapshot: bool = False
    """The screen follows, as of ``output`` where that is behind what we have."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to the connection.

    ``kind``: ``connected``, ``lost``, ``snapshot`` (output was skipped and the screen painted
    instead), ``input-dropped`` (what we had typed is not sent again: the server does not know any more
    whether it had taken it), ``retry`` (waiting ``seconds`` for the next attempt),
    ``loop`` (the breaker opened on a reconnection loop) or ``failed`` (an attempt).
    For ``connected``, ``seconds`` counts from the loss (or from ``open``) and
    ``attempt_seconds`` from the start of the attempt that succeeded; ``attach_seconds`` is the last part
    of both, from the opened connection to the acknowledgement.
    """

    kind: str
    seconds: float = 0.0
    attempt_seconds: float = 0.0
    attach_seconds: float = 0.0
    reconnect: bool = False
    planned: bool = False
    generation: str = ""
    build: str = ""
    status: str = ""
    error: str = ""


@dataclass(slots=True)
class Stats:
    """Counts over the life of a terminal."""

    connects: int = 0
    reconnects: int = 0
    failed: int = 0
    losses: int = 0
    planned: int = 0
    loops: int = 0
    skipped: int = 0
    """Output bytes the server no longer had when we came back."""
    dropped_input: int = 0
    """Input bytes that were not sent again, for the server did not know whether it had taken them."""


class Terminal:
    """A client of one session. Not thread-safe; all I/O happens inside its methods.

    ``ca`` names a file of certificates to trust for ``wss:``, in place of the system's.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        ticket: str | None = None,
        ca: str | None = None,
        session: str | None = None,
        client_id: str | None = None,
        watch: bool = False,
        cols: int = 80,
        rows: int = 24,
        backoff: Backoff | None = None,
        breaker: CircuitBreaker | None = None,
        stable_after: float = STABLE_AFTER,
        connect_timeout: float = CONNECT_SECONDS,
        on_event: Callable[[Event], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``watch``: look on, without typing; others may type meanwhile. ``connect_timeout``: seconds that
        one attempt to connect and attach may take."""
        self.url = url
        self.session = session
        self.watch = watch
        self.screen: bytes | None = None
        """The last snapshot: what paints the screen where output was skipped. Not part of :meth:`read`."""
        self.attached: Attached | None = None
        self.exit_status: int | None = None
        self.stats = Stats()
        self.breaker = breaker or CircuitBreaker()
        self.token = token
        self.ticket = ticket
        """Replaced by the server's next one at each connection."""
        self.ca = ca
        self._client_id = client_id or secrets.token_hex(8)
        self._size = (cols, rows)
        self._backoff = backoff or Backoff()
        self._stable_after = stable_after
        self._connect_timeout = connect_timeout
        self._on_event = on_event or (lambda event: None)
        self._clock = clock
        self._link: Link | None = None
        self._output = bytearray()
        self._receiver = Receiver()
        self._unpainted: int | None = None
        """Where we are as long as a screen that was announced has not come: it may be lost on its way."""
        self._sender = Sender()
        self._input_sent = 0
        self._acked = 0
        self._acked_at = 0.0
        self._heard_at = 0.0
        self._heartbeat = HEARTBEAT
        self._attached_at = 0.0
        self._stable = False
        self._unstable = 0
        self._attempt = 0
        self._next_attempt = 0.0
        self._lost_at: float | None = None
        self._planned = False
        self._retry_after: float | None = None
        self._last_error = "never tried"

    # --- what a user calls ------------------------------------------------------------

    @property
    def connected(self) -> bool:
        """Whether an attach is in force right now."""
        return self._link is not None

    @property
    def received(self) -> int:
        """Output bytes received, ever: the offset to resume from."""
        return self._receiver.received

    @property
    def unacknowledged(self) -> int:
        """Input bytes that the shell's terminal has not taken yet."""
        return self._sender.end - self._sender.acked

    def open(self, timeout: float = CONNECT_SECONDS) -> Attached:
        """Connect and attach, trying again by the backoff until ``timeout`` seconds have passed.

        Raises:
            ConnectError: not attached in time.
            AttachError: refused for good (:class:`Unauthorized`, :class:`SessionLost`, ...).
        """
        end = self._clock() + timeout
        if self._lost_at is None:
            self._lost_at = self._clock()
        while self._link is None:
            left = end - self._clock()
            if left <= 0:
                raise ConnectError(f"not attached to {self.url} within {timeout:g} s: {self._last_error}")
            self.pump(left)
        assert self.attached is not None
        return self.attached

    def send(self, data: bytes) -> None:
        """Type ``data``. It is kept until the server has it, across any number of connections.

        Raises:
            BufferError: more than 1 MiB is not acknowledged yet; pump and try again.
        """
        self._sender.push(data)
        try:
            self._flush_input()
        except LinkLost as lost:
            self._lost(lost)

    def read(self, timeout: float = 0.0) -> bytes:
        """Output that has come; waits up to ``timeout`` seconds for some. ``b""`` when none came."""
        end = self._clock() + timeout
        while not self._output and self.exit_status is None:
            left = end - self._clock()
            self.pump(max(0.0, left))
            if left <= 0:
                break
        data, self._output = bytes(self._output), bytearray()
        return data

    def expect(self, pattern: bytes, timeout: float = 10.0) -> bytes:
        """Read until ``pattern`` (a regular expression, matching at most 64 KiB) is found; returns all
        up to its end.

        Raises:
            ConnectError: it did not come in time, or the shell ended. The text shows the tail of
                what came.
        """
        end = self._clock() + timeout
        regex = re.compile(pattern, re.DOTALL)
        searched = 0
        while True:
            # Searching it all again for each chunk would take quadratic time.
            match = regex.search(self._output, max(0, searched - EXPECT_SPAN))
            searched = len(self._output)
            if match:
                data = bytes(self._output[: match.end()])
                del self._output[: match.end()]
                return data
            left = end - self._clock()
            if left <= 0 or self.exit_status is not None:
                tail = bytes(self._output[-200:])
                raise ConnectError(f"{pattern!r} did not come within {timeout:g} s; last output {tail!r}")
            self.pump(left)

    def resize(self, cols: int, rows: int) -> None:
        """Change the size of the terminal."""
        self._size = (cols, rows)
        self._try_text("resize", channel=0, cols=cols, rows=rows)

    def pump(self, timeout: float = 0.0) -> None:
        """Do what there is to do: reconnect when due, receive, acknowledge. Returns when anything
        happened or after ``timeout`` seconds.

        Raises:
            AttachError: the server refused this client for good.
        """
        now = self._clock()
        if self._link is None:
            wait = max(self._next_attempt - now, self.breaker.retry_after(now))
            if wait > timeout:
                time.sleep(timeout)
                return
            time.sleep(max(0.0, wait))
            self._connect()
            return
        try:
            self._check_stable(now)
            # Bytes wait for an acknowledgement at most so long; then it is sent unasked.
            pending = self.received > self._acked
            heard = self._link.heard
            # Not longer than the server may be silent, or we would not notice.
            patience = min(timeout, HEARTBEATS_MISSED * self._heartbeat)
            received = self._link.receive(min(patience, ACK_SECONDS) if pending else patience)
            if self._link.heard != heard or received:
                self._heard_at = self._clock()
            for message in received:
                self._handle(message)
            self._acknowledge()
            if self._clock() - self._heard_at > HEARTBEATS_MISSED * self._heartbeat:
                raise LinkLost(f"nothing heard for {HEARTBEATS_MISSED * self._heartbeat:g} s")
        except LinkLost as lost:
            self._lost(lost)

    def cut(self) -> None:
        """Reset the connection, as a lost network does. The next call reconnects."""
        if self._link is not None:
            self._lost(LinkLost("cut on purpose"), expected=True)

    def close(self, *, kill: bool = False) -> None:
        """Close the connection; ``kill`` ends the shell too."""
        if self._link is not None:
            if kill:
                self._try_text("kill", channel=0)
            if self._link is not None:
                self._link.close()
                self._link = None

    def __enter__(self) -> Terminal:
        self.open()
        return self

    def __exit__(self, *exc: object) -> None:
        self.close(kill=True)

    # --- connecting -------------------------------------------------------------------

    def _connect(self) -> None:
        started = self._clock()
        if not self.breaker.allow(started):
            return
        link: Link | None = None
        try:
            link = Link(self.url, self._connect_timeout, self.ca)
            linked = self._clock()
            attached = self._attach(link, started + self._connect_timeout)
        except LinkLost as lost:
            self.stats.failed += 1
            self._last_error = str(lost)
            self._on_event(Event("failed", self._clock() - started, error=str(lost)))
            if link is not None:
                link.abort()
            self._schedule(lost)
            return
        except AttachError:
            self.breaker.success()  # the server works; it is us that it does not want
            if link is not None:
                link.abort()
            raise
        now = self._clock()
        self._link = link
        self._attached_at = self._heard_at = now
        self._stable = False
        reconnect = self.stats.connects > 0
        self.stats.connects += 1
        self.stats.reconnects += reconnect
        self._on_event(
            Event(
                "connected",
                now - (self._lost_at if self._lost_at is not None else started),
                attempt_seconds=now - started,
                attach_seconds=now - linked,
                reconnect=reconnect,
                planned=self._planned,
                generation=attached.generation,
                build=attached.build,
                status=attached.status,
            )
        )
        self._lost_at = None
        self._planned = False
        try:
            self._flush_input()
        except LinkLost as lost:
            self._lost(lost)

    def _attach(self, link: Link, end: float) -> Attached:
        credentials = {"token": self.token or ""} if self.ticket is None else {"ticket": self.ticket}
        link.send(
            messages.encode_text(
                "hello", versions=list(PROTOCOL_VERSIONS), client=self._client_id, **credentials
            ),
            text=True,
        )
        if self.watch:
            # An older server would take "read" for nothing and the session from whoever types there.
            self._await_version(link, 2, end)
        link.send(self._attach_message(), text=True)
        while self._clock() < end:
            early: list[bytes | str] = link.receive(end - self._clock())
            for index, message in enumerate(early):
                if isinstance(message, bytes):
                    raise LinkLost("data before the attach was acknowledged")
                fields = self._decode(message)
                if fields["type"] == "error":
                    self._refused(fields)
                elif fields["type"] == "welcome":
                    self._welcomed(fields)
                elif fields["type"] == "attached":
                    attached = self._acknowledged(fields)
                    for later in early[index + 1 :]:
                        self._handle(later)
                    return attached
        raise LinkLost("the attach was not acknowledged in time")

    def _await_version(self, link: Link, least: int, end: float) -> None:
        while self._clock() < end:
            for message in link.receive(end - self._clock()):
                fields = self._decode(message) if isinstance(message, str) else {"type": ""}
                if fields["type"] == "error":
                    self._refused(fields)
                elif fields["type"] == "welcome":
                    self._welcomed(fields)
                    if int(fields.get("version", 1)) < least:
                        raise AttachError(
                            ErrorCode.UNAVAILABLE, f"{self.url} is too old for watching a session"
                        )
                    return
        raise LinkLost("no welcome in time")

    def _welcomed(self, fields: dict[str, Any]) -> None:
        self.ticket = fields.get("ticket", self.ticket)
        heartbeat = fields.get("heartbeat")
        if isinstance(heartbeat, int | float) and heartbeat > 0:
            self._heartbeat = float(heartbeat)

    def _attach_message(self) -> bytes:
        resume = None
        if self.attached is not None:
            output = self.received if self._unpainted is None else self._unpainted
            resume = {"output": output, "epoch": self.attached.epoch}
        cols, rows = self._size
        fields = {"channel": 0, "session": self.session, "cols": cols, "rows": rows, "resume": resume}
        return messages.encode_text("attach", **fields, mode="read" if self.watch else "write")

    def _acknowledged(self, fields: dict[str, Any]) -> Attached:
        try:
            known = Attached.__dataclass_fields__
            attached = Attached(**{name: fields[name] for name in known if name in fields})
            if attached.input_unknown:
                self._begin_anew(attached.input)
            else:
                self._sender.ack(attached.input)
        except (KeyError, TypeError, SequenceGap) as error:
            raise LinkLost(f"the server's acknowledgement makes no sense: {error!r}") from None
        if self.attached is not None:
            self.stats.skipped += max(0, attached.output - self.received)
            if not (attached.snapshot and attached.skipped):
                self._unpainted = None
            elif self._unpainted is None:
                self._unpainted = self.received
        self._receiver.received = attached.output
        self._acked = attached.output
        self._input_sent = self._sender.acked
        self.attached = attached
        self.session = attached.session
        return attached

    def _begin_anew(self, seq: int) -> None:
        """The server has forgotten how far our input had come."""
        dropped = self._sender.restart(seq)
        self.stats.dropped_input += dropped
        if dropped:
            self._on_event(Event("input-dropped"))

    def _refused(self, fields: dict[str, Any]) -> None:
        code, text = str(fields.get("code")), str(fields.get("message"))
        match code:
            case ErrorCode.UNAUTHORIZED:
                raise Unauthorized(code, text)
            case ErrorCode.UNKNOWN_SESSION:
                raise SessionLost(code, text)
            case ErrorCode.TAKEN_OVER:
                raise TakenOver(code, text)
            case ErrorCode.BAD_SESSION_ID | ErrorCode.TOO_MANY_SESSIONS | ErrorCode.BAD_MESSAGE:
                raise AttachError(code, text)
        retry = fields.get("retry_after")
        self._retry_after = float(retry) if isinstance(retry, int | float) else None
        raise LinkLost(text)

    # --- losing -----------------------------------------------------------------------

    def _lost(self, lost: LinkLost, *, expected: bool = False) -> None:
        assert self._link is not None
        self._link.abort()
        self._link = None
        now = self._lost_at = self._clock()
        what = action(lost.code)
        self._planned = what is Action.RETURN
        self.stats.losses += 1
        self.stats.planned += self._planned
        self._last_error = str(lost)
        self._on_event(Event("lost", now - self._attached_at, planned=self._planned, error=str(lost)))
        if what is Action.STOP:
            if lost.code == CloseCode.TAKEN_OVER:
                raise TakenOver(ErrorCode.TAKEN_OVER, "another client has attached to this session")
            raise Unauthorized(ErrorCode.UNAUTHORIZED, lost.reason)
        self._check_stable(now)
        if self._planned or expected:
            self._attempt = 0
            if self.breaker.state is BreakerState.HALF_OPEN:
                self.breaker.success()  # the trial did not fail, and nobody else may try
            window = messages.retry_window(lost.reason)
            self._next_attempt = now + self._backoff.uniform(
                0.0, self._backoff.ceiling(0) if window is None else window
            )
            return
        if not self._stable:
            self._unstable += 1
            if self._unstable >= LOOP_THRESHOLD:
                self.stats.loops += 1
                self._on_event(Event("loop", error=str(lost)))
        self._schedule(lost, attached=True)

    def _schedule(self, lost: LinkLost, *, attached: bool = False) -> None:
        """Decide when to try again after a failed attempt or an unplanned loss."""
        now = self._clock()
        wait = self._backoff.delay(self._attempt)
        self._attempt += 1
        if self._retry_after is not None:
            # The server has said when; spread over half as much again, not all at that moment.
            wait, self._retry_after = self._retry_after * self._backoff.uniform(1.0, 1.5), None
            if self.breaker.state is BreakerState.HALF_OPEN:
                self.breaker.failure(now)
        elif not (attached and self._stable):
            self.breaker.failure(now)
        self._next_attempt = now + wait

    def _check_stable(self, now: float) -> None:
        if not self._stable and now - self._attached_at >= self._stable_after:
            self._stable = True
            self._unstable = 0
            self._attempt = 0
            self.breaker.success()

    # --- messages ---------------------------------------------------------------------

    def _handle(self, message: bytes | str) -> None:
        if isinstance(message, bytes):
            try:
                frame = messages.decode_binary(message)
                if frame.type is FrameType.DATA:
                    self._output += self._receiver.accept(frame.seq, frame.payload)
                elif frame.type is FrameType.SNAPSHOT:
                    self._paint(frame)
                else:
                    self._sender.ack(frame.seq)
                    self._flush_input()
            except (BadMessage, SequenceGap) as error:
                raise LinkLost(f"the server broke the protocol: {error}") from None
            return
        fields = self._decode(message)
        if fields["type"] == "exit":
            self.exit_status = int(fields["status"])
        elif fields["type"] == "error":
            self._last_error = str(fields.get("message"))
            if fields.get("code") == ErrorCode.TAKEN_OVER:
                raise LinkLost(self._last_error, CloseCode.TAKEN_OVER)

    def _paint(self, frame: messages.Binary) -> None:
        """The server shows the screen instead of what it no longer has."""
        self._unpainted = None
        self.stats.skipped += self._receiver.jump(frame.seq)
        self.screen = frame.payload
        self._on_event(Event("snapshot"))

    @staticmethod
    def _decode(message: str) -> dict[str, Any]:
        try:
            return messages.decode_text(message.encode())
        except BadMessage as error:
            raise LinkLost(f"the server broke the protocol: {error}") from None

    def _acknowledge(self) -> None:
        due = self.received - self._acked >= ACK_BYTES
        if self.received > self._acked and not due:
            due = self._clock() - self._acked_at >= ACK_SECONDS
        if due and self._link is not None:
            self._acked, self._acked_at = self.received, self._clock()
            self._link.send(messages.encode_ack(0, self.received))

    def _flush_input(self) -> None:
        if self._link is None:
            return
        acked, pending = self._sender.pending()
        self._input_sent = max(self._input_sent, acked)
        while self._input_sent < self._sender.end and self._input_sent - acked < INPUT_WINDOW:
            at = self._input_sent - acked
            piece = pending[at : at + messages.MAX_INPUT]
            self._link.send(messages.encode_data(0, self._input_sent, piece))
            self._input_sent += len(piece)

    def _try_text(self, kind: str, /, **fields: Any) -> None:
        if self._link is not None:
            try:
                self._link.send(messages.encode_text(kind, **fields), text=True)
            except LinkLost as lost:
                self._lost(lost)
