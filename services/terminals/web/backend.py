"""What the HTTP service asks of the session manager."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Protocol, TypeVar

import msgspec

from terminals.control import packets
from terminals.control.answers import (
    Done,
    Family,
    LinkInfo,
    Links,
    Metrics,
    OpenedRecording,
    RecordingInfo,
    Recordings,
    Revoked,
    SessionInfo,
    Sessions,
    Status,
)
from terminals.control.asking import ControlError, ask, ask_for_file

if TYPE_CHECKING:
    from terminals.cluster.others import Others

T = TypeVar("T", bound=msgspec.Struct)
R = TypeVar("R")

ANSWER_SECONDS = 5.0


class BackendError(Exception):
    """The session manager refused. The text is one line."""


class BackendUnavailable(BackendError):
    """The session manager is not there, or does not answer."""


class NoSuchSession(BackendError):
    """There is no session of that id."""


class NoSuchRecording(BackendError):
    """There is no recording of that id."""


class Backend(Protocol):
    """The session manager, as the HTTP service sees it."""

    async def status(self) -> Status:
        """Manager, generations, session counts and listener ports.

        Raises:
            BackendUnavailable: it does not answer.
        """

    async def sessions(self) -> list[SessionInfo]:
        """Every session, the oldest first.

        Raises:
            BackendUnavailable: it does not answer.
        """

    async def elsewhere(self) -> list[SessionInfo]:
        """The sessions of other hosts that answer."""

    async def metrics(self) -> list[Family]:
        """Metric families.

        Raises:
            BackendUnavailable: it does not answer.
        """

    async def rename(self, session: str, title: str, host: str = "") -> None:
        """Give a session, by its canonical id, a title; ``host``: the other one that it is at.

        Raises:
            BackendError: the title is too long or cannot be printed, or the host refuses.
            NoSuchSession: there is none of that id.
            BackendUnavailable: it does not answer.
        """

    async def revoke(self, user: str) -> int:
        """Have all tickets of a user be good for nothing that were issued before the time that is returned.

        Raises:
            BackendUnavailable: it does not answer, or cannot keep it.
        """

    async def kill(self, session: str, host: str = "") -> None:
        """Hang up the shell of a session, by its canonical id; ``host``: the other one that it is at.

        Raises:
            BackendError: the host refuses.
            NoSuchSession: there is none of that id.
            BackendUnavailable: it does not answer.
        """

    async def link(self, session: str, by: str, *, read_only: bool, seconds: int) -> LinkInfo:
        """Note a link to a session.

        Raises:
            BackendError: for too long, too many of them, or the session has ended.
            BackendUnavailable: it does not answer, or cannot keep it.
        """

    async def links(self) -> list[LinkInfo]:
        """The links that are good.

        Raises:
            BackendUnavailable: it does not answer.
        """

    async def unlink(self, name: str) -> None:
        """Have a link be good for nothing.

        Raises:
            BackendUnavailable: it does not answer, or cannot keep it.
        """

    async def record(self, session: str, *, on: bool) -> None:
        """Have a session recorded, by its canonical id, or not any more.

        Raises:
            BackendError: it is so already, or has to be recorded, or would not be.
            NoSuchSession: there is none of that id.
            BackendUnavailable: it does not answer.
        """

    async def recordings(self) -> list[RecordingInfo]:
        """Every recording, the oldest first.

        Raises:
            BackendUnavailable: it does not answer.
        """

    async def open_recording(self, name: str) -> tuple[int, int]:
        """A descriptor of a recording's file, and how many bytes of that are whole.

        Raises:
            NoSuchRecording: there is none of that id.
            BackendUnavailable: it does not answer, or cannot open it.
        """

    async def remove_recording(self, name: str) -> None:
        """Remove a recording that is over.

        Raises:
            BackendError: it is not.
            NoSuchRecording: there is none of that id.
            BackendUnavailable: it does not answer, or cannot remove it.
        """


@contextlib.contextmanager
def _refused(*texts: str, as_kind: type[BackendError] = BackendError) -> Iterator[None]:
    """Tell what the manager refuses, by words of its answer, from an answer that it cannot give."""
    try:
        yield
    except BackendUnavailable as error:
        if not any(text in str(error) for text in texts):
            raise
        raise as_kind(str(error)) from None


class ManagerBackend:
    """A :class:`Backend` over the manager's control socket, one short connection a question."""

    def __init__(self, path: str, *, hosts: bool = False) -> None:
        """``path`` is the control socket; ``hosts``: whether there are others."""
        self._path = path
        self._others: Others | None = None
        if hosts:
            from terminals.cluster.others import Others  # with a client's half of aiohttp

            self._others = Others(path)

    async def status(self) -> Status:
        """See :class:`Backend`."""
        return await self._ask(packets.Status(), Status)

    async def sessions(self) -> list[SessionInfo]:
        """See :class:`Backend`."""
        return (await self._ask(packets.Sessions(), Sessions)).items

    async def elsewhere(self) -> list[SessionInfo]:
        """See :class:`Backend`."""
        return [] if self._others is None else await self._others.sessions()

    async def metrics(self) -> list[Family]:
        """See :class:`Backend`."""
        return (await self._ask(packets.Metrics(), Metrics)).items

    async def revoke(self, user: str) -> int:
        """See :class:`Backend`."""
        return (await self._ask(packets.Revoke(user=user), Revoked)).before

    async def kill(self, session: str, host: str = "") -> None:
        """See :class:`Backend`."""
        request = packets.Kill(session=session)
        if host:
            await self._there(host, request)
            return
        with _refused("no session", as_kind=NoSuchSession):
            await self._ask(request, Done)

    async def rename(self, session: str, title: str, host: str = "") -> None:
        """See :class:`Backend`."""
        request = packets.Rename(session=session, title=title)
        if host:
            await self._there(host, request)
            return
        with _refused("no session", as_kind=NoSuchSession), _refused("a title has"):
            await self._ask(request, Done)

    async def link(self, session: str, by: str, *, read_only: bool, seconds: int) -> LinkInfo:
        """See :class:`Backend`."""
        request = packets.Link(session=session, by=by, read_only=read_only, seconds=seconds)
        with _refused("a link is", "some end by themselves", "has ended"):
            return await self._ask(request, LinkInfo)

    async def links(self) -> list[LinkInfo]:
        """See :class:`Backend`."""
        return (await self._ask(packets.Links(), Links)).items

    async def unlink(self, name: str) -> None:
        """See :class:`Backend`."""
        with _refused("no link"):
            await self._ask(packets.Unlink(id=name), Done)

    async def record(self, session: str, *, on: bool) -> None:
        """See :class:`Backend`."""
        with _refused("no session", as_kind=NoSuchSession), _refused(session):
            await self._ask(packets.RecordSession(session=session, on=on), Done)

    async def recordings(self) -> list[RecordingInfo]:
        """See :class:`Backend`."""
        return (await self._ask(packets.Recordings(), Recordings)).items

    async def open_recording(self, name: str) -> tuple[int, int]:
        """See :class:`Backend`."""
        request = packets.OpenRecording(id=name)
        with _refused("no recording", as_kind=NoSuchRecording):
            opened, fd = await self._in_thread(ask_for_file, request, OpenedRecording)
        return fd, opened.bytes

    async def remove_recording(self, name: str) -> None:
        """See :class:`Backend`."""
        with _refused("no recording", as_kind=NoSuchRecording), _refused("still being recorded"):
            await self._ask(packets.RemoveRecording(id=name), Done)

    async def _there(self, host: str, request: packets.Kill | packets.Rename) -> None:
        from terminals.cluster.others import OthersError

        if self._others is None:
            raise BackendError(f"no host {host}")
        try:
            await self._others.do(host, request)
        except OthersError as error:
            raise BackendError(str(error)) from None

    async def _ask(self, request: packets.Request, kind: type[T]) -> T:
        return await self._in_thread(ask, request, kind)

    async def _in_thread(
        self, how: Callable[..., R], request: packets.Request, kind: type[msgspec.Struct]
    ) -> R:
        # Blocking and in a thread: a list of sessions comes in several packets, and a manager
        # that hangs must not hang the health checks with it.
        try:
            return await asyncio.to_thread(how, self._path, request, kind, timeout=ANSWER_SECONDS)
        except (ControlError, OSError) as error:
            raise BackendUnavailable(str(error)) from None
