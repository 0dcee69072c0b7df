"""One end of a control connection on an asyncio loop."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import logging
import os
import signal
import socket
import time
from collections.abc import Awaitable, Callable
from typing import Any, Generic, Literal, NamedTuple, TypeVar

import msgspec

from terminals.control import CONTROL_VERSION, answers, framing, packets
from terminals.control.asking import ControlError, NoManager, connect
from terminals.control.descriptors import close_all
from terminals.control.memory import proportional_set_size
from terminals.protocol import PROTOCOL_VERSIONS

MAX_QUEUED = 4096
"""Packets that may wait for a peer that does not read; past that the peer is given up."""
MANY_QUEUED = 256
"""Packets for the manager, past which a process takes no more from its clients until they are gone."""

REPORT_SECONDS = 2.0
"""Between two reports of a process about itself."""


SHORT = 256
"""Bytes of a packet of input that comes alone, as what a person types."""

NEXT_SECONDS = 60.0
"""So long a process waits for the next manager before it ends, too."""
NEXT_POLL = 0.05


P = TypeVar("P")
T = TypeVar("T")
K = TypeVar("K", bound=framing.Packet)


class _Waiting(NamedTuple):
    data: bytes
    fds: tuple[int, ...]
    """Ours: duplicates of the sender's."""
    packet: framing.Packet | None
    """What ``data`` says, unless it was sent encoded."""

    def __repr__(self) -> str:
        return f"<_Waiting {len(self.data)} bytes>"


class Channel(Generic[P]):
    """Sends and receives packets without blocking the loop.

    ``read(data)`` makes a packet of what comes; with a ``BadPacket`` of it the peer is given up.
    ``on_packet(packet, fds)`` owns the file descriptors it is given. ``on_close()`` is
    called once, when the peer is gone or the channel gave it up, which it does when more than
    ``limit`` packets wait; without a limit it never does. ``typed``: what people type comes here, so after a
    short packet the next, if there is one, is left to the next round of the loop, for to look for it in vain
    costs half of what is done with a key. ``on_empty()`` is called when packets had to wait and none does any
    more.
    """

    def __init__(
        self,
        sock: socket.socket,
        read: Callable[[bytes], P],
        on_packet: Callable[[P, list[int]], None],
        on_close: Callable[[], None],
        *,
        limit: int | None = MAX_QUEUED,
        typed: bool = False,
        on_empty: Callable[[], None] = lambda: None,
    ) -> None:
        sock.setblocking(False)
        self._limit = limit
        self._short = SHORT if typed else 0
        self._on_empty = on_empty
        self._sock = sock
        self._read = read
        self._on_packet = on_packet
        self._on_close = on_close
        self._queue: collections.deque[_Waiting] = collections.deque()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(sock.fileno(), self._readable)
        self.closed = False

    def send(self, packet: framing.Packet, fds: tuple[int, ...] = ()) -> None:
        """Send a packet. ``fds`` stay the caller's; they are duplicated when they must wait.

        Raises:
            BadPacket: larger than one packet may be.
            OSError: the descriptors cannot be sent for want of others; the channel is as good as before.
        """
        self._put(framing.encode(packet), fds, packet)

    def send_raw(self, data: bytes, fds: tuple[int, ...] = ()) -> None:
        """Send an encoded packet.

        Raises:
            OSError: as :meth:`send`.
        """
        self._put(data, fds, None)

    def _put(self, data: bytes, fds: tuple[int, ...], packet: framing.Packet | None) -> None:
        """A closed channel swallows it: the peer's end is reported once."""
        if self.closed:
            return
        if not self._queue:
            try:
                framing.send(self._sock, data, fds)
                return
            except BlockingIOError:
                pass
            except OSError as error:
                if fds and error.errno in framing.REFUSED:
                    raise
                self.close()
                return
        if self._limit is not None and len(self._queue) >= self._limit:
            self.close()
            return
        self._queue.append(_Waiting(data, _duplicates(fds), packet))
        if len(self._queue) == 1:
            self._loop.add_writer(self._sock.fileno(), self._writable)

    def withdraw(self, kind: type[K]) -> list[tuple[K, int]]:
        """Take back packets of a kind that wait and bring one descriptor, which is the caller's then."""
        found = [
            (entry.packet, entry.fds[0])
            for entry in self._queue
            if isinstance(entry.packet, kind) and len(entry.fds) == 1
        ]
        if found:
            self._queue = collections.deque(
                entry for entry in self._queue if not isinstance(entry.packet, kind) or len(entry.fds) != 1
            )
            if not self._queue:
                self._loop.remove_writer(self._sock.fileno())
        return found

    @property
    def queued(self) -> int:
        """Packets that wait."""
        return len(self._queue)

    def close(self) -> None:
        """Close this end. Calls ``on_close`` the first time."""
        if self.closed:
            return
        self.closed = True
        self._loop.remove_reader(self._sock.fileno())
        self._loop.remove_writer(self._sock.fileno())
        self._sock.close()
        for entry in self._queue:
            close_all(entry.fds)
        self._queue.clear()
        self._on_close()

    def _readable(self) -> None:
        # Bounded, so that one busy worker cannot keep the loop from the shells.
        for _ in range(64):
            fds: list[int] = []
            try:
                data, fds = framing.receive(self._sock)
                packet = self._read(data)  # nothing at all, the peer's end, is no packet either
            except BlockingIOError:
                return
            except (framing.BadPacket, OSError):
                close_all(fds)
                self.close()
                return
            self._on_packet(packet, fds)
            if self.closed or len(data) < self._short:
                return

    def _writable(self) -> None:
        while self._queue:
            data, fds, _ = self._queue[0]
            try:
                framing.send(self._sock, data, fds)
            except BlockingIOError:
                return
            except OSError as error:
                if fds and error.errno in framing.REFUSED:
                    # Without them, as if the other side had had no room for them: it knows what to do.
                    self._queue[0] = _Waiting(data, (), None)
                    close_all(fds)
                    continue
                self.close()
                return
            self._queue.popleft()
            close_all(fds)
        self._loop.remove_writer(self._sock.fileno())
        self._on_empty()


def _duplicates(fds: tuple[int, ...]) -> tuple[int, ...]:
    copies: list[int] = []
    try:
        for fd in fds:
            copies.append(os.dup(fd))
    except OSError:
        close_all(copies)
        raise
    return tuple(copies)


class _Pending(NamedTuple):
    """A request that waits: ``settle(answer, fds)`` reads what it is answered."""

    settle: Callable[[packets.Answer, list[int]], None]
    fail: Callable[[Exception], None]


Unasked = packets.Conn | packets.Quit | packets.Revoked | packets.Order
"""What a manager says by itself."""


class ManagerLink:
    """A worker's or web process's connection to the session manager.

    Introduces the process, reports its memory from time to time (in a container of its own
    nobody else can measure it; a loop that hangs reports nothing), passes packets on to
    ``on_packet`` and matches replies to requests. ``closed`` is set when the manager is gone.

    The manager is never given up for being slow. Whoever passes on what clients send is to stop
    while the link is ``congested``, until ``on_relief()`` is called. ``on_welcome(welcome)`` is
    called before any packet is passed on.
    """

    def __init__(
        self,
        on_packet: Callable[[Unasked, list[int]], None],
        on_relief: Callable[[], None] = lambda: None,
        on_welcome: Callable[[answers.Welcome], None] = lambda welcome: None,
    ) -> None:
        self._on_packet = on_packet
        self._on_welcome = on_welcome
        self._on_relief = on_relief
        self._channel: Channel[Any] | None = None
        self._pending: dict[int, _Pending] = {}
        self._last = 0
        self.closed = asyncio.Event()
        self.welcome = answers.Welcome()
        self._reporting: asyncio.TimerHandle | None = None

    async def connect(
        self, path: str, *, role: Literal["worker", "web"], generation: str, build: str
    ) -> None:
        """Connect to the manager's socket at ``path`` and say who we are.

        Raises:
            ControlError: nobody listens there, or the manager refuses this process.
        """
        self._channel = Channel(
            connect(path),
            packets.read_order,
            self._received,
            self._lost,
            limit=None,
            on_empty=self._on_relief,
        )
        hello = packets.Hello(
            version=CONTROL_VERSION,
            role=role,
            generation=generation,
            build=build,
            pid=os.getpid(),
            protocol=PROTOCOL_VERSIONS[0],
            host=socket.gethostname(),
            memory=proportional_set_size(),
            reads_on=True,
            sends_on=True,
        )
        self.welcome, _ = await self.post(hello, _read_welcome, self._on_welcome)
        if self.welcome.reports:  # an older manager would log each as a bad packet
            self._reporting = asyncio.get_running_loop().call_later(REPORT_SECONDS, self._report)

    @property
    def congested(self) -> bool:
        """Whether the manager has to catch up first."""
        return self._channel is not None and self._channel.queued > MANY_QUEUED

    def send(self, packet: framing.Packet, fds: tuple[int, ...] = ()) -> None:
        """Send a packet that needs no reply."""
        if self._channel:
            self._channel.send(packet, fds)

    def send_raw(self, data: bytes) -> None:
        """Send an encoded packet of the hot path."""
        if self._channel:
            self._channel.send_raw(data)

    def post(
        self,
        packet: packets.Request,
        read: Callable[[bytes], T],
        on_reply: Callable[[T], None] = lambda reply: None,
    ) -> asyncio.Future[tuple[T, list[int]]]:
        """Send a request at once. The future has its reply and the file descriptors that came with it, or a
        ``ControlError``: the manager said no, or is gone.

        ``read(data)`` makes a reply of what comes. ``on_reply(reply)`` is called before any later packet is
        passed on; whoever waits goes on after some.

        Raises:
            ControlError: the manager is gone, or cannot be asked this.
        """
        if self._channel is None or self._channel.closed:
            raise ControlError("the session manager is not reachable")
        self._last += 1
        number = self._last
        future: asyncio.Future[tuple[T, list[int]]] = asyncio.get_running_loop().create_future()

        def settle(answer: packets.Answer, fds: list[int]) -> None:
            if future.done():
                close_all(fds)
                return
            try:
                reply = read(answer.data)
            except framing.BadPacket as error:
                close_all(fds)
                future.set_exception(ControlError(f"the session manager answers nonsense: {error}"))
                return
            on_reply(reply)
            future.set_result((reply, fds))

        def fail(error: Exception) -> None:
            if not future.done():
                future.set_exception(error)

        try:
            data = framing.encode(msgspec.structs.replace(packet, req=number))
        except framing.BadPacket as error:
            raise ControlError(str(error)) from None
        self._pending[number] = _Pending(settle, fail)
        self._channel.send_raw(data)
        return future

    def _report(self) -> None:
        self._reporting = asyncio.get_running_loop().call_later(REPORT_SECONDS, self._report)
        self.send(packets.Report(memory=proportional_set_size()))

    def close(self) -> None:
        """Close the connection."""
        if self._channel:
            self._channel.close()

    def _received(self, packet: Unasked | packets.Answer | packets.Unknown, fds: list[int]) -> None:
        if isinstance(packet, packets.Unknown):
            close_all(fds)
        elif not isinstance(packet, packets.Answer):
            self._on_packet(packet, fds)
        elif (pending := self._pending.pop(packet.req, None)) is None:
            close_all(fds)
        elif packet.error is not None:
            close_all(fds)
            pending.fail(ControlError(packet.error))
        else:
            pending.settle(packet, fds)

    def _lost(self) -> None:
        if self._reporting is not None:
            self._reporting.cancel()
        for pending in self._pending.values():
            pending.fail(NoManager("the session manager has gone away"))
        self._pending.clear()
        self.closed.set()


"""Of each kind of answer one: operators ask for the same again and again."""
_read_welcome = framing.reader(answers.Welcome)


async def first_of(*events: asyncio.Event) -> None:
    """Wait until one of them is set."""
    waiters = [asyncio.ensure_future(event.wait()) for event in events]
    await asyncio.wait(waiters, return_when=asyncio.FIRST_COMPLETED)
    for waiter in waiters:
        waiter.cancel()


async def serve_managers(serve: Callable[[asyncio.Event], Awaitable[None]], log: logging.Logger) -> None:
    """Serve one manager after the other until told to stop, by a signal or by one of them.

    ``serve(stop)`` serves one until it has gone away, or ``stop`` is set.

    Raises:
        ControlError: there is none at first, none has come in ``NEXT_SECONDS``, or it refuses this process.
    """
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await serve(stop)
    while not stop.is_set():
        log.warning("the session manager has gone away: waiting for the next one")
        await _until_there(serve, stop)


async def _until_there(serve: Callable[[asyncio.Event], Awaitable[None]], stop: asyncio.Event) -> None:
    end = time.monotonic() + NEXT_SECONDS
    while not stop.is_set():
        try:
            await serve(stop)
            return
        except NoManager:
            if time.monotonic() >= end:
                raise
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), NEXT_POLL)
