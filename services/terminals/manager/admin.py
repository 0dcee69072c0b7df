"""Commands of operators and of the web's API. The names are the packet types."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from terminals.control import CONTROL_VERSION, packets
from terminals.manager import metrics
from terminals.manager.generations import Generation
from terminals.manager.mover import Pace, move
from terminals.manager.peers import Peer

if TYPE_CHECKING:
    from terminals.manager.server import Manager

log = logging.getLogger("terminals.manager")

_ASK = {"status", "metrics", "peers", "sessions", "wait"}
_FENCED = {"weights", "move", "retire", "cancel-retire", "stop", "fence", "renew-holder"}
"""Commands of a rollout: a stale fencing token must not get through."""
COMMANDS = frozenset(_ASK | _FENCED | {"kill", "rename", "monitored"})
POLL = 0.02


async def run(manager: Manager, peer: Peer, request: dict[str, Any]) -> None:
    """Carry out one command and reply to it; an error is one line in the reply."""
    try:
        if request["type"] in _FENCED:
            manager.generations.check_fence(request.get("fence"))
        match request["type"]:
            case "status":
                peer.reply(request, **status(manager))
            case "sessions":
                _reply_list(peer, request, sessions(manager))
            case "metrics":
                _reply_list(peer, request, metrics.families(manager))
            case "peers":
                _reply_list(peer, request, peers(manager))
            case "monitored":
                manager.monitored(request["monitor"])
                peer.reply(request)
            case "renew-holder":
                argv = [str(word) for word in request["argv"]]
                await manager.link.exec(argv, str(request["build"]))
                log.info("the holder goes on as build %s", request["build"])
                peer.reply(request)
            case "fence":
                peer.reply(request, fence=manager.generations.fence)
            case "kill":
                session = manager.attacher.session_of(request["session"])
                if session is None:
                    raise ValueError(f"no session {request['session']!r}")
                session.kill()
                peer.reply(request)
            case "rename":
                session = manager.attacher.session_of(request["session"])
                if session is None:
                    raise ValueError(f"no session {request['session']!r}")
                manager.registry.rename(session, str(request["title"]))
                peer.reply(request)
            case "wait":
                await wait(
                    manager, str(request["generation"]), int(request["workers"]), float(request["seconds"])
                )
                peer.reply(request)
            case "weights":
                weights = {str(name): int(weight) for name, weight in request["weights"].items()}
                changed = manager.generations.set_weights(weights)
                manager.end_moves()
                manager.flush_backlog()
                peer.reply(request, weights=weights, changed=changed)
            case "move":
                await _move(manager, peer, request)
            case "retire":
                generation = known(manager, str(request["generation"]))
                generation.retire_at = time.time() + float(request["after"])
                generation.way_back_from = request.get("way_back_from") and str(request["way_back_from"])
                manager.generations.save()
                peer.reply(request, retire_at=generation.retire_at)
            case "cancel-retire":
                generation = known(manager, str(request["generation"]))
                generation.retire_at = generation.way_back_from = None
                generation.retired = False
                manager.generations.save()
                peer.reply(request)
            case "stop":
                generation = known(manager, str(request["generation"]))
                manager.retire(generation)
                gone = await until(
                    lambda: not manager.peers_of(generation.name), float(request.get("seconds", 10))
                )
                peer.reply(request, stopped=gone)
    except (ValueError, TypeError, AttributeError, ArithmeticError) as error:
        peer.reply(request, error=str(error))
    except KeyError as error:
        peer.reply(request, error=str(error.args[0]) if " " in str(error) else f"missing field {error}")
    except Exception as error:
        peer.reply(request, error=str(error))
        if type(error).__name__ != "StaleFence":
            raise


async def _move(manager: Manager, peer: Peer, request: dict[str, Any]) -> None:
    """A move goes on while somebody waits for it and nobody has decided otherwise: its fence was looked at
    when it began, and whoever sent it may have lost the lease since."""
    to, share = known(manager, str(request["to"])).name, int(request["share"])
    pace = Pace(max(1, int(request["batch"])), float(request["interval"]), float(request["deadline"]))
    retry_after = float(request.get("retry_after", 0.25))
    task = asyncio.current_task()
    assert task is not None
    manager.end_moves()
    if not peer.connected:
        return
    manager.moves[task] = peer
    try:
        tally = await move(manager.registry, to, share, pace, retry_after=retry_after)
    except asyncio.CancelledError:
        log.info("a move to %s has ended before it was done", to)
        peer.reply(request, error=f"the move to {to} was ended by another command")
    else:
        peer.reply(request, **tally.as_dict())
    finally:
        del manager.moves[task]


def _reply_list(peer: Peer, request: dict[str, Any], items: list[dict[str, Any]]) -> None:
    """Reply in several packets."""
    for chunk in packets.chunks(items):
        peer.reply(request, items=chunk, more=True)
    peer.reply(request, items=[])


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
        roles = [peer.role for peer in manager.peers_of(generation)]
        return roles.count("worker") >= workers and ("web" in roles or "web" not in manager.listeners)

    if not await until(ready, timeout):
        roles = [peer.role for peer in manager.peers_of(generation)]
        raise ValueError(
            f"generation {generation}: {roles.count('worker')} of {workers} workers and"
            f" {roles.count('web')} web processes were ready after {timeout:g} s"
        )


def status(manager: Manager) -> dict[str, Any]:
    """State of the manager, its generations and counts of its sessions.

    Sessions that are ``left`` are with the holder alone: this manager could not go on with them.
    """
    live = manager.registry.live
    return {
        "manager": {
            "pid": manager.pid,
            "host": socket.gethostname(),
            "version": manager.version,
            "build": manager.build,
            "code": manager.code,
            "settings": manager.config.digest,
            "configured": manager.config.shown,
            "protocol": CONTROL_VERSION,
            "started": manager.started,
        },
        "fence": manager.generations.fence,
        "unsaved": manager.generations.unsaved,
        "generations": [_generation(manager, entry) for entry in manager.generations.table.values()],
        "sessions": {
            "live": len(live),
            "attached": sum(1 for session in live if session.attachment is not None),
            "watchers": sum(len(session.watchers) for session in live),
            "ended": len(manager.registry.table) - len(live),
            "expired": manager.registry.expired,
            "left": len(manager.registry.left),
        },
        "holder": manager.link.about if not manager.link.lost else None,
        "monitor": manager.monitor,
        "shells": {
            "ready": len(manager.registry.ready),
            "started": manager.registry.started,
            "found_ready": manager.registry.found_ready,
        },
        "screens": {
            "followed": manager.registry.screens.followed,
            "snapshots": manager.attacher.snapshots,
            "keeper": manager.registry.screens.pid,
        },
        "tls": {"terminator": manager.tls.pid, "handshakes": manager.tls.handshakes} if manager.tls else None,
        "listeners": manager.ports(),
    }


def _generation(manager: Manager, generation: Generation) -> dict[str, Any]:
    peers = manager.peers_of(generation.name)
    workers = [peer for peer in peers if peer.role == "worker"]
    live = manager.registry.live
    state = "retired" if generation.retired else "serving" if generation.weight else "draining"
    return {
        "name": generation.name,
        "build": generation.build,
        "weight": generation.weight,
        "state": state,
        "workers": len(workers),
        "web": len(peers) - len(workers),
        "connections": sum(peer.connections for peer in workers),
        "attached": sum(
            1
            for session in live
            if session.attachment is not None and session.attachment.peer.generation == generation.name
        ),
        "assigned": sum(1 for session in live if session.generation == generation.name),
        "attaches": generation.attaches,
        "short_lived": generation.short_lived,
        "loops": generation.loops,
        "breaker_opened": generation.breaker_opened,
        "memory_bytes": max((peer.memory for peer in workers), default=0),
        "retire_at": generation.retire_at,
        "way_back_from": generation.way_back_from,
    }


def peers(manager: Manager) -> list[dict[str, Any]]:
    """The processes of all generations; ``silent`` is how many seconds ago each last reported itself.

    ``passed_over``: that is so long that nobody is led to it."""
    now = time.monotonic()
    return [
        {
            "role": peer.role,
            "generation": peer.generation,
            "host": peer.host,
            "pid": peer.pid,
            "memory_bytes": peer.memory,
            "silent": None if peer.reported is None else round(now - peer.heard, 1),
            "passed_over": peer.silent,
        }
        for peer in manager.peers
    ]


def sessions(manager: Manager) -> list[dict[str, Any]]:
    """Every session, the oldest first."""
    now = asyncio.get_running_loop().time()
    return [
        {
            "id": session.id,
            "title": session.title,
            "user": session.user,
            "profile": session.profile,
            "live": session.live,
            "attached": session.attachment is not None,
            "watchers": len(session.watchers),
            "generation": session.generation,
            "origin": session.origin,
            "created": session.created,
            "idle": round(session.idle(now), 1) if session.live else None,
            "output": session.ring.head,
            "pid": session.shell.pid if session.shell else None,
            "status": session.status,
            "breaker": session.breaker.state.value,
        }
        for session in sorted(manager.registry.table.values(), key=lambda entry: entry.created)
    ]
