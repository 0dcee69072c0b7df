"""Commands of operators and of the web's API."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from terminals.control import CONTROL_VERSION, answers, packets
from terminals.manager import metrics
from terminals.manager.generations import Generation, StaleFence
from terminals.manager.mover import Pace, move
from terminals.manager.peers import Peer
from terminals.manager.session import Session

if TYPE_CHECKING:
    from terminals.manager.server import Manager

log = logging.getLogger("terminals.manager")

POLL = 0.02
MAX_MESSAGE = 300
"""Characters that an operator may have shown in all terminals."""


async def run(manager: Manager, peer: Peer, request: packets.Command) -> None:
    """Carry out one command and reply to it; an error is one line in the reply."""
    try:
        if isinstance(request, packets.Fenced):
            # A stale fencing token must not get through.
            manager.generations.check_fence(request.fence)
        if isinstance(request, packets.OpenRecording):
            await _open_recording(manager, peer, request)
        else:
            peer.reply(request.req, await _carry_out(manager, peer, request))
    except (ValueError, OSError, StaleFence) as error:
        peer.fail(request.req, str(error))
    except KeyError as error:
        peer.fail(request.req, str(error.args[0]))
    except Exception as error:
        peer.fail(request.req, str(error))
        raise


async def _carry_out(manager: Manager, peer: Peer, request: packets.Command) -> msgspec.Struct | None:
    generations = manager.generations
    match request:
        case packets.Status():
            return status(manager)
        case packets.Sessions():
            return answers.Sessions(items=sessions(manager))
        case packets.Metrics():
            return answers.Metrics(items=metrics.families(manager))
        case packets.Peers():
            return answers.Peers(items=peers(manager))
        case packets.Fence():
            return answers.Fence(fence=generations.fence)
        case packets.Monitored(monitor=monitor):
            manager.monitored(monitor)
        case packets.Hosts():
            return hosts(manager)
        case packets.HostState(state=state, message=message):
            if len(message) > MAX_MESSAGE or not message.isprintable():
                raise ValueError(f"a message has at most {MAX_MESSAGE} printable characters")
            manager.cluster.be(state)
            log.info("the state of this host is %s", state)
            for session in manager.registry.live if message else ():
                session.notice(message)
            return hosts(manager)
        case packets.RenewHolder(argv=argv, build=build):
            await manager.link.exec(argv, build)
            log.info("the holder goes on as build %s", build)
        case packets.Kill(session=name):
            _session(manager, name).kill()
        case packets.Rename(session=name, title=title):
            manager.registry.rename(_session(manager, name), title)
        case packets.Revoke(user=user):
            log.info("tickets of %r are revoked", user)
            return answers.Revoked(before=manager.revoke(user))
        case packets.Link(session=name):
            session = _session(manager, name)
            if not session.live:
                raise ValueError(f"{session.id} has ended")
            link = manager.links.add(
                session.id, by=request.by, read_only=request.read_only, seconds=request.seconds
            )
            by = request.by or "a holder of the token"
            log.info("%s gives the link %s to %s away", by, link.id, link.session)
            return link
        case packets.Links():
            return answers.Links(items=manager.links.good(manager.registry.lives))
        case packets.Unlink(id=name):
            manager.unlink(name)
            log.info("the link %s is revoked", name)
        case packets.RecordSession(session=name, on=on):
            session, recordings = _session(manager, name), manager.registry.recordings
            await recordings.all()  # what was recorded of it before is gone on with
            recordings.wish(session) if on else recordings.stop(session)
            log.info("%s is %s", session.id, "recorded" if on else "not recorded any more")
        case packets.Recordings():
            return answers.Recordings(items=await manager.registry.recordings.all())
        case packets.RemoveRecording(id=name):
            await manager.registry.recordings.all()
            manager.registry.recordings.casts.remove(name)
            log.info("the recording %s is removed", name)
        case packets.Wait(generation=name, workers=workers, seconds=seconds):
            await wait(manager, name, workers, seconds)
        case packets.Weights(weights=weights):
            changed = generations.set_weights(weights)
            manager.end_moves()
            manager.pool.flush()
            return answers.Weights(weights=weights, changed=changed)
        case packets.Move():
            return await _move(manager, peer, request)
        case packets.Retire(after=after, way_back_from=way_back_from):
            generation = known(manager, request.generation)
            generation.retire_at = time.time() + after
            generation.way_back_from = way_back_from
            generations.save()
            return answers.Retire(retire_at=generation.retire_at)
        case packets.CancelRetire():
            generation = known(manager, request.generation)
            generation.retire_at = generation.way_back_from = None
            generation.retired = False
            generations.save()
        case packets.Stop(seconds=seconds):
            generation = known(manager, request.generation)
            manager.retire(generation)
            return answers.Stopped(stopped=await until(lambda: not manager.pool.of(generation.name), seconds))
    return None


async def _open_recording(manager: Manager, peer: Peer, request: packets.OpenRecording) -> None:
    recordings = manager.registry.recordings
    await recordings.all()
    info, fd = recordings.casts.read(request.id)
    try:
        peer.reply(request.req, answers.OpenedRecording(info=info, bytes=info.bytes), (fd,))
    finally:
        os.close(fd)


def _session(manager: Manager, name: str) -> Session:
    session = manager.attacher.session_of(name)
    if session is None:
        raise ValueError(f"no session {name!r}")
    return session


async def _move(manager: Manager, peer: Peer, request: packets.Move) -> answers.Moved | None:
    """A move goes on while somebody waits for it and nobody has decided otherwise: its fence was looked at
    when it began, and whoever sent it may have lost the lease since."""
    to = known(manager, request.to).name
    pace = Pace(max(1, request.batch), request.interval, request.deadline)
    task = asyncio.current_task()
    assert task is not None
    manager.end_moves()
    if not peer.connected:
        return None
    manager.moves[task] = peer
    try:
        return await move(manager.registry, to, request.share, pace, retry_after=request.retry_after)
    except asyncio.CancelledError:
        log.info("a move to %s has ended before it was done", to)
        raise ValueError(f"the move to {to} was ended by another command") from None
    finally:
        del manager.moves[task]


def known(manager: Manager, name: str) -> Generation:
    """The generation of that name.

    Raises:
        ValueError: there is none.
    """
    try:
        return manager.generations.table[name]
    except KeyError:
        names = ", ".join(manager.generations.table) or "none"
        raise ValueError(f"unknown generation {name!r}; known: {names}") from None


async def until(condition: Callable[[], bool], timeout: float) -> bool:
    """Wait for ``condition``; returns whether it came true within ``timeout`` seconds."""
    end = time.monotonic() + timeout
    while not condition():
        if time.monotonic() >= end:
            return False
        await asyncio.sleep(POLL)
    return True


async def wait(manager: Manager, generation: str, workers: int, timeout: float) -> None:
    """Wait until ``workers`` workers and the web process of a generation are connected.

    Raises:
        ValueError: they were not there in time.
    """

    def ready() -> bool:
        roles = [peer.role for peer in manager.pool.of(generation)]
        return roles.count("worker") >= workers and ("web" in roles or "web" not in manager.listeners)

    if not await until(ready, timeout):
        roles = [peer.role for peer in manager.pool.of(generation)]
        raise ValueError(
            f"generation {generation}: {roles.count('worker')} of {workers} workers and"
            f" {roles.count('web')} web processes were ready after {timeout:g} s"
        )


def status(manager: Manager) -> answers.Status:
    """State of the manager, its generations and counts of its sessions.

    Sessions that are ``left`` are with the holder alone: this manager could not go on with them.
    """
    registry = manager.registry
    live = registry.live
    tls = manager.tls
    return answers.Status(
        manager=answers.ManagerInfo(
            pid=manager.pid,
            host=socket.gethostname(),
            version=manager.version,
            build=manager.build,
            code=manager.code,
            settings=manager.config.digest,
            configured=msgspec.Raw(manager.config.shown.encode()),
            protocol=CONTROL_VERSION,
            started=manager.started,
        ),
        fence=manager.generations.fence,
        unsaved=manager.generations.unsaved,
        generations=[_generation(manager, entry) for entry in manager.generations.table.values()],
        sessions=answers.SessionCounts(
            live=len(live),
            attached=sum(1 for session in live if session.attachment is not None),
            watchers=sum(len(session.watchers) for session in live),
            ended=len(registry.table) - len(live),
            expired=registry.expired,
            left=len(registry.left),
        ),
        holder=manager.link.about if not manager.link.lost else None,
        monitor=manager.monitor,
        shells=answers.ShellCounts(
            ready=len(registry.ready), started=registry.started, found_ready=registry.found_ready
        ),
        screens=answers.ScreenCounts(
            followed=registry.screens.followed,
            snapshots=manager.attacher.snapshots,
            keeper=registry.screens.pid,
        ),
        tls=answers.TlsInfo(terminator=tls.pid, handshakes=tls.handshakes) if tls else None,
        listeners=manager.ports(),
        pool=manager.pool.info,
        host_state=manager.cluster.state,
    )


def _generation(manager: Manager, generation: Generation) -> answers.GenerationInfo:
    peers = manager.pool.of(generation.name)
    workers = [peer for peer in peers if peer.role == "worker"]
    live = manager.registry.live
    serving = [
        session
        for session in live
        if session.attachment is not None and session.attachment.peer.generation == generation.name
    ]
    return answers.GenerationInfo(
        name=generation.name,
        build=generation.build,
        weight=generation.weight,
        state="retired" if generation.retired else "serving" if generation.weight else "draining",
        workers=len(workers),
        web=len(peers) - len(workers),
        connections=sum(peer.connections for peer in workers),
        attached=len(serving),
        assigned=sum(1 for session in live if session.generation == generation.name),
        attaches=generation.attaches,
        short_lived=generation.short_lived,
        loops=generation.loops,
        breaker_opened=generation.breaker_opened,
        memory_bytes=max((peer.memory for peer in workers), default=0),
        retire_at=generation.retire_at,
        way_back_from=generation.way_back_from,
    )


def hosts(manager: Manager) -> answers.Hosts:
    """This host, and the others as it knows them."""
    cluster = manager.cluster
    items = [cluster.here(), *cluster.others()]
    return answers.Hosts(items=items, closed=cluster.closed, port=manager.peers_port, asker=cluster.pid)


def peers(manager: Manager) -> list[answers.PeerInfo]:
    """The processes of all generations."""
    now = time.monotonic()
    return [
        answers.PeerInfo(
            role=peer.role,
            generation=peer.generation,
            host=peer.host,
            pid=peer.pid,
            memory_bytes=peer.memory,
            silent=None if peer.reported is None else round(now - peer.heard, 1),
            passed_over=peer.silent,
        )
        for peer in manager.pool.peers
    ]


def sessions(manager: Manager) -> list[answers.SessionInfo]:
    """Every session, the oldest first."""
    now = asyncio.get_running_loop().time()
    return [
        answers.SessionInfo(
            id=session.id,
            title=session.title,
            user=session.user,
            profile=session.profile,
            live=session.live,
            attached=session.attachment is not None,
            watchers=len(session.watchers),
            generation=session.generation,
            origin=session.origin,
            created=session.created,
            idle=round(session.idle(now), 1) if session.live else None,
            output=session.ring.head,
            pid=session.shell.pid if session.shell else None,
            status=session.status,
            breaker=session.breaker.state.value,
            recording=session.recording,
        )
        for session in sorted(manager.registry.table.values(), key=lambda entry: entry.created)
    ]
