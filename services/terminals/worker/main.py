"""The worker process."""

from __future__ import annotations

import asyncio
import logging
import os
import socket

from terminals.access import Access
from terminals.background import Background, Troubles
from terminals.control import packets
from terminals.control.answers import Front, Welcome
from terminals.control.channel import ManagerLink, Unasked, first_of, serve_managers
from terminals.control.descriptors import scarce
from terminals.protocol.messages import CloseCode, ErrorCode
from terminals.worker.connection import RETURN_WINDOW, Connection, Server

log = logging.getLogger("terminals.worker")

LEAVE_SECONDS = 3.0


class Retired(Exception):
    """This process was told to stop for good."""


async def run_worker(socket_path: str, *, generation: str, build: str, token: bytes) -> None:
    """Serve the connections that the manager passes, until told to stop.

    When the manager goes away, clients are asked to come back, and the next manager is waited for.

    Raises:
        ControlError: no manager at ``socket_path``, or it refuses this worker.
    """
    await serve_managers(lambda stop: _serve(socket_path, stop, generation, build, token), log)


async def _serve(socket_path: str, stop: asyncio.Event, generation: str, build: str, token: bytes) -> None:
    """Serve one manager until it has gone away, or ``stop`` is set."""
    background, troubles = Background(log), Troubles(log)

    def packet(packet: Unasked, fds: list[int]) -> None:
        match packet:
            case packets.Conn():
                if not fds or scarce(fds[0]):
                    # Those who are here need what is left.
                    troubles.say("connections", "one is refused: no more files can be open")
                    link.send(packets.Closed())
                else:
                    conn = socket.socket(fileno=fds.pop())
                    background.start(adopt(server, packet, conn), "an adoption")
            case packets.Quit():
                stop.set()
            case packets.Revoked(users=users):
                server.access.revoke(users)
                for known in list(server.connections):
                    known.check()
            case _:
                if connection := server.viewers.get(packet.handle):
                    command(connection, packet)
        for fd in fds:
            os.close(fd)

    def welcomed(welcome: Welcome) -> None:
        server.access = Access(token, welcome.front)
        server.heartbeat = welcome.front.heartbeat

    link = ManagerLink(packet, lambda: server.go_on(), welcomed)
    server = Server(link, Access(token, Front()), generation, build)
    await link.connect(socket_path, role="worker", generation=generation, build=build)
    log.info("serving for generation %s, build %s", generation, build)
    await first_of(stop, link.closed)
    await leave(server)
    link.close()


def command(connection: Connection, order: packets.Order) -> None:
    """Carry out what the manager says about one attachment."""
    match order:
        case packets.Moving(retry_after=retry_after):
            connection.restart(retry_after)
        case packets.TakenOver(handle=handle):
            text = "another client has taken this session over"
            connection.drop(handle, CloseCode.TAKEN_OVER, ErrorCode.TAKEN_OVER, text)
        case packets.Refuse(handle=handle, message=message):
            connection.drop(handle, CloseCode.POLICY_VIOLATION, ErrorCode.BAD_MESSAGE, message)
        case packets.Recording(handle=handle, state=state):
            connection.recorded(handle, state)
        case packets.Superseded() | packets.Sever():
            connection.abort()
        case packets.Offer() | packets.Withdraw():
            connection.offer(order)


async def adopt(server: Server, message: packets.Conn, conn: socket.socket) -> None:
    """Take over an accepted connection."""
    conn.setblocking(False)
    try:
        await asyncio.get_running_loop().connect_accepted_socket(lambda: Connection(server, message), conn)
    except OSError:
        conn.close()
        server.link.send(packets.Closed())


async def leave(server: Server) -> None:
    """Ask every client to come back, and wait until they have gone."""
    for connection in list(server.connections):
        connection.restart(RETURN_WINDOW)
    end = asyncio.get_running_loop().time() + LEAVE_SECONDS
    while server.connections and asyncio.get_running_loop().time() < end:  # noqa: ASYNC110 - bounded
        await asyncio.sleep(0.02)
    for connection in list(server.connections):
        connection.abort()
