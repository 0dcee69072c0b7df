"""A test kit: clients, a server and the network between them, in memory and by a clock that stands still.

For programs that are built on :class:`~terminals.protocol.client.ClientSession` or
:class:`~terminals.protocol.server.ServerSide`, and for these two. Nothing happens by itself: whoever tests
says which message arrives next, what is lost, and how late it is::

    world = World()
    person = world.person()
    world.settle()                        # everything arrives, until nobody has anything to say
    person.type(b"ls\\n")
    world.cut(person)                     # ... together with what was on its way
    world.settle()
    assert world.session(person).typed(person.client) == b"ls\\n"

A :class:`World` keeps sessions as a session manager does, with a ring of their last output and the positions
of their clients, but without shells: :meth:`World.print` is what they print.
"""

from __future__ import annotations

import collections
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from terminals.protocol import client, messages, server
from terminals.protocol.backoff import Backoff
from terminals.protocol.client import ClientSession, Phase
from terminals.protocol.messages import CloseCode, ErrorCode
from terminals.protocol.resume import Receiver, Resume, SequenceGap, anew, is_anew, resume_from
from terminals.protocol.server import ServerSide

MAX_ROUNDS = 10_000


class Livelock(AssertionError):
    """Everybody goes on talking and nobody comes to an end."""


@dataclass(repr=False)
class Session:
    """What a session manager knows of a session. Offsets are bytes since its beginning."""

    id: str
    ring: int
    printed: bytearray = field(default_factory=bytearray)
    epoch: str = "epoch"
    writer: Attachment | None = None
    watchers: list[Attachment] = field(default_factory=list)
    inputs: dict[str, Receiver] = field(default_factory=dict)
    size: tuple[int, int] = (80, 24)
    _typed: dict[str, bytearray] = field(default_factory=lambda: collections.defaultdict(bytearray))

    @property
    def tail(self) -> int:
        """The oldest byte of output that is kept."""
        return max(0, len(self.printed) - self.ring)

    def typed(self, client: str) -> bytes:
        """What has come of the input of one client, in the order in which it came."""
        return bytes(self._typed[client])

    def take(self, client: str, seq: int, data: bytes) -> int:
        """Input has come; gives how much of it there is now.

        Raises:
            SequenceGap: some in between is missing.
        """
        receiver = self.inputs.setdefault(client, Receiver())
        self._typed[client] += receiver.accept(seq, data)
        return receiver.received


@dataclass(eq=False, repr=False)
class Attachment:
    """A client of a session, on a connection."""

    handle: int
    client: str
    session: Session
    link: Link
    channel: int
    sent: int
    """Output that was put on its way."""
    screen: bool = False
    """A screen is to be sent next."""
    snapshots: bool = False


@dataclass(eq=False, repr=False)
class Link:
    """A connection: what is on its way in both directions, and the server's end of it."""

    person: Person
    side: ServerSide
    up: collections.deque[str | bytes] = field(default_factory=collections.deque)
    down: collections.deque[str | bytes | server.Close] = field(default_factory=collections.deque)
    orders: list[Callable[[], None]] = field(default_factory=list)
    """What the session manager has said and the worker has not heard: it may come in any order."""
    open: bool = True


class Person:
    """A client, and what it has seen."""

    def __init__(self, world: World, talk: ClientSession, name: str) -> None:
        self.world = world
        self.talk = talk
        self.client = name
        self.link: Link | None = None
        self.seen: list[client.Output | client.Screen] = []
        self.events: list[client.Event] = []

    def type(self, data: bytes) -> None:
        """Type."""
        self.talk.type(data)
        self.world.carry_out(self)


class World:
    """A server, its clients and the network between them."""

    def __init__(self, *, ring: int = 1 << 16, heartbeat: float = 15.0, draw: float = 0.5) -> None:
        """``draw``: what is drawn wherever something is left to chance, from 0 to 1."""
        self.now = 0.0
        self.sessions: dict[str, Session] = {}
        self.people: list[Person] = []
        self.asked: list[tuple[Link, server.Attach]] = []
        """Attaches that the session manager has not answered."""
        self._ring = ring
        self._heartbeat = heartbeat
        self._backoff = Backoff(0.1, 30.0, lambda low, high: low + (high - low) * draw)
        self._numbers = itertools.count(1)

    # --- who is there -----------------------------------------------------------------

    def person(self, session: str | None = None, **options: Any) -> Person:
        """Somebody who opens a session. ``options`` are those of :class:`ClientSession`."""
        name = f"client-{next(self._numbers)}"
        options.setdefault("backoff", self._backoff)
        person = Person(self, ClientSession({"token": "secret"}, name, session=session, **options), name)
        self.people.append(person)
        person.talk.open(self.now)
        self.carry_out(person)
        return person

    def session(self, person: Person) -> Session:
        """The session of somebody who is or was attached."""
        return self.sessions[person.talk.session or ""]

    # --- what happens -----------------------------------------------------------------

    def print(self, session: Session, data: bytes) -> None:
        """A shell prints."""
        session.printed += data

    def cut(self, person: Person) -> None:
        """A connection is lost, with all that was on its way."""
        if person.link is not None and person.link.open:
            self._gone(person.link)
            person.talk.lost(self.now)
            self.carry_out(person)

    def fall_silent(self, person: Person) -> None:
        """A connection is lost, and its client is not told."""
        if person.link is not None:
            self._gone(person.link)

    def restart(self, person: Person, retry_after: float = 0.5) -> None:
        """Somebody is asked to come back."""
        if (link := person.link) is not None and link.open:
            link.orders.append(lambda: link.side.restart(retry_after))

    def forget(self, session: Session, name: str) -> None:
        """The session does not know any more how far the input of a client had come."""
        if session.writer is None or session.writer.client != name:
            session.inputs.pop(name, None)

    def lose_answers(self) -> None:
        """The session manager is replaced while it is being asked."""
        asked, self.asked = self.asked, []
        for link, attach in asked:
            link.side.unavailable(attach.channel, "the session manager has gone away")
            self._serve(link)

    # --- what arrives -----------------------------------------------------------------

    def arrive_up(self, link: Link) -> bool:
        """The next message of a client arrives; whether there was one."""
        if not (link.open and link.up):
            return False
        message = link.up.popleft()
        text = isinstance(message, str)
        link.side.received(message.encode() if isinstance(message, str) else message, text=text)
        self._serve(link)
        return True

    def arrive_down(self, link: Link) -> bool:
        """The next message to a client arrives; whether there was one."""
        if not (link.open and link.down):
            return False
        message = link.down.popleft()
        person = link.person
        if isinstance(message, server.Close):
            self._gone(link)
            person.talk.lost(self.now, message.code, message.reason)
        else:
            person.talk.received(self.now, message)
        self.carry_out(person)
        return True

    def answer(self, number: int = 0) -> bool:
        """The session manager answers one of the attaches; whether there was one."""
        if not self.asked:
            return False
        link, attach = self.asked.pop(number % len(self.asked))
        self._decide(link, attach)  # it does not know whether whoever has asked is still there
        return True

    def hear(self, link: Link, number: int = 0) -> bool:
        """A worker hears one of the orders or answers that are on their way to it; whether there was one."""
        if not link.orders:
            return False
        link.orders.pop(number % len(link.orders))()
        self._serve(link)
        return True

    def pump(self, session: Session) -> bool:
        """What a session has printed is put on its way; whether there was anything."""
        attachments = [*session.watchers, *([session.writer] if session.writer else [])]
        sent = [self._send_output(attachment) for attachment in attachments]  # each, whatever the first has
        return any(sent)

    def pass_time(self, seconds: float) -> None:
        """Time goes by, and everybody does what was due."""
        self.now += seconds
        for person in self.people:
            if person.link is not None and person.link.open:
                person.talk.heard(self.now)  # the server pings
            wake = person.talk.wake_at()
            if wake is not None and wake <= self.now:
                person.talk.tick(self.now)
                self.carry_out(person)

    def settle(self, seconds: float = 300.0) -> None:
        """No more faults: let everything arrive, for so long at most, until nobody waits for anything.

        Raises:
            Livelock: there is no end of it.
        """
        end = self.now + seconds
        for _ in range(MAX_ROUNDS):
            if self.round():
                continue
            if all(_rests(person) for person in self.people):
                return
            due = [at for person in self.people if (at := person.talk.wake_at()) is not None]
            if self.now >= end or not due:
                break
            self.pass_time(max(0.0, min(due) - self.now))
        raise Livelock(f"still at it {self.now:g} s later: {[person.talk.phase for person in self.people]}")

    def round(self) -> bool:
        """Everything that is on its way arrives; whether there was anything."""
        links = [person.link for person in self.people if person.link is not None]
        moved = [self.arrive_up(link) for link in links] + [self.answer()]
        moved += [self.hear(link) for link in links]
        moved += [self.pump(session) for session in self.sessions.values()]
        moved += [self.arrive_down(link) for link in links]
        return any(moved)

    # --- the client's end -------------------------------------------------------------

    def carry_out(self, person: Person) -> None:
        """Do what a client's conversation wants."""
        while items := person.talk.take():
            for item in items:
                match item:
                    case client.Connect():
                        side = ServerSide(build="build", generation="g1", heartbeat=self._heartbeat)
                        person.link = Link(person, side)
                        person.talk.connected(self.now)
                    case messages.Send(data):
                        if person.link is not None and person.link.open:
                            person.link.up.append(data)
                    case client.Close():
                        if person.link is not None and person.link.open:
                            self._gone(person.link, goodbye=item.code is not None)
                    case client.Output() | client.Screen():
                        person.seen.append(item)
                        person.talk.consumed(self.now, item.end)
                    case _:
                        person.events.append(item)

    # --- the server's end -------------------------------------------------------------

    def _gone(self, link: Link, *, goodbye: bool = False) -> None:
        if link.open:
            link.open = False
            link.side.lost(goodbye=goodbye)
            self._serve(link)

    def _serve(self, link: Link) -> None:
        while items := link.side.take():
            for item in items:
                match item:
                    case server.Identify():
                        link.side.welcome(user="", only=None, read_only=False, ticket=None)
                    case server.Attach():
                        self.asked.append((link, item))
                    case messages.Send(data):
                        link.down.append(data)
                    case server.Close():
                        link.down.append(item)
                    case server.Typed(handle, seq, data):
                        self._typed(link, handle, seq, data)
                    case server.Detached(handle):
                        self._detached(handle)
                    case server.Resized(handle, cols, rows):
                        self._resized(handle, cols, rows)
                    case _:
                        pass  # acknowledgements and ends are nothing to a session without a shell

    def _typed(self, link: Link, handle: int, seq: int, data: bytes) -> None:
        attachment = self._attachment(handle)
        if attachment is None or attachment.session.writer is not attachment:
            return
        try:
            taken = attachment.session.take(attachment.client, seq, data)
        except SequenceGap as gap:
            text = str(gap)
            link.orders.append(
                lambda: link.side.end(handle, CloseCode.POLICY_VIOLATION, ErrorCode.BAD_MESSAGE, text)
            )
        else:
            link.down.append(messages.encode_ack(attachment.channel, taken))

    def _resized(self, handle: int, cols: int, rows: int) -> None:
        attachment = self._attachment(handle)
        if attachment is None or attachment.session.writer is not attachment:
            return
        attachment.session.size = (cols, rows)
        for watcher in attachment.session.watchers:
            link, channel = watcher.link, watcher.channel
            link.orders.append(partial(link.side.size, channel, cols, rows))

    def _detached(self, handle: int) -> None:
        attachment = self._attachment(handle)
        if attachment is None:
            return
        session = attachment.session
        if session.writer is attachment:
            session.writer = None
        else:
            session.watchers.remove(attachment)

    def _attachment(self, handle: int) -> Attachment | None:
        for session in self.sessions.values():
            for attachment in (session.writer, *session.watchers):
                if attachment is not None and attachment.handle == handle:
                    return attachment
        return None

    def _decide(self, link: Link, attach: server.Attach) -> None:
        assert link.side.hello is not None
        name = link.side.hello.client
        session = self.sessions.get(attach.session or "")
        if session is None and (attach.resume or attach.watch):
            self._refuse(link, attach, ErrorCode.UNKNOWN_SESSION, f"{attach.session} does not exist")
            return
        created = session is None
        if session is None:
            session = Session(attach.session or f"session-{next(self._numbers)}", self._ring)
            self.sessions[session.id] = session
        had = attach.resume.output if attach.resume else None
        head = len(session.printed)
        try:
            where = resume_from(had, tail=session.tail, head=head)
        except SequenceGap as gap:
            self._refuse(link, attach, ErrorCode.BAD_MESSAGE, str(gap))
            return
        screen = attach.snapshots and (where.skipped > 0 or (had is None and where.start > 0))
        if screen:
            where = Resume(head, head - had if had is not None else 0)
        attachment = Attachment(
            next(self._numbers), name, session, link, attach.channel, where.start, screen, attach.snapshots
        )
        unknown = False
        if attach.watch:
            session.watchers.append(attachment)
        else:
            unknown = self._take_over(session, attachment, returning=attach.resume is not None)
            session.size = (attach.cols, attach.rows)
        grant = server.Grant(
            session=session.id,
            status="created" if created else "resumed",
            epoch=session.epoch,
            output=where.start,
            head=head,
            skipped=where.skipped,
            input=session.inputs[name].received if name in session.inputs else 0,
            origin="new",
            mode="read" if attach.watch else "write",
            generation="g1",
            build="build",
            profile="system",
            cols=session.size[0],
            rows=session.size[1],
            input_unknown=unknown,
            snapshot=screen,
        )
        link.orders.append(lambda: self._admit(link, attach, attachment, grant))

    def _admit(self, link: Link, attach: server.Attach, attachment: Attachment, grant: server.Grant) -> None:
        if link.side.admit(attach.channel, attachment.handle):
            link.side.attached(attach.channel, attachment.handle, grant)
        link.side.go_on()

    def _refuse(self, link: Link, attach: server.Attach, code: str, message: str) -> None:
        link.orders.append(lambda: link.side.refuse(attach.channel, code, message))

    def _take_over(self, session: Session, attachment: Attachment, *, returning: bool) -> bool:
        """Make it the one that types; returns whether the position of its input is not known."""
        if (old := session.writer) is not None:
            link, handle = old.link, old.handle
            if old.client == attachment.client:
                link.orders.append(lambda: self._gone(link))  # the same client, before its loss was noticed
            else:
                link.orders.append(
                    lambda: link.side.end(
                        handle, CloseCode.TAKEN_OVER, ErrorCode.TAKEN_OVER, "another client"
                    )
                )
        session.writer = attachment
        position = session.inputs.get(attachment.client, Receiver(anew(next(self._numbers))))
        # Told again as long as nothing has come since: it may not have been heard.
        unknown = returning and is_anew(position.received)
        session.inputs.setdefault(attachment.client, position if unknown else Receiver())
        return unknown

    def _send_output(self, attachment: Attachment) -> bool:
        link, session = attachment.link, attachment.session
        if attachment.handle not in link.side.attached_to.values():
            return False  # its worker does not know of it yet
        if attachment.sent < session.tail and not attachment.screen:
            if not attachment.snapshots:
                link.side.restart(0.5)
                self._serve(link)
                return True
            attachment.sent, attachment.screen = len(session.printed), True
        if attachment.screen:
            attachment.screen = False
            screen = b"screen at %d" % attachment.sent
            link.down.append(messages.encode_snapshot(attachment.channel, attachment.sent, screen))
            return True
        data = bytes(session.printed[attachment.sent :])
        if not data:
            return False
        link.down.append(messages.encode_data(attachment.channel, attachment.sent, data))
        attachment.sent += len(data)
        return True


def _rests(person: Person) -> bool:
    if person.talk.phase is Phase.ATTACHED:
        return person.link is not None and person.link.open
    return person.talk.phase in (Phase.CLOSED, Phase.STOPPED)
