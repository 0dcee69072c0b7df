"""Files for sessions and from them: who may have which, and the socket to which those come who have files.

No byte of a file comes by here, and no file is opened here: a child with the rights of the session's shell
does that (:mod:`terminals.manager.filechild`), or whoever sends one, and the descriptors go on to the worker,
which writes and reads.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Final

from terminals.background import Background, Troubles
from terminals.configfile import ConfigError
from terminals.control import packets
from terminals.control.answers import FileOpened
from terminals.control.channel import Channel
from terminals.control.descriptors import scarce
from terminals.manager import filechildren, filepackets
from terminals.manager.config import ManagerConfig
from terminals.manager.filechildren import Children, Line
from terminals.manager.filerules import NO_FILES, FileRules
from terminals.manager.holding import HolderLink, Item
from terminals.manager.offers import Offers
from terminals.manager.peers import Peer
from terminals.manager.session import Attachment, Session
from terminals.manager.uploads import Uploads
from terminals.protocol.transfer import Grant, TransferError, TransferFailed

log = logging.getLogger("terminals.manager")

CONNECTIONS: Final = 256
GREETING_SECONDS: Final = 20.0
"""After that, whoever has come to the socket and said nothing is nobody."""


class Files:
    """The transfers of all sessions. ``session(id)`` is one, ``typed_by(peer, handle)`` the one that an
    attachment works in."""

    def __init__(
        self,
        config: ManagerConfig,
        link: HolderLink,
        session: Callable[[str], Session | None],
        typed_by: Callable[[Peer, int], Session | None],
    ) -> None:
        self._config = config
        self._link = link
        self._typed_by = typed_by
        self._path = config.socket.with_name("files.sock")
        self._children = Children(config, link, self._path)
        self._uploads = Uploads(link, self._children, session)
        self._offers = Offers(session)
        self._listener: socket.socket | None = None
        self._lines: set[Line] = set()
        self._background = Background(log)
        self._troubles = Troubles(log)

    def _rules(self, session: Session) -> FileRules:
        profile = self._config.profiles.get(session.profile)
        return NO_FILES if profile is None else profile.files

    def grant(self, session: Session, *, watching: bool) -> Grant | None:
        """What a client may do that is about to be attached."""
        return None if watching else self._rules(session).grant()

    def environment(self, profile: str, session: str) -> dict[str, str]:
        """What a shell is to know, so that what it starts can send files."""
        if not self._config.profiles[profile].files.download:
            return {}
        return {filepackets.SOCKET: str(self._path), filepackets.KEY: self._offers.key(session)}

    # --- beginning and end ------------------------------------------------------------------

    def start(self, items: dict[str, Item]) -> None:
        """Go on with what the holder has, which is taken out of ``items``, and listen where a profile allows
        anything.

        Raises:
            ConfigError: a folder cannot be written.
        """
        self._uploads.restore(items)
        for key in [key for key in items if key.startswith(filechildren.PREFIX)]:
            items.pop(key).close()
            self._link.drop(key)
        profiles = [profile for profile in self._config.profiles.values() if profile.files.on]
        if not profiles:
            return
        try:
            self._offers.begin(self._config.state_dir / "files.key")
            self._listener = _listen(self._path, others=any(profile.user for profile in profiles))
        except OSError as error:
            text = error.strerror or str(error)
            raise ConfigError(f"{self._path}: cannot make the socket for files: {text}") from None
        asyncio.get_running_loop().add_reader(self._listener.fileno(), self._accept)

    def close(self) -> None:
        """Let go of everything; uploads stay with the holder, and those who send come again."""
        if self._listener is not None:
            asyncio.get_running_loop().remove_reader(self._listener.fileno())
            self._listener.close()
        for line in list(self._lines):
            line.close()
        self._uploads.close()

    def exited(self, key: str) -> None:
        """A process of the holder's has ended."""
        self._children.exited(key)

    def look(self) -> None:
        """Let go of what nobody comes back for."""
        self._uploads.look()
        self._offers.look()

    def attached(self, session: Session, attachment: Attachment) -> None:
        """A client is there."""
        self._offers.attached(session, attachment)

    # --- what workers ask for ---------------------------------------------------------------

    def request(self, peer: Peer, packet: packets.Files) -> None:
        """A worker asks for something, or tells it."""
        session = self._typed_by(peer, packet.handle)
        if isinstance(packet, packets.OpenUpload | packets.FinishTransfer | packets.OpenDownload):
            self._background.start(self._answer(peer, packet, session), "a transfer")
            return
        offer = None if session is None else self._offers.get(session, packet.transfer)
        match packet:
            case packets.DownloadProgress(bytes=count) if offer is not None:
                offer.sender.send(filepackets.Heard(clients=1, bytes=count))
            case packets.CancelTransfer(message=message) if offer is not None:
                why = message or "whoever is at the terminal does not want it"
                self._offers.end(offer, filepackets.NotSent(message=why))
            case packets.CancelTransfer() if session is not None:
                self._uploads.cancel(session, packet.transfer)

    async def _answer(
        self,
        peer: Peer,
        packet: packets.OpenUpload | packets.FinishTransfer | packets.OpenDownload,
        session: Session | None,
    ) -> None:
        try:
            opened, fd = await self._carry_out(peer, packet, session)
            peer.reply(packet.req, opened, () if fd is None else (fd,))
        except TransferFailed as failure:
            peer.reply(packet.req, FileOpened(code=failure.code, message=failure.message))
        except OSError as error:
            text = f"no more files can be open: {error.strerror}"
            peer.reply(packet.req, FileOpened(code=TransferError.GONE, message=text))

    async def _carry_out(
        self,
        peer: Peer,
        packet: packets.OpenUpload | packets.FinishTransfer | packets.OpenDownload,
        session: Session | None,
    ) -> tuple[FileOpened, int | None]:
        if session is None or session.shell is None:
            raise TransferFailed(TransferError.GONE, "nobody types in this session here, or it has ended")
        match packet:
            case packets.OpenUpload():
                return await self._uploads.open(session, self._rules(session), peer, packet)
            case packets.OpenDownload(transfer=transfer):
                return self._offers.open(session, transfer)
            case packets.FinishTransfer(transfer=transfer):
                if (offer := self._offers.get(session, transfer)) is None:
                    return FileOpened(name=await self._uploads.finish(session, transfer)), None
                self._offers.end(offer, filepackets.Sent())
                return FileOpened(name=offer.packet.name), None

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
        if len(self._lines) >= CONNECTIONS or scarce(sock.fileno()):
            sock.close()
            return
        line: Line = Channel(
            sock,
            filepackets.read_asked,
            lambda packet, fds: self._received(line, packet, fds),
            lambda: self._lost(line),
            limit=64,
        )
        self._lines.add(line)
        asyncio.get_running_loop().call_later(GREETING_SECONDS, self._greeted, line)

    def _greeted(self, line: Line) -> None:
        if not self._offers.waits(line):
            line.close()

    def _received(self, line: Line, packet: filepackets.Asked, fds: list[int]) -> None:
        try:
            match packet:
                case filepackets.Child():
                    self._children.asked(line, packet)
                case filepackets.Done():
                    self._children.answered(line, packet, fds)
                case filepackets.Send():
                    self._offers.offer(line, packet, self._rules, fds)
        except TransferFailed as failure:
            line.send(filepackets.NotSent(message=failure.message))
        finally:
            for fd in fds:
                os.close(fd)

    def _lost(self, line: Line) -> None:
        self._lines.discard(line)
        self._children.lost(line)
        self._offers.lost(line)


def _listen(path: Path, *, others: bool) -> socket.socket:
    """A listening socket. ``others``: shells of other accounts are to reach it.

    Raises:
        OSError: the folder cannot be written.
    """
    path.unlink(missing_ok=True)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
    sock.bind(str(path))
    path.chmod(0o666 if others else 0o600)
    if others:
        path.parent.chmod(path.parent.stat().st_mode | 0o011)  # to be passed, not to be read
    sock.listen(64)
    return sock
