"""No connection of a revoked ticket is served, whenever the worker hears of it."""

from __future__ import annotations

import asyncio
import contextlib
import socket

import pytest
from terminals import tickets
from terminals.access import Access
from terminals.control import framing, packets
from terminals.control.answers import Front, Welcome
from terminals.protocol.server import Hello
from terminals.tickets import Ticket
from terminals.worker.connection import Connection, Server
from terminals.worker.main import run_worker

from tests.support.worker import REQUEST, Manager, Wire, text

KEY = b"secret"


@pytest.mark.parametrize(("born", "served"), [(99, False), (100, True)])
def test_a_connection_that_is_handed_over_is_looked_at_again(born, served):
    """Its worker may not have known when it passed it on."""

    async def play() -> None:
        manager, wire = Manager(), Wire()
        access = Access(KEY, Front())
        access.revoke({"ada": 100})
        server = Server(manager, access, "g1", "b1")  # type: ignore[arg-type]
        conn = packets.Conn(
            listener="system",
            address="10.0.0.1",
            hello=Hello("me", "ada", version=3, life=60, born=born),
            attach=packets.ClientAttach(channel=0),
        )
        connection = Connection(server, conn)
        connection.connection_made(wire)
        asked = [packet for packet in manager.sent if isinstance(packet, packets.Attach)]
        assert len(asked) == served
        assert (b"the ticket was revoked" in b"".join(wire.written)) is not served
        connection.connection_lost(None)

    asyncio.run(play())


def listening(path):
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    sock.bind(path)
    sock.listen(1)
    return sock


@pytest.mark.parametrize("users", [1, 2_000], ids=["one", "more than a packet holds"])
def test_what_is_said_right_after_the_welcome_holds_for_the_first_connection(tmp_path, users):
    """A manager writes all of it at once, and so it is read."""
    revoked = {"ada": 1 << 52} | {f"{'u' * 58}{number:06}": 1 << 52 for number in range(1, users)}
    ticket = tickets.issue(KEY, Ticket("ada"))

    async def play() -> None:
        path = str(tmp_path / "manager.sock")
        with listening(path) as door:
            worker = asyncio.create_task(run_worker(path, generation="g1", build="b1", token=KEY))
            loop = asyncio.get_running_loop()
            door.setblocking(False)
            await asyncio.sleep(0)  # it connects, and says hello
            peer, _ = door.accept()
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
            hello = packets.read_request(framing.receive(peer)[0])
            assert isinstance(hello, packets.Hello)
            ours, theirs = socket.socketpair()
            for data in framing.parts(packets.reply(hello.req, Welcome(protocol=3))):
                framing.send(peer, data)
            for some in packets.revoked(revoked):
                framing.send(peer, framing.encode(some))
            conn = packets.Conn(listener="system", address="10.0.0.1")
            framing.send(peer, framing.encode(conn), (theirs.fileno(),))
            theirs.close()
            ours.setblocking(False)
            with ours, peer:
                await loop.sock_sendall(
                    ours, REQUEST + text("hello", versions=[3], client="me", ticket=ticket)
                )
                said = b""
                while b"revoked" not in said and b"welcome" not in said:
                    said += await asyncio.wait_for(loop.sock_recv(ours, 1 << 16), 60)
                assert b"the ticket was revoked" in said
                framing.send(peer, framing.encode(packets.Quit()))
                with contextlib.suppress(ConnectionError):
                    await worker

    asyncio.run(play())
