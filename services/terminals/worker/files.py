"""The files of one connection: read and written in threads, so that a slow disk keeps no terminal waiting.

The session manager gives the descriptors; no byte of a file passes through it.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import logging
import os
import stat
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

from terminals.background import Background
from terminals.control import packets
from terminals.control.answers import FileOpened, read_file_opened
from terminals.control.asking import ControlError
from terminals.control.channel import ManagerLink
from terminals.protocol import server_transfers as transfer
from terminals.protocol.server_transfers import ServerTransfers
from terminals.protocol.transfer import PIECE, TransferError, TransferFailed

log = logging.getLogger("terminals.worker")

THREADS: Final = 4
"""That read and write files: where all of them hang at a disk, other transfers wait, and terminals do not."""
BLOCK: Final = 1 << 20
"""Bytes that are hashed at a time."""
PROGRESS_SECONDS: Final = 0.2
_FULL: Final = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_POOL: Final = ThreadPoolExecutor(THREADS, "files")

T = TypeVar("T")


class _Gone(Exception):
    """The transfer is over, as far as this connection goes."""


class _Job:
    """One transfer on this connection."""

    def __init__(self, item: transfer.OpenUpload | transfer.OpenDownload) -> None:
        self.channel = item.channel
        self.handle = item.handle
        self.transfer = item.transfer
        self.inbox: asyncio.Queue[transfer.Piece | transfer.Acked | transfer.Finish | None] = asyncio.Queue()
        """What is to be done next; ``None``: look again."""
        self.stopped = False
        """Nobody listens any more; whoever works for it, in a thread perhaps, is to end."""
        self.fds: list[int] = []

    def stop(self) -> None:
        self.stopped = True
        self.inbox.put_nowait(None)


class Files:
    """Carries out what a :class:`~terminals.protocol.server_transfers.ServerTransfers` wants.

    ``carry_out()`` sends what that has to say; ``writable()`` says whether the client takes more.
    """

    def __init__(
        self,
        side: ServerTransfers,
        link: ManagerLink,
        carry_out: Callable[[], None],
        writable: Callable[[], bool],
    ) -> None:
        self._side = side
        self._link = link
        self._carry_out = carry_out
        self._writable = writable
        self._background = Background(log)
        self._jobs: dict[int, _Job] = {}
        """By channel."""
        self._early: dict[int, list[packets.Offer | packets.Withdraw]] = {}
        """Offers that have overtaken the answer to their attach, by handle."""

    def do(self, item: transfer.ServerItem) -> None:
        """Carry one thing out."""
        match item:
            case transfer.OpenUpload():
                self._begin(item, self._upload)
            case transfer.OpenDownload():
                self._begin(item, self._download)
            case transfer.Cancel(handle, name, channel):
                if channel is not None and (job := self._jobs.pop(channel, None)) is not None:
                    job.stop()
                self._link.send(packets.CancelTransfer(handle=handle, transfer=name))
            case transfer.Piece() | transfer.Acked() | transfer.Finish():
                if (job := self._jobs.get(item.channel)) is not None:
                    job.inbox.put_nowait(item)

    def offer(self, order: packets.Offer | packets.Withdraw, channel: int | None) -> None:
        """Tell whoever is attached on a channel, or will be, that there is a file to download, or is not."""
        if channel is None:
            self._early.setdefault(order.handle, []).append(order)
        elif isinstance(order, packets.Offer):
            self._side.offer(channel, order.transfer, order.name, order.bytes)
        else:
            self._side.withdraw(channel, order.transfer)

    def attached(self, handle: int, channel: int) -> None:
        """An attach is answered."""
        for order in self._early.pop(handle, ()):
            self.offer(order, channel)

    def go_on(self) -> None:
        """The client takes more."""
        for job in self._jobs.values():
            job.inbox.put_nowait(None)

    def detached(self, handle: int) -> None:
        """An attachment is over, and with it its transfers on this connection."""
        self._early.pop(handle, None)
        for job in [job for job in self._jobs.values() if job.handle == handle]:
            self._fail(job, TransferError.GONE, "its terminal is gone")

    def close(self) -> None:
        """The connection is gone."""
        for job in self._jobs.values():
            job.stop()
        self._jobs.clear()

    # --- a transfer -------------------------------------------------------------------------

    def _begin(
        self,
        item: transfer.OpenUpload | transfer.OpenDownload,
        serve: Callable[[_Job, Any], Coroutine[Any, Any, None]],
    ) -> None:
        job = self._jobs[item.channel] = _Job(item)
        self._background.start(self._serve(job, serve(job, item)), f"a transfer of {item.handle}")

    async def _serve(self, job: _Job, work: Coroutine[Any, Any, None]) -> None:
        """Have it done, and say what has become of it, unless nobody listens any more."""
        try:
            await work
        except _Gone:
            pass
        except TransferFailed as failure:
            self._fail(job, failure.code, failure.message)
        except OSError as error:
            code = TransferError.NO_ROOM if error.errno in _FULL else TransferError.IO
            self._give_up(job, code, f"the server's disk: {error.strerror}")
        finally:
            for fd in job.fds:
                os.close(fd)

    def _give_up(self, job: _Job, code: str, message: str) -> None:
        """A transfer can never come to anything: nothing is kept of it."""
        if not job.stopped:
            cancel = packets.CancelTransfer(handle=job.handle, transfer=job.transfer, message=message)
            self._link.send(cancel)
        self._fail(job, code, message)

    def _fail(self, job: _Job, code: str, message: str) -> None:
        if self._end(job):
            self._side.failed(job.channel, code, message)
            self._carry_out()

    def _finished(self, job: _Job, name: str) -> None:
        if self._end(job):
            self._side.finished(job.channel, name)
            self._carry_out()

    def _end(self, job: _Job) -> bool:
        """Whether anybody has listened until now."""
        listened = not job.stopped
        if listened:
            job.stop()
            del self._jobs[job.channel]
        return listened

    async def _ask(self, job: _Job, request: packets.Request) -> FileOpened:
        """Ask the session manager; what it opens is the job's.

        Raises:
            TransferFailed: it refuses.
        """
        try:
            answer, fds = await self._link.post(request, read_file_opened)
        except ControlError as error:
            if self._link.closed.is_set():
                # The next one knows all that there was, and the client is asked to come back to it.
                raise _Gone from None
            raise TransferFailed(TransferError.GONE, str(error)) from None
        job.fds += fds
        if answer.code:
            raise TransferFailed(answer.code, answer.message)
        return answer

    async def _thread(self, job: _Job, what: Callable[..., T], *arguments: object) -> T:
        result = await asyncio.get_running_loop().run_in_executor(_POOL, what, *arguments)
        if job.stopped:
            raise _Gone
        return result

    async def _finish(self, job: _Job) -> None:
        finish = packets.FinishTransfer(handle=job.handle, transfer=job.transfer)
        self._finished(job, (await self._ask(job, finish)).name or "")

    # --- uploads ----------------------------------------------------------------------------

    async def _upload(self, job: _Job, item: transfer.OpenUpload) -> None:
        ask = packets.OpenUpload(handle=item.handle, transfer=item.transfer, name=item.name, bytes=item.bytes)
        opened = await self._ask(job, ask)
        if opened.name is not None:  # its client has not heard of it
            self._finished(job, opened.name)
            return
        fd = _descriptor(job)
        offset = min(await self._thread(job, _size, fd), item.bytes)
        self._side.opened(job.channel, offset)
        self._carry_out()
        while True:
            pieces, other = await _next(job)
            if pieces:
                offset = await self._thread(job, _write, fd, pieces, offset)
                self._side.written(job.channel, offset)
                self._carry_out()
            if job.stopped:
                raise _Gone
            if isinstance(other, transfer.Finish):
                # Of what is in the file, whoever has written it.
                if await self._thread(job, _digest_of, job, fd, item.bytes) != other.sha256:
                    text = "what has arrived is not what was sent; nothing is kept of it"
                    self._give_up(job, TransferError.CHECKSUM, text)
                else:
                    await self._finish(job)
                return

    # --- downloads --------------------------------------------------------------------------

    async def _download(self, job: _Job, item: transfer.OpenDownload) -> None:
        opened = await self._ask(job, packets.OpenDownload(handle=item.handle, transfer=item.transfer))
        fd, size, offset = _descriptor(job), opened.bytes, item.offset
        if offset > size or size != await self._thread(job, _size, fd):
            self._give_up(job, TransferError.CHANGED, "the file has changed")
            return
        digest, told, all_sent = hashlib.sha256(), 0.0, False
        await self._thread(job, _hash, job, digest, fd, offset)
        self._side.opened(job.channel, offset, size)
        self._carry_out()
        while True:
            while self._writable() and (length := min(PIECE, self._side.room(job.channel))):
                data = await self._thread(job, _read, fd, offset, length, digest)
                if len(data) < length:
                    self._give_up(job, TransferError.CHANGED, "the file has become shorter")
                    return
                offset += length
                self._side.read(job.channel, data)
                self._carry_out()
            if offset == size and not all_sent:
                all_sent = True
                self._side.all_sent(job.channel, digest.hexdigest())
                self._carry_out()
            event = await job.inbox.get()
            if job.stopped:
                raise _Gone
            if isinstance(event, transfer.Finish):
                await self._finish(job)
                return
            if isinstance(event, transfer.Acked) and time.monotonic() >= told + PROGRESS_SECONDS:
                told = time.monotonic()
                progress = packets.DownloadProgress(handle=job.handle, transfer=job.transfer, bytes=event.seq)
                self._link.send(progress)


async def _next(job: _Job) -> tuple[bytes, transfer.Acked | transfer.Finish | None]:
    """What is to be written, all that there is at once, and what follows it."""
    pieces: list[bytes] = []
    event = await job.inbox.get()
    while isinstance(event, transfer.Piece):
        pieces.append(event.data)
        if job.inbox.empty():
            return b"".join(pieces), None
        event = job.inbox.get_nowait()
    return b"".join(pieces), event


def _descriptor(job: _Job) -> int:
    if not job.fds:  # it got lost on its way
        raise TransferFailed(TransferError.GONE, "no more files can be open")
    return job.fds[0]


# --- in threads -----------------------------------------------------------------------------


def _size(fd: int) -> int:
    """Of a file; anything else has none, and might keep a thread for ever."""
    found = os.fstat(fd)
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "not a file")
    return found.st_size


def _write(fd: int, data: bytes, offset: int) -> int:
    """Write all of it; gives where it ends."""
    view = memoryview(data)
    while view:
        count = os.pwrite(fd, view, offset)
        offset += count
        view = view[count:]
    return offset


def _read(fd: int, offset: int, length: int, digest: Any) -> bytes:
    """So much of a file, or what there is."""
    data = b""
    while len(data) < length and (more := os.pread(fd, length - len(data), offset + len(data))):
        data += more
    digest.update(data)
    return data


def _hash(job: _Job, digest: Any, fd: int, end: int) -> None:
    offset = 0
    while offset < end and not job.stopped and (data := os.pread(fd, min(BLOCK, end - offset), offset)):
        digest.update(data)
        offset += len(data)


def _digest_of(job: _Job, fd: int, size: int) -> str:
    """Of what the disk has."""
    os.fsync(fd)
    digest = hashlib.sha256()
    _hash(job, digest, fd, size)
    return digest.hexdigest()
