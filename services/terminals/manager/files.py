"""Files for sessions and from them: who may have which, and who opens them.

No byte of a file comes by here, and no file is opened here: a child with the rights of the session's shell
does that (:mod:`terminals.manager.filechild`), and its descriptors go on to the worker, which writes and
reads. What is half there the holder keeps, with its descriptors, so that it outlives this process.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import hmac
import itertools
import logging
import os
import secrets
import socket
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from importlib.resources import files as resources
from pathlib import Path
from typing import Any, Final

import msgspec

from terminals.background import Background, Troubles
from terminals.configfile import ConfigError
from terminals.control import framing, packets
from terminals.control.answers import FileOpened
from terminals.control.channel import Channel
from terminals.control.descriptors import scarce
from terminals.control.framing import BadPacket
from terminals.manager import filepackets
from terminals.manager.config import ManagerConfig
from terminals.manager.filepackets import Job, UploadRecord
from terminals.manager.filerules import FileRules, safe_name
from terminals.manager.holding import HolderLink, Item
from terminals.manager.peers import Peer
from terminals.manager.session import Attachment, Session
from terminals.manager.shell import plan
from terminals.protocol.transfer import Grant, TransferError, TransferFailed

log = logging.getLogger("terminals.manager")

KEPT_SECONDS: Final = 86400.0
"""So long half an upload is kept that nobody comes back for, and the name of one that is there."""
KEPT_EACH: Final = 32
"""Uploads of one user that are kept; the one that was seen longest ago goes first."""
CHILD_SECONDS: Final = 20.0
CHILDREN: Final = 8
"""At a time."""
OFFERS_EACH: Final = 16
"""Downloads of one session that wait at the same time."""
CONNECTIONS: Final = 256
_UPLOAD: Final = "file/"
_CHILD: Final = "file-child/"
"""Keys at the holder."""
_FULL: Final = {errno.ENOSPC, errno.EDQUOT}
_OfTransfer = (
    packets.OpenDownload | packets.FinishTransfer | packets.CancelTransfer | packets.DownloadProgress
)
_Line = Channel[filepackets.Asked]
_read_record: Callable[[bytes], UploadRecord] = framing.reader(UploadRecord)


@dataclass(slots=True, eq=False)
class Upload:
    """A file on its way into a session's folder. ``fds``: of the folder, and of the part file."""

    record: UploadRecord
    fds: list[int] = field(default_factory=list)
    peer: Peer | None = None
    handle: int = 0
    """Who has asked for it last."""
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def key(self) -> str:
        """At the holder."""
        return f"{_UPLOAD}{self.record.session}/{self.record.transfer}"

    @property
    def served(self) -> bool:
        """Whether its client is there, as far as is known."""
        peer = self.peer
        return peer is not None and peer.connected and peer.handles.get(self.handle) == self.record.session

    def close(self) -> None:
        """Close its descriptors; the holder has its own."""
        while self.fds:
            os.close(self.fds.pop())


@dataclass(slots=True, eq=False)
class Offer:
    """A file that ``terminals send`` has for the client of a session."""

    packet: filepackets.Send
    sender: _Line
    fd: int


@dataclass(slots=True, eq=False)
class _Order:
    """What a child is to do, as soon as it asks."""

    job: Job
    fds: tuple[int, ...]
    done: asyncio.Future[tuple[filepackets.Done, list[int]]]


class Files:
    """The transfers of all sessions. ``typed_by(peer, handle)``: the session that an attachment works in."""

    def __init__(
        self,
        config: ManagerConfig,
        link: HolderLink,
        session: Callable[[str], Session | None],
        typed_by: Callable[[Peer, int], Session | None],
    ) -> None:
        self._config = config
        self._link = link
        self._session = session
        self._typed_by = typed_by
        self._uploads: dict[tuple[str, str], Upload] = {}
        """By session and transfer, the one that was seen longest ago first."""
        self._offers: dict[tuple[str, str], Offer] = {}
        self._orders: dict[str, _Order] = {}
        self._children: dict[str, asyncio.Future[tuple[filepackets.Done, list[int]]]] = {}
        """By key at the holder."""
        self._numbers = itertools.count(1)
        self._free = asyncio.Semaphore(CHILDREN)
        self._source = resources("terminals.manager").joinpath("filechild.py").read_text()
        self._listener: socket.socket | None = None
        self._channels: set[_Line] = set()
        self._working: dict[_Line, _Order] = {}
        """Which child has been told to do what."""
        self._secret = b""
        self._background = Background(log)
        self._troubles = Troubles(log)

    @property
    def path(self) -> Path:
        """The socket to which children and ``terminals send`` come."""
        return self._config.socket.with_name("files.sock")

    def _rules(self, session: Session) -> FileRules:
        profile = self._config.profiles.get(session.profile)
        return FileRules() if profile is None else profile.files

    def grant(self, session: Session, *, watching: bool) -> Grant | None:
        """What a client may do that is about to be attached."""
        return None if watching else self._rules(session).grant()

    def environment(self, profile: str, session: str) -> dict[str, str]:
        """What a shell is to know of it, so that what it starts can send files."""
        if not self._config.profiles[profile].files.download:
            return {}
        return {filepackets.SOCKET: str(self.path), filepackets.KEY: self._key(session)}

    def _key(self, session: str) -> str:
        return hmac.new(self._secret, session.encode(), hashlib.sha256).hexdigest()[:32]

    # --- beginning and end ------------------------------------------------------------------

    def restore(self, items: dict[str, Item]) -> None:
        """Go on with what the holder has; takes it out of ``items``."""
        for key in [key for key in items if key.startswith((_UPLOAD, _CHILD))]:
            item = items.pop(key)
            try:
                if key.startswith(_CHILD) or "upload" not in item.fields:
                    raise BadPacket("left behind")
                upload = Upload(_read_record(bytes(item.fields["upload"])))
            except BadPacket:
                self._link.drop(key)
                item.close()
                continue
            if upload.record.done is None and len(item.fds) == 2:
                upload.fds, item.fds = item.fds, []
            elif upload.record.done is None:
                log.warning("%s: no more files can be open: left with the holder", key)
                continue
            item.close()
            self._uploads[upload.record.session, upload.record.transfer] = upload

    def start(self) -> None:
        """Listen, where a profile allows anything.

        Raises:
            ConfigError: a folder cannot be written.
        """
        profiles = [profile for profile in self._config.profiles.values() if profile.files.on]
        if not profiles:
            return
        path = self.path
        try:
            self._secret = _secret(self._config.state_dir / "files.key")
            path.unlink(missing_ok=True)
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
            sock.bind(str(path))
            if any(profile.user for profile in profiles):
                path.chmod(0o666)
                path.parent.chmod(path.parent.stat().st_mode | 0o011)  # to be passed, not to be read
        except OSError as error:
            raise ConfigError(f"{path}: cannot make the socket for files: {error.strerror}") from None
        sock.listen(64)
        self._listener = sock
        asyncio.get_running_loop().add_reader(sock.fileno(), self._accept)

    def close(self) -> None:
        """Let go of everything; it stays with the holder."""
        if self._listener is not None:
            asyncio.get_running_loop().remove_reader(self._listener.fileno())
            self._listener.close()
        for channel in list(self._channels):
            channel.close()
        for upload in self._uploads.values():
            upload.close()

    def exited(self, key: str) -> None:
        """A process of the holder's has ended."""
        if (future := self._children.get(key)) is not None and not future.done():
            future.set_exception(OSError(errno.ECHILD, "the process that was to open it has ended"))

    def look(self) -> None:
        """Let go of what nobody comes back for."""
        now = time.time()
        for upload in list(self._uploads.values()):
            session = self._session(upload.record.session)
            if upload.served:
                self._seen(upload)
            if session is None or not session.live or now - upload.record.seen > KEPT_SECONDS:
                self._forget(upload)
        for offer in list(self._offers.values()):
            session = self._session(offer.packet.session)
            if session is None or not session.live:
                self._end_offer(offer, filepackets.NotSent(message="the session has ended"))

    # --- what workers ask for ---------------------------------------------------------------

    def request(self, peer: Peer, packet: packets.Files) -> None:
        """A worker asks for something, or tells it."""
        match packet:
            case packets.OpenUpload():
                self._answer(peer, packet, self._open(peer, packet))
            case packets.FinishTransfer():
                self._answer(peer, packet, self._finish(peer, packet))
            case packets.OpenDownload():
                self._answer(peer, packet, self._open_offer(peer, packet))
            case packets.CancelTransfer():
                self._cancel(peer, packet)
            case packets.DownloadProgress():
                if (offer := self._offer_of(peer, packet)) is not None:
                    offer.sender.send(filepackets.Heard(clients=1, bytes=packet.bytes))

    def _answer(
        self, peer: Peer, packet: packets.Request, work: Coroutine[Any, Any, tuple[FileOpened, int | None]]
    ) -> None:
        async def answer() -> None:
            try:
                opened, fd = await work
                peer.reply(packet.req, opened, () if fd is None else (fd,))
            except TransferFailed as failure:
                peer.reply(packet.req, FileOpened(code=failure.code, message=failure.message))
            except OSError as error:
                text = f"no more files can be open: {error.strerror}"
                peer.reply(packet.req, FileOpened(code=TransferError.GONE, message=text))

        self._background.start(answer(), "a transfer")

    def _session_of(self, peer: Peer, handle: int) -> Session:
        session = self._typed_by(peer, handle)
        if session is None or not session.live or session.shell is None:
            raise TransferFailed(TransferError.GONE, "nobody types in this session here, or it has ended")
        return session

    async def _open(self, peer: Peer, packet: packets.OpenUpload) -> tuple[FileOpened, int | None]:
        session = self._session_of(peer, packet.handle)
        rules = self._rules(session)
        if not rules.upload:
            raise TransferFailed(TransferError.FORBIDDEN, "files cannot be uploaded here")
        if packet.bytes > rules.max_bytes:
            text = f"a file may have {rules.max_bytes} bytes here, and this one has {packet.bytes}"
            raise TransferFailed(TransferError.TOO_LARGE, text)
        key, wanted = (session.id, packet.transfer), safe_name(packet.name)
        upload = self._uploads.get(key)
        if upload is None:
            upload = self._begin(session, rules, packet, wanted)
        elif (upload.record.name, upload.record.bytes) != (wanted, packet.bytes):
            raise TransferFailed(TransferError.CHANGED, "it is not the file that was begun with")
        upload.peer, upload.handle = peer, packet.handle
        async with upload.lock:
            if upload.record.done is None and not upload.fds:
                await self._open_part(session, rules, upload)
            if self._uploads.get(key) is not upload:
                raise TransferFailed(TransferError.GONE, "it was given up")
            self._seen(upload)
            done = upload.record.done
            return FileOpened(name=done), upload.fds[1] if done is None else None

    def _begin(self, session: Session, rules: FileRules, packet: packets.OpenUpload, name: str) -> Upload:
        """A new one, if its user may have one more.

        Raises:
            TransferFailed: not now.
        """
        owner = session.user or session.id
        mine = [upload for upload in self._uploads.values() if upload.record.user == owner]
        if sum(upload.served and upload.record.done is None for upload in mine) >= rules.at_once:
            text = f"{rules.at_once} uploads are under way, the configured most for one user"
            raise TransferFailed(TransferError.TOO_MANY, text)
        for old in [upload for upload in mine if not upload.served][: max(0, len(mine) + 1 - KEPT_EACH)]:
            self._forget(old)
        record = UploadRecord(
            session=session.id,
            transfer=packet.transfer,
            user=owner,
            name=name,
            bytes=packet.bytes,
            part=f".upload-{packet.transfer}.part",
            seen=time.time(),
        )
        upload = self._uploads[session.id, packet.transfer] = Upload(record)
        return upload

    async def _open_part(self, session: Session, rules: FileRules, upload: Upload) -> None:
        assert session.shell is not None
        job = Job(kind="open", part=upload.record.part, folder=rules.folder, pid=session.shell.pid)
        try:
            _, fds = await self._child(session, job, ())
            if len(fds) != 2 or scarce(max(fds)):
                for fd in fds:
                    os.close(fd)
                raise TransferFailed(TransferError.GONE, "no more files can be open")
        except TransferFailed:
            self._uploads.pop((upload.record.session, upload.record.transfer), None)
            raise
        upload.fds = fds
        self._keep(upload)

    async def _finish(self, peer: Peer, packet: packets.FinishTransfer) -> tuple[FileOpened, int | None]:
        session = self._session_of(peer, packet.handle)
        if (offer := self._offer_of(peer, packet)) is not None:
            self._end_offer(offer, filepackets.Sent())
            return FileOpened(), None
        upload = self._uploads.get((session.id, packet.transfer))
        if upload is None:
            raise TransferFailed(TransferError.GONE, "it was given up")
        async with upload.lock:
            record = upload.record
            if record.done is None:
                if len(upload.fds) != 2:
                    raise TransferFailed(TransferError.GONE, "it was given up")
                job = Job(kind="finish", part=record.part, name=record.name)
                done, _ = await self._child(session, job, tuple(upload.fds))
                upload.record = record = msgspec.structs.replace(record, done=done.name, seen=time.time())
                self._keep(upload)
                upload.close()
                log.info("%s: %d bytes were uploaded", session.id, record.bytes)
            return FileOpened(name=record.done), None

    def _cancel(self, peer: Peer, packet: packets.CancelTransfer) -> None:
        session = self._typed_by(peer, packet.handle)
        if session is None:
            return
        if (offer := self._offer_of(peer, packet)) is not None:
            message = packet.message or "whoever is at the terminal does not want it"
            self._end_offer(offer, filepackets.NotSent(message=message))
        elif (upload := self._uploads.get((session.id, packet.transfer))) is not None:
            self._forget(upload)

    # --- what is kept -----------------------------------------------------------------------

    def _seen(self, upload: Upload) -> None:
        """Its client is there; the holder hears of it now and then."""
        key, now = (upload.record.session, upload.record.transfer), time.time()
        if now - upload.record.seen > KEPT_SECONDS / 100:
            upload.record = msgspec.structs.replace(upload.record, seen=now)
            self._keep(upload)
            self._uploads[key] = self._uploads.pop(key)

    def _keep(self, upload: Upload) -> None:
        fields = {"upload": upload.record}
        if upload.record.done is None:
            self._link.put(upload.key, fields, tuple(upload.fds))
            return
        # In the place of its descriptors: of a file that is removed later its disk is wanted back.
        nothing = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._link.put(upload.key, fields, (nothing,))
        finally:
            os.close(nothing)

    def _forget(self, upload: Upload) -> None:
        """Keep nothing of it, neither here nor in its folder."""
        self._uploads.pop((upload.record.session, upload.record.transfer), None)
        self._background.start(self._remove(upload), "the end of an upload")

    async def _remove(self, upload: Upload) -> None:
        async with upload.lock:
            self._link.drop(upload.key)
            if len(upload.fds) != 2:
                return
            try:
                session = self._session(upload.record.session)
                profile = session.profile if session is not None else None
                job = Job(kind="remove", part=upload.record.part)
                await self._child_as(profile, upload.record.session, job, tuple(upload.fds))
            except TransferFailed as failure:
                log.warning("%s: part of a file is left in its folder: %s", upload.key, failure)
            finally:
                upload.close()

    # --- children ---------------------------------------------------------------------------

    async def _child(
        self, session: Session, job: Job, fds: tuple[int, ...]
    ) -> tuple[filepackets.Done, list[int]]:
        return await self._child_as(session.profile, session.id, job, fds)

    async def _child_as(
        self, profile: str | None, session: str, job: Job, fds: tuple[int, ...]
    ) -> tuple[filepackets.Done, list[int]]:
        """Have a child do something, with the rights of a profile's shells.

        Raises:
            TransferFailed: it cannot, or there is none.
        """
        if profile not in self._config.profiles:
            raise TransferFailed(TransferError.GONE, "there is no such profile any more")
        async with self._free:
            secret = secrets.token_hex(16)
            key = f"{_CHILD}{os.getpid()}-{next(self._numbers)}"
            future: asyncio.Future[tuple[filepackets.Done, list[int]]]
            future = asyncio.get_running_loop().create_future()
            self._orders[secret] = _Order(job, fds, future)
            self._children[key] = future
            try:
                await self._start(key, profile, session, secret)
                done, got = await asyncio.wait_for(future, CHILD_SECONDS)
            except TimeoutError:
                raise TransferFailed(TransferError.NOT_WRITABLE, "its folder does not answer") from None
            except (OSError, BadPacket) as error:
                text = getattr(error, "strerror", None) or str(error)
                raise TransferFailed(TransferError.NOT_WRITABLE, f"nobody can open it: {text}") from None
            finally:
                future.cancel()
                self._orders.pop(secret, None)
                self._children.pop(key, None)
                self._link.drop(key)
        if done.error:
            code = TransferError.NO_ROOM if done.errno in _FULL else TransferError.NOT_WRITABLE
            raise TransferFailed(code, f"the folder there: {done.error}")
        return done, got

    async def _start(self, key: str, profile: str, session: str, secret: str) -> None:
        about = self._link.about
        python = about.python if about is not None else ""
        if not python:
            raise OSError(errno.ENOSYS, "the holder is of a build before files")
        what = msgspec.structs.replace(
            plan(profile, self._config.profiles[profile], session),
            command=[python, "-I", "-S", "-c", self._source, str(self.path)],
            env={"TERMINAL_CHILD": secret},
            cwd="/",
        )
        item = await self._link.spawn(key, what, 80, 24, {})
        item.close()
        if item.status is not None:
            raise OSError(errno.ENOEXEC, f"{python} cannot be run as this account")

    # --- whoever comes to the socket --------------------------------------------------------

    def _accept(self) -> None:
        assert self._listener is not None
        try:
            sock, _ = self._listener.accept()
        except BlockingIOError:
            return
        except OSError as error:
            self._troubles.say("accept on the socket for files", str(error))
            return
        if len(self._channels) >= CONNECTIONS or scarce(sock.fileno()):
            sock.close()
            return
        channel: _Line = Channel(
            sock,
            filepackets.read_asked,
            lambda packet, fds: self._received(channel, packet, fds),
            lambda: self._lost(channel),
            limit=64,
        )
        self._channels.add(channel)
        loop = asyncio.get_running_loop()
        loop.call_later(CHILD_SECONDS, self._look_at, channel)

    def _look_at(self, channel: _Line) -> None:
        """Whoever has said nothing by now is nobody."""
        if not any(offer.sender is channel for offer in self._offers.values()):
            channel.close()

    def _received(self, channel: _Line, packet: filepackets.Asked, fds: list[int]) -> None:
        try:
            match packet:
                case filepackets.Child(secret=secret) if (order := self._orders.get(secret)) is not None:
                    channel.send(order.job, order.fds)
                    # What it says next is the answer.
                    self._working[channel] = order
                case filepackets.Done() if (order := self._working.get(channel)) is not None:
                    if not order.done.done():
                        order.done.set_result((packet, list(fds)))
                        fds.clear()
                    channel.close()
                case filepackets.Send():
                    self._offered(channel, packet, fds)
                case _:
                    channel.close()
        finally:
            for fd in fds:
                os.close(fd)

    def _lost(self, channel: _Line) -> None:
        self._channels.discard(channel)
        order = self._working.pop(channel, None)
        if order is not None and not order.done.done():
            order.done.set_exception(OSError(errno.ECHILD, "the process that was to open it has ended"))
        for offer in [offer for offer in self._offers.values() if offer.sender is channel]:
            self._end_offer(offer, None)

    # --- downloads --------------------------------------------------------------------------

    def attached(self, session: Session, attachment: Attachment) -> None:
        """A client is there: it hears of what waits for it."""
        if attachment.watching:
            return
        for (session_id, _), offer in self._offers.items():
            if session_id == session.id:
                self._tell(attachment, offer)

    def _offered(self, channel: _Line, packet: filepackets.Send, fds: list[int]) -> None:
        session = self._session(packet.session)
        problem = ""
        if (
            not hmac.compare_digest(packet.key, self._key(packet.session))
            or session is None
            or not session.live
        ):
            problem = "this is no terminal of a session that runs"
        elif not (rules := self._rules(session)).download:
            problem = "files cannot be downloaded here"
        elif packet.bytes > rules.max_bytes:
            problem = f"a file may have {rules.max_bytes} bytes here, and this one has {packet.bytes}"
        elif sum(name == packet.session for name, _ in self._offers) >= OFFERS_EACH:
            problem = f"{OFFERS_EACH} files of this session wait already"
        elif len(fds) != 1 or scarce(fds[0]):
            problem = "no more files can be open"
        if problem or session is None:
            channel.send(filepackets.NotSent(message=problem))
            return
        named = msgspec.structs.replace(packet, name=safe_name(packet.name))
        offer = Offer(named, channel, fds.pop())
        if (old := self._offers.pop((packet.session, packet.transfer), None)) is not None:
            os.close(old.fd)  # its sender has come again
        self._offers[packet.session, packet.transfer] = offer
        attachment = session.attachment
        channel.send(filepackets.Heard(clients=int(attachment is not None)))
        if attachment is not None:
            self._tell(attachment, offer)

    @staticmethod
    def _tell(attachment: Attachment, offer: Offer) -> None:
        packet = offer.packet
        offer.sender.send(filepackets.Heard(clients=1))
        attachment.peer.send(
            packets.Offer(
                handle=attachment.handle, transfer=packet.transfer, name=packet.name, bytes=packet.bytes
            )
        )

    def _offer_of(self, peer: Peer, packet: _OfTransfer) -> Offer | None:
        session = self._typed_by(peer, packet.handle)
        return None if session is None else self._offers.get((session.id, packet.transfer))

    async def _open_offer(self, peer: Peer, packet: packets.OpenDownload) -> tuple[FileOpened, int | None]:
        self._session_of(peer, packet.handle)
        offer = self._offer_of(peer, packet)
        if offer is None:
            raise TransferFailed(TransferError.GONE, "it is not offered any more")
        return FileOpened(bytes=offer.packet.bytes), offer.fd

    def _end_offer(self, offer: Offer, said: filepackets.Sent | filepackets.NotSent | None) -> None:
        """An offer is over. ``said`` to its sender, unless that has gone: then the client hears of it."""
        key = offer.packet.session, offer.packet.transfer
        if self._offers.get(key) is not offer:
            return
        del self._offers[key]
        os.close(offer.fd)
        if said is not None:
            offer.sender.send(said)
        session = self._session(offer.packet.session)
        if session is not None and session.attachment is not None and said is None:
            attachment = session.attachment
            attachment.peer.send(packets.Withdraw(handle=attachment.handle, transfer=offer.packet.transfer))


def _secret(path: Path) -> bytes:
    """What keys of sessions are made with, the same for all managers on a folder.

    Raises:
        OSError: it cannot be read, or made.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        temporary = path.with_suffix(".new")
        temporary.unlink(missing_ok=True)
        temporary.touch(mode=0o600)
        temporary.write_bytes(secrets.token_bytes(32))
        temporary.rename(path)
        return path.read_bytes()
