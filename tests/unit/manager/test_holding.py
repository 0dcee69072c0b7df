"""The session manager's end of the connection to the holder, with a holder that says what it is told to."""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path
from typing import Any

from terminals.manager.holding import HolderLink

ABOUT = {"version": 1, "number": 2, "build": "b", "pid": 1}


async def answer(listener: socket.socket, *packets: dict[str, Any]) -> socket.socket:
    """Say it all within one turn of the loop, so that the other end reads it within one."""
    loop = asyncio.get_running_loop()
    sock, _ = await loop.sock_accept(listener)
    hello = json.loads(await loop.sock_recv(sock, 1 << 16))
    for packet in ({"type": "reply", "req": hello["req"], **ABOUT}, *packets):
        sock.send(json.dumps(packet).encode())
    return sock


async def taken_over(path: Path) -> tuple[dict[str, Any], list[tuple[str, int]]]:
    told: list[tuple[str, int]] = []
    link = HolderLink(lambda *end: told.append(end), lambda: None, lambda: None)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK) as listener:
        listener.bind(str(path))
        listener.listen()
        holder = asyncio.create_task(
            answer(
                listener,
                {"type": "item", "key": "session/a", "fields": {"x": 1}, "pid": 7, "status": None},
                {"type": "end"},
                {"type": "exited", "key": "session/a", "status": 3},
                {"type": "exited", "key": "session/b", "status": 4},
            )
        )
        items = await link.take_over(str(path))
        (await holder).close()
        link.close()
    return items, told


def test_an_end_that_is_told_before_anybody_knows_the_shell_is_not_lost(short_path):
    items, told = asyncio.run(asyncio.wait_for(taken_over(short_path / "holder.sock"), 60))
    assert items["session/a"].status == 3
    assert told == [("session/b", 4)]
