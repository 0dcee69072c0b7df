"""Files on their way into sessions' folders: what is half there, and who may begin another one.

What is half there the holder keeps, with its descriptors, so that it outlives this process.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import msgspec

from terminals.background import Background
from terminals.control import packets
from terminals.control.answers import FileOpened
from terminals.control.descriptors import scarce
from terminals.control.framing import BadPacket, reader
from terminals.manager.filechildren import Children
from terminals.manager.filepackets import Job, UploadRecord
from terminals.manager.filerules import FileRules, safe_name
from terminals.manager.holding import HolderLink, Item
from terminals.manager.peers import Peer
from terminals.manager.session import Session
from terminals.protocol.transfer import TransferError, TransferFailed

log = logging.getLogger("terminals.manager")

KEPT_SECONDS: Final = 86400.0
"""So long half an upload is kept that nobody comes back for, and the name of one that is there."""
KEPT_EACH: Final = 32
"""Uploads of one user that are kept; the one that was seen longest ago goes first."""
PREFIX: Final = "file/"
"""Of their keys at the holder."""
_read_record: Callable[[bytes], UploadRecord] = reader(UploadRecord)


@dataclass(slots=True, eq=False)
class Upload:
    """One of them. ``fds``: of its folder and its part file; none before it is open, and once it is done."""

    record: UploadRecord
    fds: list[int] = field(default_factory=list)
    peer: Peer | None = None
    handle: int = 0
    """Who has asked for it last."""
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def key(self) -> str:
        """At the holder."""
        return f"{PREFIX}{self.record.session}/{self.record.transfer}"

    @property
    def served(self) -> bool:
        """Whether its client is there, as far as is known."""
        peer = self.peer
        return peer is not None and peer.connected and peer.handles.get(self.handle) == self.record.session

    def close(self) -> None:
        """Close its descriptors; the holder has its own."""
        while self.fds:
            os.close(self.fds.pop())


class Uploads:
    """Those of all sessions. ``session(id)`` is one."""

    def __init__(
        self, link: HolderLink, children: Children, session: Callable[[str], Session | None]
    ) -> None:
        self._link = link
        self._children = children
        self._session = session
        self._table: dict[tuple[str, str], Upload] = {}
        """By session and transfer, the one that was seen longest ago first."""
        self._background = Background(log)

    def restore(self, items: dict[str, Item]) -> None:
        """Go on with what the holder has; takes it out of ``items``."""
        for key in [key for key in items if key.startswith(PREFIX)]:
            item = items.pop(key)
            try:
                record = _read_record(bytes(item.fields["upload"]))
            except (BadPacket, KeyError) as error:
                log.warning("%s is forgotten: %s", key, error)
                self._link.drop(key)
                item.close()
                continue
            upload = Upload(record)
            if record.done is None:
                upload.fds, item.fds = item.fds, []
            item.close()
            self._table[record.session, record.transfer] = upload

    def close(self) -> None:
        """Let go of everything; it stays with the holder."""
        for upload in self._table.values():
            upload.close()

    def look(self) -> None:
        """Let go of what nobody comes back for."""
        now = time.time()
        for upload in list(self._table.values()):
            session = self._session(upload.record.session)
            if session is None or not session.live:
                self._forget(upload)
            elif upload.served:
                self._seen(upload)
            elif now - upload.record.seen > KEPT_SECONDS:
                self._forget(upload)

    async def open(
        self, session: Session, rules: FileRules, peer: Peer, packet: packets.OpenUpload
    ) -> tuple[FileOpened, int | None]:
        """Where a file goes, or what it is called, if it is there already. The descriptor stays ours.

        Raises:
            TransferFailed: not this file, not now, or not there.
        """
        if not rules.upload:
            raise TransferFailed(TransferError.FORBIDDEN, "files cannot be uploaded here")
        check_size(rules, packet.bytes)
        key, wanted = (session.id, packet.transfer), safe_name(packet.name)
        upload = self._table.get(key)
        if upload is None:
            upload = self._table[key] = self._begin(session, rules, packet, wanted)
        elif (upload.record.name, upload.record.bytes) != (wanted, packet.bytes):
            raise TransferFailed(TransferError.CHANGED, "it is not the file that was begun with")
        upload.peer, upload.handle = peer, packet.handle
        async with upload.lock:
            if upload.record.done is None and len(upload.fds) != 2:
                upload.close()  # one may have got lost on its way from the holder
                await self._open_part(session, rules, upload)
            if self._table.get(key) is not upload:
                raise TransferFailed(TransferError.GONE, "it was given up")
            self._seen(upload)
            done = upload.record.done
            return FileOpened(name=done), upload.fds[1] if done is None else None

    def _begin(self, session: Session, rules: FileRules, packet: packets.OpenUpload, name: str) -> Upload:
        owner = session.user or session.id
        mine = [upload for upload in self._table.values() if upload.record.user == owner]
        if sum(upload.served and upload.record.done is None for upload in mine) >= rules.at_once:
            text = f"{rules.at_once} uploads are under way, the configured most for one user"
            raise TransferFailed(TransferError.TOO_MANY, text)
        idle = [upload for upload in mine if not upload.served or upload.record.done is not None]
        for old in idle[: max(0, len(mine) + 1 - KEPT_EACH)]:
            self._forget(old)
        record = UploadRecord(
            session=session.id,
            profile=session.profile,
            transfer=packet.transfer,
            user=owner,
            name=name,
            bytes=packet.bytes,
            part=f".upload-{packet.transfer}.part",
            seen=time.time(),
        )
        return Upload(record)

    async def _open_part(self, session: Session, rules: FileRules, upload: Upload) -> None:
        assert session.shell is not None
        record = upload.record
        job = Job(kind="open", part=record.part, folder=rules.folder, pid=session.shell.pid)
        try:
            _, fds = await self._children.run(session.profile, session.id, job)
            if len(fds) != 2 or scarce(max(fds)):
                for fd in fds:
                    os.close(fd)
                raise TransferFailed(TransferError.GONE, "no more files can be open")
        except TransferFailed:
            self._table.pop((record.session, record.transfer), None)
            raise
        upload.fds = fds
        self._keep(upload)

    async def finish(self, session: Session, transfer: str) -> str:
        """All of it is written: it gets its name, which is given back. Done again, it has it.

        Raises:
            TransferFailed: it was given up, or cannot have one.
        """
        upload = self._table.get((session.id, transfer))
        if upload is None:
            raise TransferFailed(TransferError.GONE, "it was given up")
        async with upload.lock:
            record = upload.record
            if record.done is not None:
                return record.done
            if len(upload.fds) != 2:
                raise TransferFailed(TransferError.GONE, "it was given up")
            job = Job(kind="finish", part=record.part, name=record.name)
            name, _ = await self._children.run(session.profile, session.id, job, tuple(upload.fds))
            upload.record = msgspec.structs.replace(record, done=name, seen=time.time())
            self._keep(upload)
            upload.close()
            log.info("%s: a file of %d bytes was uploaded", session.id, record.bytes)
            return name

    def cancel(self, session: Session, transfer: str) -> None:
        """Keep nothing of one that is not done."""
        upload = self._table.get((session.id, transfer))
        if upload is not None and upload.record.done is None:
            self._forget(upload)

    def _seen(self, upload: Upload) -> None:
        """Its client is there; the holder hears of it now and then."""
        key, now = (upload.record.session, upload.record.transfer), time.time()
        if now - upload.record.seen > KEPT_SECONDS / 100:
            upload.record = msgspec.structs.replace(upload.record, seen=now)
            self._keep(upload)
            self._table[key] = self._table.pop(key)

    def _keep(self, upload: Upload) -> None:
        fields = {"upload": upload.record}
        if upload.record.done is None:
            self._link.put(upload.key, fields, tuple(upload.fds))
            return
        # In the place of its descriptors: of a file that is removed later, the disk is wanted back.
        nothing = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._link.put(upload.key, fields, (nothing,))
        finally:
            os.close(nothing)

    def _forget(self, upload: Upload) -> None:
        """Keep nothing of it, neither here nor in its folder."""
        self._table.pop((upload.record.session, upload.record.transfer), None)
        self._background.start(self._remove(upload), "the end of an upload")

    async def _remove(self, upload: Upload) -> None:
        async with upload.lock:  # whoever opens or finishes it comes to an end first
            self._link.drop(upload.key)
            if len(upload.fds) != 2:
                return
            record = upload.record
            job = Job(kind="remove", part=record.part)
            try:
                await self._children.run(record.profile, record.session, job, tuple(upload.fds))
            except TransferFailed as failure:
                log.warning("%s: part of a file is left in its folder: %s", upload.key, failure)
            finally:
                upload.close()


def check_size(rules: FileRules, size: int) -> None:
    """See to it that a file is not larger than is allowed.

    Raises:
        TransferFailed: it is.
    """
    if size > rules.max_bytes:
        text = f"a file may have {rules.max_bytes} bytes here, and this one has {size}"
        raise TransferFailed(TransferError.TOO_LARGE, text)
