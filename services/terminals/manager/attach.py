"""Attaching clients to sessions: what is decided when a worker asks.

An attach is decided in steps, each of which gives a value or raises :class:`Refused`: :func:`identify`, find,
:func:`authorise`, place, :func:`resume` and take.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import msgspec

from terminals.background import Background
from terminals.cluster.table import Standing
from terminals.control import packets
from terminals.control.answers import Attached, Elsewhere, Painted, Refusal, Routed
from terminals.control.descriptors import scarce
from terminals.manager.cluster import Cluster
from terminals.manager.config import ManagerConfig
from terminals.manager.files import Files
from terminals.manager.generations import Generations
from terminals.manager.newcomers import Newcomers
from terminals.manager.peers import Peer
from terminals.manager.registry import Registry, TooManySessions
from terminals.manager.screens import Snapshot
from terminals.manager.session import Attachment, Session
from terminals.protocol import ids
from terminals.protocol.breaker import BreakerState, CircuitBreaker
from terminals.protocol.messages import ErrorCode, LastScreen
from terminals.protocol.resume import Resume, SequenceGap, resume_from
from terminals.tickets import PROGRAM

log = logging.getLogger("terminals.manager")

SILENT_SECONDS = 2.0
LOST_SECONDS = 10.0
"""Until somebody asks again whose host is silent, or lost."""
FULL_SECONDS = 5.0
"""A client that is refused for want of what this machine has not got, comes again after so long."""


class Refused(Exception):
    """The attach is refused with an error code of the WebSocket protocol."""

    def __init__(
        self,
        code: str,
        message: str,
        retry_after: float | None = None,
        since: float | None = None,
        screen: LastScreen | None = None,
    ) -> None:
        super().__init__(message)
        self.answer = Refusal(code=code, message=message, retry_after=retry_after, since=since, screen=screen)


@dataclass(frozen=True, slots=True)
class Granted:
    """An attach that was taken, and descriptors of the session's ring (ours to close), of the doorbell (the
    session's) and of the screen (the asker's)."""

    session: Session
    answer: Attached
    fds: tuple[int, ...]


class Held(Protocol):
    """What :func:`authorise` has to know of a session."""

    @property
    def id(self) -> str: ...
    @property
    def user(self) -> str: ...
    @property
    def profile(self) -> str: ...


def identify(
    request: packets.Attach, owner: Callable[[str], str | None], *, tag: str, elsewhere: Callable[[str], bool]
) -> ids.SessionId:
    """The session that an attach names; ``owner(id)`` is whose it is, ``None`` where there is none. New ones
    begin at the host with ``tag``; ``elsewhere(id)``: whether another has the session.

    Only the token lets anybody give a session a name that it has not got yet; to whoever comes with a
    ticket, a name of old is their own, and any other is none. Or they could take the names of others.

    Raises:
        Refused: it names none.
    """
    user, only = request.user, request.only
    try:
        owns = "" if only or request.everyone else user
        session_id = ids.parse_session_id(request.session or only, owner=owns, tag=tag)
    except ids.InvalidSessionId as error:
        raise Refused(ErrorCode.BAD_SESSION_ID, str(error)) from None
    begins = not (only or request.resume or request.watch)
    named = session_id.origin is ids.Origin.CANONICAL
    if user and not request.everyone and begins and named and owner(session_id.value) != user:
        if elsewhere(session_id.value):
            return session_id  # it is the other host that knows whose it is
        return ids.new_session_id(tag)
    return session_id


def authorise(request: packets.Attach, session_id: ids.SessionId, session: Held | None) -> None:
    """See to it that the client may have this session, which may not be there yet.

    Raises:
        Refused: it may not.
    """
    own = not request.user or request.everyone
    if session is not None and not own and session.user != request.user:
        # To its user, a session of somebody else does not exist.
        raise _unknown(session_id)
    if session is not None and session.profile != request.profile:
        raise Refused(
            ErrorCode.UNKNOWN_SESSION,
            f"{session.id} belongs to the profile {session.profile}, not to {request.profile}",
        )
    if request.only is not None and session_id.value != request.only:
        raise Refused(ErrorCode.UNKNOWN_SESSION, "the ticket is for another session")
    if session is None and (request.resume or request.watch or _is_guest(request)):
        raise _unknown(session_id)


def _is_guest(request: packets.Attach) -> bool:
    """Whether it comes by a link to one session, whoever's that is."""
    return request.everyone and request.only is not None


def resume(request: packets.Attach, session: str, *, epoch: str, tail: int, head: int) -> Resume:
    """Where the client is to go on in a session that has ``tail`` to ``head`` of the output of this epoch.

    Raises:
        Refused: the session is not the one that the client has had.
    """
    had = request.resume
    if had is not None and had.epoch != epoch:
        raise Refused(ErrorCode.UNKNOWN_SESSION, f"{session} has been started anew since")
    try:
        return resume_from(had.output if had else None, tail=tail, head=head)
    except SequenceGap as gap:
        raise Refused(ErrorCode.BAD_MESSAGE, f"cannot resume: {gap}") from None


def _unknown(session_id: ids.SessionId) -> Refused:
    return Refused(ErrorCode.UNKNOWN_SESSION, f"{session_id.value} does not exist (any more)")


class Attacher:
    """Decides attaches and keeps count of the attachments."""

    def __init__(
        self,
        registry: Registry,
        generations: Generations,
        config: ManagerConfig,
        cluster: Cluster,
        keep: Callable[[dict[str, object]], None],
        newcomers: Mapping[str, msgspec.Raw],
    ) -> None:
        """``keep(fields)`` keeps breakers of addresses for the next manager; ``newcomers`` are such."""
        self._registry = registry
        self._stable_seconds = config.stable_seconds
        self.newcomers = Newcomers(config.breaker, keep, newcomers)
        self._cluster = cluster
        self._generations = generations
        self._handles = itertools.count(1)
        self.replayed = 0
        """Output bytes that attaches began with."""
        self.skipped = 0
        """Output bytes that returning clients came too late for."""
        self.snapshots = 0
        """Screens painted for clients instead."""
        self._background = Background(log)
        self.files: Files | None = None

    def attach(self, peer: Peer, request: packets.Attach, *, route_to: str | None) -> None:
        """Answer a worker's request.

        ``route_to`` names the generation that the session belongs to when that is another
        one than the worker's and can serve it; the worker then hands the connection over.
        """
        try:
            decision = self.decide(peer, request, route_to)
        except Refused as refused:
            peer.reply(request.req, refused.answer)
            return
        match decision:
            case Routed() | Elsewhere():
                peer.reply(request.req, decision)
            case Granted():
                self._answer(peer, request, decision)
            case Session():
                work = self._attach_to_screen(peer, request, decision)
                self._background.start(work, f"an attach to {decision.id}")

    async def _attach_to_screen(self, peer: Peer, request: packets.Attach, session: Session) -> None:
        screen = await self._registry.screens.snapshot(session)
        try:
            if peer.connected:
                granted = self.decide(peer, request, None, screen, painted=True)
                assert isinstance(granted, Granted)
                self._answer(peer, request, granted)
        except Refused as refused:
            peer.reply(request.req, refused.answer)
        except Exception as error:
            # As where no screen is waited for: whoever asked is answered.
            peer.fail(request.req, f"bad packet: {error!r}")
            raise
        finally:
            if screen is not None:
                os.close(screen.fd)

    def _answer(self, peer: Peer, request: packets.Attach, granted: Granted) -> None:
        started = granted.session.started
        if started is not None and not started.done():
            work = self._when_started(peer, request, granted, started)
            self._background.start(work, f"an attach to {granted.session.id}, which is being started")
        else:
            self._tell(peer, request, granted)

    async def _when_started(
        self, peer: Peer, request: packets.Attach, granted: Granted, started: asyncio.Future[None]
    ) -> None:
        await asyncio.wait([started])
        if error := started.exception():
            os.close(granted.fds[0])
            reason = getattr(error, "strerror", None) or str(error)
            self._take_back(peer, request, granted, f"no shell could be started: {reason}")
            self._registry.drop(granted.session)
        else:
            self._tell(peer, request, granted)

    def _tell(self, peer: Peer, request: packets.Attach, granted: Granted) -> None:
        try:
            peer.reply(request.req, granted.answer, granted.fds)
        except OSError as error:
            self._take_back(peer, request, granted, f"no more files can be open: {error.strerror}")
        finally:
            os.close(granted.fds[0])
        attachment = granted.session.attachment
        if self.files is not None and attachment is not None and attachment.handle == granted.answer.handle:
            self.files.attached(granted.session, attachment)

    def _take_back(self, peer: Peer, request: packets.Attach, granted: Granted, message: str) -> None:
        """The worker is not told of an attachment, for want of something: so there is none."""
        session = self._registry.table.get(granted.session.id)
        handle = granted.answer.handle
        writer = session.attachment if session is not None else None
        created = writer is not None and writer.handle == handle and writer.created
        self.detach(peer, handle, planned=True)
        if session is not None and created:
            session.kill()
        refusal = Refused(ErrorCode.UNAVAILABLE, message, FULL_SECONDS)
        peer.reply(request.req, refusal.answer)

    def repaint(self, peer: Peer, request: packets.Repaint) -> None:
        """Answer a worker whose watcher has been overtaken by the ring: the screen as of now."""

        async def answer() -> None:
            session = self._registry.table.get(peer.handles.get(request.handle, ""))
            screen = await self._registry.screens.snapshot(session) if session else None
            if screen is None:
                peer.fail(request.req, "there is no screen of this session")
                return
            self.snapshots += 1
            try:
                painted = Painted(offset=screen.offset, length=screen.length)
                peer.reply(request.req, painted, (screen.fd,))
            except OSError as error:
                peer.fail(request.req, f"no more files can be open: {error.strerror}")
            finally:
                os.close(screen.fd)

        self._background.start(answer(), "a screen for a watcher")

    def session_of(self, raw: object) -> Session | None:
        """The session that an id, canonical or legacy, names; ``None`` when there is none."""
        with contextlib.suppress(ids.InvalidSessionId):
            return self._registry.table.get(ids.parse_session_id(raw).value) if raw else None
        return None

    def detach(self, peer: Peer, handle: int, *, planned: bool) -> None:
        """An attachment has ended. Unplanned within ``stable_seconds`` counts towards a loop."""
        session = self._registry.table.get(peer.handles.pop(handle, ""))
        if session is None:
            return
        now = asyncio.get_running_loop().time()
        if watcher := session.watchers.get(handle):
            session.unwatch(handle)
            # Its losses are its address's affair: they must not keep out the one who works there.
            if now - watcher.since >= self._stable_seconds:
                self.newcomers.forgive(watcher.address)
            elif not (planned or watcher.planned_end):
                opened = self.newcomers.lost(watcher.address, now)
                self._generations.get(peer.generation).breaker_opened += opened
            return
        attachment = session.attachment
        if attachment is None or attachment.handle != handle:
            return
        session.detach()
        if not session.live:
            return
        self._judge(peer, session, attachment, now, planned=planned)
        self._registry.remember(session)

    def _judge(
        self, peer: Peer, session: Session, attachment: Attachment, now: float, *, planned: bool
    ) -> None:
        """Whether the end of an attachment counts towards a loop."""
        if now - attachment.since >= self._stable_seconds:
            session.breaker.success()
            self.newcomers.forgive(attachment.address)
        elif not (planned or attachment.planned_end):
            generation = self._generations.get(peer.generation)
            if attachment.created:
                generation.breaker_opened += self.newcomers.lost(attachment.address, now)
            generation.short_lived += 1
            half_open = session.breaker.state is BreakerState.HALF_OPEN
            opened = session.breaker.failure(now)
            generation.breaker_opened += opened
            if opened or half_open:
                generation.loops += 1

    # --- the steps of an attach -----------------------------------------------------------

    def decide(
        self,
        peer: Peer,
        request: packets.Attach,
        route_to: str | None = None,
        screen: Snapshot | None = None,
        *,
        painted: bool = False,
    ) -> Granted | Routed | Elsewhere | Session:
        """Grant an attach, or say where it is to go. A :class:`Session` is an answer, too: its screen is to
        be painted first, and this to be asked again, with it or at least with ``painted``.

        Raises:
            Refused: it is refused.
        """
        session_id = identify(
            request, self._owner, tag=self._cluster.tag, elsewhere=self._cluster.has_other_home
        )
        session = self._registry.table.get(session_id.value)
        if session is None and (url := self._elsewhere(peer, request, session_id)):
            return self._send_on(peer, url)
        authorise(request, session_id, session)
        if session is not None and route_to is not None:
            return Routed(route=route_to)
        created = session is None
        if session is None:
            session = self._place(peer, request, session_id)
        ring = session.ring
        where = resume(request, session.id, epoch=session.epoch, tail=ring.tail, head=ring.head)
        if not self._lacks_screen(request, where):
            screen = None
        elif not painted:
            return session
        if screen is not None and screen.offset >= where.start:
            self.snapshots += 1
            if request.resume:  # else what the ring has is worth having: it is what can be scrolled back to
                where = Resume(screen.offset, screen.offset - request.resume.output)
        else:
            screen = None
        return self._take(peer, request, session_id, session, where, screen, created=created)

    def _elsewhere(self, peer: Peer, request: packets.Attach, session_id: ids.SessionId) -> str | None:
        """Where to ask for a session that is not here; ``None``: nowhere else.

        Raises:
            Refused: that is not known now, or its host does not answer.
        """
        cluster, moves = self._cluster, request.hops and peer.sends_on
        measures = request.user.startswith(PROGRAM)  # this very host
        if session_id.origin is ids.Origin.NEW:
            return cluster.place(request.profile) if moves and not measures else None
        home = cluster.home_of(session_id.value)
        if home is None:
            if cluster.complete:
                return None
            raise Refused(ErrorCode.UNAVAILABLE, "the other hosts are being asked for this session", 1.0)
        url = home.urls.get(request.profile)
        standing = Standing.THERE if url is None else cluster.standing(home.tag)
        if standing is Standing.SILENT:
            text = f"the host of this session, {home.name}, does not answer the other hosts now"
            raise Refused(ErrorCode.UNAVAILABLE, text, SILENT_SECONDS)
        if standing is Standing.LOST:
            keeper = cluster.keeper_of(home.tag) if moves else None
            if keeper is not None and request.profile in keeper.urls:
                return keeper.urls[request.profile]
            text = f"the host of this session, {home.name}, has not been heard of for long"
            since, screen = cluster.silent_since(home.tag), self._last_screen(request, session_id, home.tag)
            raise Refused(ErrorCode.HOST_LOST, text, LOST_SECONDS, since, screen)
        return url

    def _last_screen(self, request: packets.Attach, session_id: ids.SessionId, tag: str) -> LastScreen | None:
        """What is left of a session of the host of this tag, for one who may see it and has not yet."""
        # The link of a guest may be revoked: that only the session's host knows.
        found = None if _is_guest(request) else self._cluster.last_screen(tag, session_id.value)
        if found is None:
            return None
        screen, paint = found
        try:
            authorise(request, session_id, screen)
        except Refused:
            return None
        had = request.resume
        if had is not None and had.epoch == screen.epoch and had.output >= screen.output:
            return None
        return LastScreen(screen.at, screen.cols, screen.rows, paint)

    @staticmethod
    def _send_on(peer: Peer, url: str) -> Elsewhere:
        """Where a client is to go on.

        Raises:
            Refused: its worker is of a build that cannot send it there.
        """
        if not peer.sends_on:
            raise Refused(ErrorCode.UNAVAILABLE, f"this session is at {url}", FULL_SECONDS)
        return Elsewhere(url=url)

    def _owner(self, session_id: str) -> str | None:
        session = self._registry.table.get(session_id)
        return None if session is None else session.user

    @staticmethod
    def _lacks_screen(request: packets.Attach, where: Resume) -> bool:
        """Whether the client comes past the ring, and knows what to do with a screen."""
        return request.snapshots and bool(where.skipped or (request.resume is None and where.start))

    def _place(self, peer: Peer, request: packets.Attach, session_id: ids.SessionId) -> Session:
        """Begin a session that has not been there.

        Raises:
            Refused: not by this address now, or there is no room.
        """
        self._check_newcomer(request.address)
        if reason := self._cluster.refuses(request.user.startswith(PROGRAM)):
            raise Refused(ErrorCode.UNAVAILABLE, reason, FULL_SECONDS)
        if _files_are_scarce():
            raise Refused(
                ErrorCode.UNAVAILABLE, "no shell could be started: no more files can be open", FULL_SECONDS
            )
        try:
            return self._registry.create(
                session_id.value,
                request.profile,
                peer.generation,
                user=request.user,
                cols=request.cols,
                rows=request.rows,
                fresh=session_id.origin is ids.Origin.NEW,
            )
        except TooManySessions as error:
            raise Refused(ErrorCode.TOO_MANY_SESSIONS, str(error), 5.0) from None
        except OSError as error:
            raise Refused(
                ErrorCode.UNAVAILABLE, f"no shell could be started: {error.strerror}", FULL_SECONDS
            ) from None

    def _take(
        self,
        peer: Peer,
        request: packets.Attach,
        session_id: ids.SessionId,
        session: Session,
        where: Resume,
        screen: Snapshot | None,
        *,
        created: bool,
    ) -> Granted:
        """Give the client the session.

        Raises:
            Refused: it has lost it too often right after attaching, or there are no descriptors.
        """
        ring, doorbell = self._descriptors(session, created=created)
        try:
            self._admit(request, session, created=created)
        except Refused:
            os.close(ring)
            os.close(doorbell)
            raise
        now = asyncio.get_running_loop().time()
        generation = self._generations.get(peer.generation)
        if not (created or request.watch) and session.attachment is None and session.left_at is not None:
            generation.gap_seconds.observe(now - session.left_at)
        self.replayed += session.ring.head - where.start
        self.skipped += where.skipped
        attachment = Attachment(
            handle=next(self._handles) & 0xFFFFFFFF,
            client=request.client,
            peer=peer,
            doorbell=doorbell,
            since=now,
            watching=request.watch,
            address=request.address,
            created=created,
        )
        peer.handles[attachment.handle] = session.id
        generation.attaches += 1
        known = True
        if request.watch:
            session.watch(attachment)
        else:
            known = self._write(peer, session, attachment, where.start, returning=request.resume is not None)
            session.resize(request.cols, request.rows)
            self._registry.resized(session)
        if created and request.address in self.newcomers:
            asyncio.get_running_loop().call_later(self._stable_seconds, self._settle, session, attachment)
        generation.attach_seconds.observe(max(0.0, time.monotonic() - request.since))
        migrated = session_id.origin is ids.Origin.MIGRATED
        answer = Attached(
            session=session.id,
            status="migrated" if migrated else "created" if created else "resumed",
            epoch=session.epoch,
            handle=attachment.handle,
            output=where.start,
            head=session.ring.head,
            skipped=where.skipped,
            input=session.input_written(attachment.client),
            origin=session.origin,
            mode="read" if request.watch else "write",
            cols=session.size[0],
            rows=session.size[1],
            input_unknown=not known,
            snapshot=Painted(offset=screen.offset, length=screen.length) if screen else None,
            recording=session.recording,
            files=None if self.files is None else self.files.grant(session, watching=request.watch),
        )
        return Granted(session, answer, (ring, doorbell, *((screen.fd,) if screen else ())))

    @staticmethod
    def _descriptors(session: Session, *, created: bool) -> tuple[int, int]:
        """What a worker needs to follow a session: its ring, to read only, and a doorbell."""
        try:
            ring = session.ring.share()
            try:
                doorbell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
            except OSError:
                os.close(ring)
                raise
        except OSError as error:
            if created:
                session.kill()
            raise Refused(
                ErrorCode.UNAVAILABLE, f"{session.id} cannot be opened now: {error.strerror}", FULL_SECONDS
            ) from None
        return ring, doorbell

    def _admit(self, request: packets.Attach, session: Session, *, created: bool) -> None:
        """See to it that this is no loop.

        Raises:
            Refused: it is one.
        """
        if request.watch:
            self._check_newcomer(request.address)
        elif not created:
            self.newcomers.forgive(request.address)
            self._check_breaker(session)

    def _check_newcomer(self, address: str) -> None:
        now = asyncio.get_running_loop().time()
        if breaker := self.newcomers.barred(address, now):
            what = f"{breaker.threshold} new sessions of {address} were lost right after attaching"
            raise _barred(breaker, what, now)

    def _check_breaker(self, session: Session) -> None:
        now = asyncio.get_running_loop().time()
        if session.attachment is not None and now - session.attachment.since >= self._stable_seconds:
            session.breaker.success()
        allowed = session.breaker.allow(now)
        self._registry.remember(session)
        if not allowed:
            what = f"{session.id} was lost {session.breaker.threshold} times right after attaching"
            raise _barred(session.breaker, what, now)

    def _settle(self, session: Session, attachment: Attachment) -> None:
        if session.attachment is attachment:
            self.newcomers.forgive(attachment.address)

    def _write(
        self, peer: Peer, session: Session, attachment: Attachment, start: int, *, returning: bool
    ) -> bool:
        """Make it the client that types; returns whether its input position is known."""
        old = session.attachment
        if old is not None:
            old.peer.handles.pop(old.handle, None)
            session.detach()
        session.generation = session.served_by = peer.generation
        self._registry.remember(session)
        known = session.attach(attachment, start, returning=returning)
        if old is not None:
            # Last: it may show that a worker is dead, this very one too, and its attachments end with it.
            # The same client coming back before its loss was noticed is no rival.
            kind = packets.Superseded if old.client == attachment.client else packets.TakenOver
            old.peer.send(kind(handle=old.handle))
        return known


def _barred(breaker: CircuitBreaker, what: str, now: float) -> Refused:
    wait = breaker.retry_after(now) or breaker.cooldown
    return Refused(ErrorCode.BREAKER_OPEN, f"{what}; try again in {wait:.1f} s", wait)


def _files_are_scarce() -> bool:
    """Whether a newcomer would take descriptors that those who are there need to go on."""
    try:
        newest = os.eventfd(0, os.EFD_CLOEXEC)
    except OSError:
        return True
    os.close(newest)
    return scarce(newest)
