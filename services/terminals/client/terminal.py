"""A terminal that stays: reconnects by itself and delivers every byte once, in both directions.

What to say and when to come back is :class:`~terminals.protocol.client.ClientSession`'s affair; here are
its socket, its clock and its user.
"""

from __future__ import annotations

import collections
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from terminals.client.errors import AttachError, ConnectError, SessionLost, TakenOver, Unauthorized
from terminals.client.files import Files, Transfer
from terminals.client.link import Link, LinkLost
from terminals.protocol import PROTOCOL_VERSIONS, STABLE_AFTER
from terminals.protocol import client as conversation
from terminals.protocol.backoff import Backoff
from terminals.protocol.breaker import CircuitBreaker
from terminals.protocol.client import (
    ATTEMPT,
    CONNECT_SECONDS,
    FORGET_SECONDS,
    Attached,
    ClientSession,
    Event,
    Phase,
)
from terminals.protocol.client_transfers import TransferItem
from terminals.protocol.messages import ErrorCode, Send

EXPECT_SPAN = 1 << 16
_REFUSALS = {ErrorCode.UNAUTHORIZED: Unauthorized, ErrorCode.UNKNOWN_SESSION: SessionLost}


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
        program: str | None = None,
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
        forget_after: float = FORGET_SECONDS,
        on_event: Callable[[Event], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
        versions: tuple[int, ...] = PROTOCOL_VERSIONS,
    ) -> None:
        """``program``: what a program that has the token calls itself; people's lists do not show its
        sessions. ``watch``: look on, without typing; others may type meanwhile. ``connect_timeout``: seconds
        that one attempt to connect and attach may take. ``forget_after``: seconds for which a session that
        was attached is asked for though the server does not know it. ``on_event`` is given all but output."""
        self.token = token
        self.ca = ca
        self.screen: bytes | None = None
        """The last snapshot: what paints the screen where output was skipped. Not part of :meth:`read`."""
        self.exit_status: int | None = None
        self.stats = Stats()
        by_token = {"token": token or "", **({"program": program} if program else {})}
        self._conversation = ClientSession(
            by_token if ticket is None else {"ticket": ticket},
            client_id or secrets.token_hex(8),
            url=url,
            session=session,
            watch=watch,
            size=(cols, rows),
            backoff=backoff,
            breaker=breaker,
            stable_after=stable_after,
            connect_timeout=connect_timeout,
            forget_after=forget_after,
            versions=versions,
        )
        self._connect_timeout = connect_timeout
        self._on_event = on_event or (lambda event: None)
        self._clock = clock
        self._link: Link | None = None
        self.files = Files(self._conversation.transfers, self._carry_out)
        """Its uploads and downloads."""
        self._output = bytearray()
        self._todo: collections.deque[conversation.Item] = collections.deque()

    # --- what a user calls ------------------------------------------------------------

    @property
    def url(self) -> str:
        """Where the server is. Another address is connected to from the next attempt on."""
        return self._conversation.url

    @url.setter
    def url(self, url: str) -> None:
        self._conversation.url = url

    @property
    def connected(self) -> bool:
        """Whether an attach is in force right now."""
        return self._conversation.phase is Phase.ATTACHED

    @property
    def attached(self) -> Attached | None:
        """The server's last acknowledgement of an attach."""
        return self._conversation.attached

    @property
    def session(self) -> str | None:
        """The id of the session, as soon as there is one."""
        return self._conversation.session

    @property
    def watch(self) -> bool:
        """Whether it only looks on."""
        return self._conversation.watch

    @property
    def ticket(self) -> str | None:
        """The ticket to come back with; the server gives a new one at each connection."""
        return self._conversation.ticket

    @property
    def breaker(self) -> CircuitBreaker:
        """What keeps this client from coming back too often."""
        return self._conversation.breaker

    @property
    def received(self) -> int:
        """Output bytes received, ever: the offset to resume from."""
        return self._conversation.received_bytes

    @property
    def unacknowledged(self) -> int:
        """Input bytes that the shell's terminal has not taken yet."""
        sender = self._conversation.sender
        return sender.end - sender.acked

    def open(self, timeout: float = CONNECT_SECONDS) -> Attached:
        """Connect and attach, trying again by the backoff until ``timeout`` seconds have passed.

        Raises:
            ConnectError: not attached in time.
            AttachError: refused for good (:class:`Unauthorized`, :class:`SessionLost`, ...).
        """
        end = self._clock() + timeout
        if self._conversation.phase is Phase.STOPPED:
            self._conversation.open(self._clock())
            self._carry_out()
        while not self.connected:
            left = end - self._clock()
            if left <= 0:
                reason = self._conversation.reason or "never tried"
                raise ConnectError(f"not attached to {self.url} within {timeout:g} s: {reason}")
            self.pump(left)
            if self._conversation.phase is Phase.STOPPED:
                break  # its shell had ended, and so has the connection
        assert self.attached is not None
        return self.attached

    def send(self, data: bytes) -> None:
        """Type ``data``. It is kept until the server has it, across any number of connections.

        Raises:
            BufferError: more than 1 MiB is not acknowledged yet; pump and try again.
        """
        self._conversation.type(data)
        self._carry_out()

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
        self._conversation.resize(cols, rows)
        self._carry_out()

    def upload(
        self, path: Path, name: str | None = None, *, transfer_id: str | None = None, timeout: float = 3600.0
    ) -> str:
        """Upload a file to where its shell is; gives what it is called there. It goes on through lost
        connections, and with the ``transfer_id`` of an earlier client where that was.

        Raises:
            TransferRefused: the server does not take it, for good.
            ConnectError: not in ``timeout`` seconds.
            OSError: the file cannot be read.
        """
        return self.wait_for(self.files.upload(path, name, transfer_id=transfer_id), timeout).name

    def wait_for(self, transfer: Transfer, timeout: float) -> Transfer:
        """Pump until a transfer has come to its end.

        Raises:
            TransferRefused: a bad one.
            ConnectError: not in ``timeout`` seconds.
        """
        end = self._clock() + timeout
        while not transfer.over:
            left = end - self._clock()
            if left <= 0:
                text = f"{transfer.name}: {transfer.done} of {transfer.bytes} bytes after {timeout:g} s"
                raise ConnectError(text)
            self.pump(left)
        if transfer.error is not None:
            raise transfer.error
        return transfer

    def pump(self, timeout: float = 0.0) -> None:
        """Do what there is to do: reconnect when due, receive, acknowledge. Returns when anything
        happened or after ``timeout`` seconds; an attempt that has begun is brought to its end.

        Raises:
            AttachError: the server refused this client for good.
        """
        talk = self._conversation
        if talk.phase is Phase.CLOSED or (talk.phase is Phase.STOPPED and self.exit_status is None):
            talk.open(self._clock())
        elif self._link is None:
            until = talk.wake_at()
            left = timeout if until is None else until - self._clock()
            time.sleep(max(0.0, min(left, timeout)))
            talk.tick(self._clock())
        else:
            self._receive(timeout)
        self._carry_out()
        while talk.phase in ATTEMPT:
            self._receive(self._connect_timeout)
            self._carry_out()

    def cut(self) -> None:
        """Reset the connection, as a lost network does. The next call reconnects."""
        self._conversation.cut(self._clock())
        self._carry_out()

    def close(self, *, kill: bool = False) -> None:
        """Close the connection; ``kill`` ends the shell too."""
        self._conversation.close(kill=kill)
        self._carry_out()

    def __enter__(self) -> Terminal:
        self.open()
        return self

    def __exit__(self, *exc: object) -> None:
        self.close(kill=True)

    # --- what the conversation wants --------------------------------------------------

    def _receive(self, timeout: float) -> None:
        """What comes within ``timeout`` seconds, or until the conversation has something to do."""
        talk, link = self._conversation, self._link
        assert link is not None
        until = talk.wake_at()
        wait = timeout if until is None else min(timeout, until - self._clock())
        heard = link.heard
        try:
            messages = link.receive(max(0.0, wait))
        except LinkLost as lost:
            self._lost(lost)
            return
        now = self._clock()
        if link.heard != heard:
            talk.heard(now)
        for message in messages:
            talk.received(now, message)
        self._carry_out()
        talk.tick(now)

    def _carry_out(self) -> None:
        """Do all that there is to do. What an exception of ``on_event`` leaves is done at the next call."""
        talk, todo = self._conversation, self._todo
        todo.extend(talk.take())
        while todo:
            match item := todo.popleft():
                case conversation.Output(data, end):
                    self._output += data
                    talk.consumed(self._clock(), end)
                case Send(data):
                    self._send(data)
                case conversation.Connect(url):
                    self._connect(url)
                case conversation.Close(code):
                    self._close(code)
                case _ if isinstance(item, TransferItem):
                    self.files.do(item)
                case _:
                    self._count(item)
                    self._on_event(item)
                    self._raise(item)
            todo.extend(talk.take())

    def _connect(self, url: str) -> None:
        try:
            self._link = Link(url, self._connect_timeout, self.ca)
        except LinkLost as lost:
            self._lost(lost)
        else:
            self._conversation.connected(self._clock())

    def _send(self, data: str | bytes) -> None:
        if self._link is None:
            return  # it was for a connection that is gone
        try:
            if isinstance(data, str):
                self._link.send(data.encode(), text=True)
            else:
                self._link.send(data)
        except LinkLost as lost:
            self._lost(lost)

    def _close(self, code: int | None) -> None:
        link, self._link = self._link, None
        if link is None:
            return
        if code is None:
            link.abort()
        else:
            link.close()

    def _lost(self, lost: LinkLost) -> None:
        self._close(None)
        self._conversation.lost(self._clock(), lost.code, lost.reason, text=str(lost))

    def _count(self, event: Event) -> None:
        stats = self.stats
        match event:
            case conversation.Connected():
                stats.connects += 1
                stats.reconnects += event.reconnect
                stats.skipped += event.missed
            case conversation.Lost():
                stats.losses += 1
                stats.planned += event.planned
            case conversation.Failed():
                stats.failed += 1
            case conversation.Loop():
                stats.loops += 1
            case conversation.InputDropped(count):
                stats.dropped_input += count
            case conversation.Screen():
                stats.skipped += event.skipped
                self.screen = event.data
            case conversation.Ended(status):
                self.exit_status = status

    @staticmethod
    def _raise(event: Event) -> None:
        match event:
            case conversation.TakenOver():
                raise TakenOver(ErrorCode.TAKEN_OVER, "another client has attached to this session")
            case conversation.Refused(code, message):
                raise _REFUSALS.get(code, AttachError)(code, message)
