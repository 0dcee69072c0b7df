"""What processes of a host ask of the other hosts, by way of its asker."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar
from urllib.parse import quote

import aiohttp
import msgspec
from msgspec.structs import replace
from yarl import URL

from terminals.cluster.news import SOCKET
from terminals.control import framing, packets
from terminals.control.answers import Done, SessionInfo, Sessions
from terminals.control.framing import BadPacket, reader

ANSWER_SECONDS: Final = 3.0
HOSTS: Final = "/hosts"
ASK: Final = "/ask"
Asked = packets.Sessions | packets.Rename | packets.Kill
"""What one host does for another."""
read_asked: Callable[[bytes], Asked] = reader(Asked)

T = TypeVar("T", bound=msgspec.Struct)


class OthersError(Exception):
    """Another host, or the way there, refuses. The text is one line."""


class Others:
    """The other hosts, as processes beside the session manager see them."""

    def __init__(self, control: str) -> None:
        """``control`` is the control socket of the manager here."""
        self._socket = str(Path(control).with_name(SOCKET))

    async def sessions(self) -> list[SessionInfo]:
        """Every session of those hosts that answer, each with its host."""
        try:
            names = (await self._post(HOSTS, b"")).decode().splitlines()
        except OthersError:
            return []  # no others, or nobody to ask them just now
        found = await asyncio.gather(*(self._of(name) for name in names))
        return [entry for entries in found for entry in entries]

    async def do(self, host: str, request: packets.Kill | packets.Rename) -> None:
        """Have a session there ended, or renamed.

        Raises:
            OthersError: it has not been done, as far as is known.
        """
        await self._ask(host, request, Done)

    async def _of(self, host: str) -> list[SessionInfo]:
        try:
            answers = await self._ask(host, packets.Sessions(), Sessions)
        except OthersError:
            return []
        return [replace(entry, host=host) for answer in answers for entry in answer.items]

    async def _ask(self, host: str, request: Asked, kind: type[T]) -> list[T]:
        body = await self._post(f"{ASK}/{quote(host, safe='')}", framing.encode(request))
        read: Callable[[bytes], T] = reader(kind)
        try:
            return [read(line) for line in body.splitlines()]
        except BadPacket as error:
            raise OthersError(f"{host}: {error}") from None

    async def _post(self, path: str, body: bytes) -> bytes:
        connector = aiohttp.UnixConnector(self._socket)
        timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
        try:
            async with (
                aiohttp.ClientSession(connector=connector, timeout=timeout) as session,
                session.post(URL(f"http://hosts{path}", encoded=True), data=body) as response,
            ):
                answer = await response.read()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise OthersError(str(error) or f"no answer within {ANSWER_SECONDS:g} s") from None
        if response.status != 200:
            raise OthersError(answer.decode(errors="replace").strip()[:500])
        return answer
