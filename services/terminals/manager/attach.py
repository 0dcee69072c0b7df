"""Attaching clients to sessions: what is decided when a worker asks."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import itertools
import logging
import os
import time
from collections.abc import Callable, Mapping
from typing import Any

from terminals.background import Background
from terminals.control.descriptors import scarce
from terminals.manager.config import ManagerConfig
from terminals.manager.generations import Generations
from terminals.manager.peers import Peer
from terminals.manager.registry import Registry, TooManySessions
from terminals.manager.screens import Snapshot
from terminals.manager.session import Attachment, Session
from terminals.protocol import ids, messages
from terminals.protocol.breaker import BreakerState, CircuitBreaker
from terminals.protocol.messages import ErrorCode
from terminals.protocol.resume import Resume, SequenceGap, resume_from

log = logging.getLogger("terminals.manager")

REMEMBERED_ADDRESSES = 4096
FULL_SECONDS = 5.0
"""A client that is refused for want of what this machine has not got, comes again after so long."""


class Refused(Exception):
    """The attach is refused with an error code of the WebSocket protocol."""

    def __init__(self, code: str, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.retry_after = retry_after


class _NeedsSnapshot(Exception):
    """The client comes past the ring and knows what to do with a screen."""

    def __init__(self, session: Session) -> None:
        super().__init__(session.id)
        self.session = session


class Attacher:
    """Decides attaches and keeps count of the attachments."""

    def __init__(
        self,
        registry: Registry,
        generations: Generations,
        config: ManagerConfig,
        keep: Callable[[dict[str, Any]], None],
        newcomers: Mapping[str, Any],
    ) -> None:
        """``keep(fields)`` keeps breakers of addresses for the next manager; ``newcomers`` are such."""
        self._registry = registry
        self._keep = keep
        self._stable_seconds = config.stable_seconds
        self._new_breaker = config.breaker
        self.newcomers: collections.OrderedDict[str, CircuitBreaker] = collections.OrderedDict()
        """Breakers of addresses that start sessions and lose them at once. A session's own
        breaker cannot see a client that loops by starting a new one each time."""
        for address, saved in newcomers.items():
            self.newcomers[address] = config.breaker()
            self.newcomers[address].restore(saved)
        self._generations = generations
        self._handles = itertools.count(1)
        self.replayed = 0
        """Output bytes that attaches began with."""
        self.skipped = 0
        """Output bytes that returning clients came too late for."""
        self.snapshots = 0
        """Screens painted for clients instead."""
        self._background = Background(log)

    def attach(self, peer: Peer, request: dict[str, Any], *, route_to: str | None) -> None:
        """Answer a worker's ``attach`` request.

        ``route_to`` names the generation that the session belongs to when that is another
        one than the worker's and can serve it; the worker then hands the connection over.
        """
        try:
            self._answer(peer, request, route_to, None, last=False)
        except _NeedsSnapshot as needed:
            work = self._attach_to_screen(peer, request, needed.session)
            self._background.start(work, f"an attach to {needed.session.id}")

    async def _attach_to_screen(self, peer: Peer, request: dict[str, Any], session: Session) -> None:
        snapshot = await self._registry.screens.snapshot(session)
        try:
            if peer.connected:
                self._answer(peer, request, None, snapshot, last=True)
        except Exception as error:
            # As where no screen is waited for: whoever asked is answered.
            peer.reply(request, error=f"bad packet: {error!r}")
            raise
        finally:
            if snapshot is not None:
                os.close(snapshot.fd)

    def _answer(
        self,
        peer: Peer,
        request: dict[str, Any],
        route_to: str | None,
        snapshot: Snapshot | None,
        *,
        last: bool,
    ) -> None:
        try:
            reply, fds = self._decide(peer, request, route_to, snapshot, last=last)
        except Refused as refusal:
            peer.reply(
                request,
                code=refusal.code,
                message=str(refusal),
                retry_after=refusal.retry_after,
                refused=True,
            )
            return
        session = self._registry.table.get(reply.get("session", ""))
        if session is not None and session.started is not None and not session.started.done():
            work = self._when_started(peer, request, session, reply, fds)
            self._background.start(work, f"an attach to {session.id}, which is being started")
        else:
            self._tell(peer, request, reply, fds)

    async def _when_started(
        self,
        peer: Peer,
        request: dict[str, Any],
        session: Session,
        reply: dict[str, Any],
        fds: tuple[int, ...],
    ) -> None:
        assert session.started is not None
        await asyncio.wait([session.started])
        if error := session.started.exception():
            os.close(fds[0])
            reason = getattr(error, "strerror", None) or str(error)
            self._take_back(peer, request, reply, f"no shell could be started: {reason}")
            self._registry.drop(session)
        else:
            self._tell(peer, request, reply, fds)

    def _tell(self, peer: Peer, request: dict[str, Any], reply: dict[str, Any], fds: tuple[int, ...]) -> None:
        try:
            peer.reply(request, fds, **reply)
        except OSError as error:
            self._take_back(peer, request, reply, f"no more files can be open: {error.strerror}")
        finally:
            for fd in fds[:1]:
                os.close(fd)  # the ring's; the doorbell is the session's, the screen the caller's

    def _take_back(self, peer: Peer, request: dict[str, Any], reply: dict[str, Any], message: str) -> None:
        """The worker is not told of an attachment, for want of something: so there is none."""
        session = self._registry.table.get(reply["session"])
        writer = session.attachment if session is not None else None
        created = writer is not None and writer.handle == reply["handle"] and writer.created
        self.detach(peer, reply["handle"], planned=True)
        if session is not None and created:
            session.kill()
        peer.reply(
            request, code=ErrorCode.UNAVAILABLE, message=message, retry_after=FULL_SECONDS, refused=True
        )

    def repaint(self, peer: Peer, request: dict[str, Any]) -> None:
        """Answer a worker whose watcher has been overtaken by the ring: the screen as of now."""

        async def answer() -> None:
            session = self._registry.table.get(peer.handles.get(int(request["handle"]), ""))
            snapshot = await self._registry.screens.snapshot(session) if session else None
            if snapshot is None:
                peer.reply(request, error="there is no screen of this session")
                return
            self.snapshots += 1
            try:
                peer.reply(request, (snapshot.fd,), offset=snapshot.offset, length=snapshot.length)
            except OSError as error:
                peer.reply(request, error=f"no more files can be open: {error.strerror}")
            finally:
                os.close(snapshot.fd)

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
                self._forgive(watcher.address)
            elif not (planned or watcher.planned_end):
                opened = self._abandoned(watcher.address, now)
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
            self._forgive(attachment.address)
        elif not (planned or attachment.planned_end):
            generation = self._generations.get(peer.generation)
            if attachment.created:
                generation.breaker_opened += self._abandoned(attachment.address, now)
            generation.short_lived += 1
            half_open = session.breaker.state is BreakerState.HALF_OPEN
            opened = session.breaker.failure(now)
            generation.breaker_opened += opened
            if opened or half_open:
                generation.loops += 1

    def _decide(
        self,
        peer: Peer,
        request: dict[str, Any],
        route_to: str | None,
        snapshot: Snapshot | None,
        *,
        last: bool,
    ) -> tuple[dict[str, Any], tuple[int, ...]]:
        user, client, address = str(request["user"]), str(request["client"]), str(request["address"])
        since = float(request["since"])
        cols, rows = (messages.integer(request, side, 1, messages.MAX_SIDE) for side in ("cols", "rows"))
        resume = request.get("resume")
        session_id = self._identify(request, user)
        session = self._registry.table.get(session_id.value)
        watching = bool(request.get("watch"))
        if session is not None and user and session.user != user:
            # To its user, a session of somebody else does not exist.
            raise Refused(ErrorCode.UNKNOWN_SESSION, f"{session_id.value} does not exist (any more)")
        if session is not None and session.profile != request["profile"]:
            raise Refused(
                ErrorCode.UNKNOWN_SESSION,
                f"{session.id} belongs to the profile {session.profile}, not to {request['profile']}",
            )
        if session is not None and route_to is not None:
            return {"route": route_to}, ()
        if request["only"] is not None and session_id.value != request["only"]:
            raise Refused(ErrorCode.UNKNOWN_SESSION, "the ticket is for another session")
        created = session is None
        if session is None:
            if resume or watching:
                raise Refused(ErrorCode.UNKNOWN_SESSION, f"{session_id.value} does not exist (any more)")
            self._check_newcomer(address)
            session = self._create(peer, request, session_id)
        where = self._resume(session, resume)
        painted: dict[str, Any] = {}
        if request.get("snapshots") and (where.skipped or (resume is None and where.start)):
            if not last:
                raise _NeedsSnapshot(session)
            if snapshot is not None and snapshot.offset >= where.start:
                painted = {"snapshot": {"offset": snapshot.offset, "length": snapshot.length}}
                self.snapshots += 1
                if resume:
                    where = Resume(snapshot.offset, snapshot.offset - int(resume["output"]))
        ring, doorbell = self._descriptors(session, created=created)
        try:
            if watching:
                self._check_newcomer(address)
            elif not created:
                self._forgive(address)
                self._check_breaker(session)
        except Refused:
            os.close(ring)
            os.close(doorbell)
            raise
        start, skipped = where.start, where.skipped
        generation = self._generations.get(peer.generation)
        if not (created or watching) and session.attachment is None and session.left_at is not None:
            generation.gap_seconds.observe(asyncio.get_running_loop().time() - session.left_at)
        self.replayed += session.ring.head - start
        self.skipped += skipped
        attachment = Attachment(
            handle=next(self._handles) & 0xFFFFFFFF,
            client=client,
            peer=peer,
            doorbell=doorbell,
            since=asyncio.get_running_loop().time(),
            watching=watching,
            address=address,
            created=created,
        )
        peer.handles[attachment.handle] = session.id
        generation.attaches += 1
        known = True
        if watching:
            session.watch(attachment)
        else:
            known = self._take(peer, session, attachment, start, returning=bool(resume))
        if created and attachment.address in self.newcomers:
            asyncio.get_running_loop().call_later(self._stable_seconds, self._settle, session, attachment)
        generation.attach_seconds.observe(max(0.0, time.monotonic() - since))
        if not watching:
            session.resize(cols, rows)
            self._registry.screens.resized(session)
        migrated = session_id.origin is ids.Origin.MIGRATED
        reply = {
            "session": session.id,
            "status": "migrated" if migrated else "created" if created else "resumed",
            "epoch": session.epoch,
            "handle": attachment.handle,
            "output": start,
            "head": session.ring.head,
            "skipped": skipped,
            "input": session.input_written(attachment.client),
            "origin": session.origin,
            "mode": "read" if watching else "write",
            **({} if known else {"input_unknown": True}),
            **painted,
        }
        fds = (ring, doorbell)
        return reply, (*fds, snapshot.fd) if painted and snapshot is not None else fds

    def _identify(self, request: dict[str, Any], user: str) -> ids.SessionId:
        """The session that an attach names.

        Only the token lets anybody give a session a name that it has not got yet; to whoever comes with a
        ticket, a name of old is their own, and any other is none. Or they could take the names of others.
        """
        name, only = request.get("session"), request["only"]
        try:
            session_id = ids.parse_session_id(name or only, owner="" if only else user)
        except ids.InvalidSessionId as error:
            raise Refused(ErrorCode.BAD_SESSION_ID, str(error)) from None
        begins = not (only or request.get("resume") or request.get("watch"))
        if user and begins and session_id.origin is ids.Origin.CANONICAL:
            session = self._registry.table.get(session_id.value)
            if session is None or session.user != user:
                return ids.new_session_id()
        return session_id

    def _create(self, peer: Peer, request: dict[str, Any], session_id: ids.SessionId) -> Session:
        if _files_are_scarce():
            raise Refused(
                ErrorCode.UNAVAILABLE, "no shell could be started: no more files can be open", FULL_SECONDS
            )
        try:
            return self._registry.create(
                session_id.value,
                request["profile"],
                peer.generation,
                user=str(request["user"]),
                cols=request["cols"],
                rows=request["rows"],
                fresh=session_id.origin is ids.Origin.NEW,
            )
        except TooManySessions as error:
            raise Refused(ErrorCode.TOO_MANY_SESSIONS, str(error), 5.0) from None
        except OSError as error:
            raise Refused(
                ErrorCode.UNAVAILABLE, f"no shell could be started: {error.strerror}", FULL_SECONDS
            ) from None

    def _abandoned(self, address: str, now: float) -> bool:
        """A new session of this address was lost right after its attach. Returns whether that opened its
        breaker."""
        breaker = self.newcomers.setdefault(address, self._new_breaker())
        opened = breaker.failure(now)
        self.newcomers.move_to_end(address)
        self._keep({address: breaker.as_list()})
        while len(self.newcomers) > REMEMBERED_ADDRESSES:
            self._forgive(next(iter(self.newcomers)))
        return opened

    def _forgive(self, address: str) -> None:
        if self.newcomers.pop(address, None) is not None:
            self._keep({address: None})

    def _settle(self, session: Session, attachment: Attachment) -> None:
        if session.attachment is attachment:
            self._forgive(attachment.address)

    def _check_newcomer(self, address: str) -> None:
        breaker = self.newcomers.get(address)
        now = asyncio.get_running_loop().time()
        if breaker is not None and not breaker.allow(now):
            wait = breaker.retry_after(now) or breaker.cooldown
            raise Refused(
                ErrorCode.BREAKER_OPEN,
                f"{breaker.threshold} new sessions of {address} were lost right after attaching;"
                f" try again in {wait:.1f} s",
                wait,
            )

    def _check_breaker(self, session: Session) -> None:
        now = asyncio.get_running_loop().time()
        if session.attachment is not None and now - session.attachment.since >= self._stable_seconds:
            session.breaker.success()
        allowed = session.breaker.allow(now)
        self._registry.remember(session)
        if not allowed:
            wait = session.breaker.retry_after(now) or session.breaker.cooldown
            raise Refused(
                ErrorCode.BREAKER_OPEN,
                f"{session.id} was lost {session.breaker.threshold} times right after attaching;"
                f" try again in {wait:.1f} s",
                wait,
            )

    @staticmethod
    def _resume(session: Session, resume: dict[str, Any] | None) -> Resume:
        if resume and resume["epoch"] != session.epoch:
            raise Refused(ErrorCode.UNKNOWN_SESSION, f"{session.id} has been started anew since")
        try:
            return resume_from(
                resume["output"] if resume else None, tail=session.ring.tail, head=session.ring.head
            )
        except SequenceGap as gap:
            raise Refused(ErrorCode.BAD_MESSAGE, f"cannot resume: {gap}") from None

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

    def _take(
        self, peer: Peer, session: Session, attachment: Attachment, start: int, *, returning: bool
    ) -> bool:
        """Make it the client that types; returns whether its input position is known."""
        old = session.attachment
        if old is not None:
            old.peer.handles.pop(old.handle, None)
            # The same client coming back before its loss was noticed is no rival.
            kind = "superseded" if old.client == attachment.client else "taken-over"
            old.peer.send({"type": kind, "handle": old.handle})
            session.detach()
        session.generation = session.served_by = peer.generation
        self._registry.remember(session)
        return session.attach(attachment, start, returning=returning)


def _files_are_scarce() -> bool:
    """Whether a newcomer would take descriptors that those who are there need to go on."""
    try:
        newest = os.eventfd(0, os.EFD_CLOEXEC)
    except OSError:
        return True
    os.close(newest)
    return scarce(newest)
