"""Recordings, for those whose sessions they are of, and for operators."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web

from terminals.access import Identity
from terminals.control.answers import RecordingInfo, SessionInfo
from terminals.control.framing import pack
from terminals.web.backend import Backend, NoSuchRecording
from terminals.web.visitors import Refused

log = logging.getLogger("terminals.web")

CHUNK: Final = 1 << 18
"""Bytes that are read of a file at a time."""


class Recordings:
    """Handlers. ``session(request, id)`` is a session of the visitor's, whom ``who(request)`` tells."""

    def __init__(
        self,
        backend: Backend,
        session: Callable[[web.Request, str], Awaitable[SessionInfo]],
        who: Callable[[web.Request], Identity],
    ) -> None:
        self._backend = backend
        self._session = session
        self._who = who

    async def begin(self, request: web.Request) -> web.Response:
        """Have a session recorded from now on."""
        return await self._record(request, on=True)

    async def stop(self, request: web.Request) -> web.Response:
        """... and not any more."""
        return await self._record(request, on=False)

    async def _record(self, request: web.Request, *, on: bool) -> web.Response:
        session = await self._session(request, request.match_info["id"])
        await self._backend.record(session.id, on=on)
        return web.json_response({"session": session.id, "recorded": on})

    async def all(self, request: web.Request) -> web.Response:
        """The recordings of the visitor's sessions; to an operator, everybody's."""
        body = pack({"recordings": await self._open_to(self._who(request))})
        return web.Response(body=body, content_type="application/json", charset="utf-8")

    async def read(self, request: web.Request) -> web.StreamResponse:
        """One of them, as a file."""
        found = await self._one(request)
        fd, size = await self._backend.open_recording(found.id)
        try:
            response = web.StreamResponse(
                headers={
                    "Content-Type": "application/x-asciicast",
                    "Content-Disposition": f'attachment; filename="{found.session}.cast"',
                }
            )
            response.content_length = size
            await response.prepare(request)
            if request.method != "HEAD":
                # Whoever goes away meanwhile is no trouble of ours.
                with contextlib.suppress(ConnectionError):
                    await _send(response, fd, size)
        finally:
            os.close(fd)
        return response

    async def remove(self, request: web.Request) -> web.Response:
        """Remove one of them that is over. One that had to be made is not its owner's to remove."""
        who, found = self._who(request), await self._one(request)
        if found.required and who.role != "operator":
            raise Refused(403, "a recording that had to be made is removed by operators only")
        await self._backend.remove_recording(found.id)
        log.info(
            "the recording %s of %s is removed by %s", found.id, found.session, who.user or "an operator"
        )
        return web.json_response({"removed": found.id})

    async def _one(self, request: web.Request) -> RecordingInfo:
        name = request.match_info["id"]
        for info in await self._open_to(self._who(request)):
            if info.id == name:
                return info
        raise NoSuchRecording(f"no recording {name!r}")

    async def _open_to(self, who: Identity) -> list[RecordingInfo]:
        return [
            info
            for info in await self._backend.recordings()
            if (who.role == "operator" or info.user == who.user) and who.session in (None, info.session)
        ]


async def _send(response: web.StreamResponse, fd: int, size: int) -> None:
    at = 0
    while at < size:
        # A disk may be slow, and others wait here for their answers.
        data = await asyncio.to_thread(os.pread, fd, min(CHUNK, size - at), at)
        if not data:
            raise ConnectionResetError("the file has become shorter")
        at += len(data)
        await response.write(data)
    await response.write_eof()
