"""Files that ``terminals send``, in a session's shell, has for whoever types in it."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from terminals.control import packets
from terminals.control.answers import FileOpened
from terminals.control.descriptors import scarce
from terminals.manager.filechildren import Line
from terminals.manager.filepackets import Heard, NotSent, Send, Sent
from terminals.manager.filerules import FileRules, safe_name
from terminals.manager.session import Attachment, Session
from terminals.manager.uploads import check_size
from terminals.protocol.transfer import TransferError, TransferFailed

EACH: Final = 16
"""Files of one session that wait at the same time."""


@dataclass(slots=True, eq=False)
class Offer:
    """One of them, and who has it."""

    packet: Send
    sender: Line
    fd: int


class Offers:
    """Those of all sessions. They live with the connections of those who send: those come again, and offer
    again, when this process is replaced. ``session(id)`` is one."""

    def __init__(self, session: Callable[[str], Session | None]) -> None:
        self._session = session
        self._table: dict[tuple[str, str], Offer] = {}
        """By session and transfer."""
        self._secret = b""

    def begin(self, path: Path) -> None:
        """Know shells again by their keys, which are made with what is in a file.

        Raises:
            OSError: it cannot be read, or made.
        """
        self._secret = _secret(path)

    def key(self, session: str) -> str:
        """What shows that somebody is in a session's shell, or of its account."""
        return hmac.new(self._secret, session.encode(), hashlib.sha256).hexdigest()[:32]

    def waits(self, line: Line) -> bool:
        """Whether whoever is there has offered something."""
        return any(offer.sender is line for offer in self._table.values())

    def attached(self, session: Session, attachment: Attachment) -> None:
        """A client is there: it hears of what waits for it."""
        for offer in [*self._table.values()]:
            if offer.packet.session == session.id and not attachment.watching:
                _tell(attachment, offer)

    def offer(self, line: Line, packet: Send, rules: Callable[[Session], FileRules], fds: list[int]) -> None:
        """Somebody has a file; takes its descriptor over, out of ``fds``.

        Raises:
            TransferFailed: it cannot be offered.
        """
        session = self._session(packet.session)
        known = hmac.compare_digest(packet.key.encode(), self.key(packet.session).encode())
        if not known or session is None or not session.live:
            raise TransferFailed(TransferError.GONE, "this is no shell of a session that runs")
        if not rules(session).download:
            raise TransferFailed(TransferError.FORBIDDEN, "files cannot be downloaded here")
        check_size(rules(session), packet.bytes)
        key = packet.session, packet.transfer
        if key not in self._table and sum(name == session.id for name, _ in self._table) >= EACH:
            raise TransferFailed(TransferError.TOO_MANY, f"{EACH} files of this session wait already")
        if len(fds) != 1 or scarce(fds[0]):
            raise TransferFailed(TransferError.GONE, "no more files can be open")
        if (old := self._table.pop(key, None)) is not None:
            os.close(old.fd)  # its sender has come again
        named = msgspec.structs.replace(packet, name=safe_name(packet.name))
        offer = self._table[key] = Offer(named, line, fds.pop())
        line.send(Heard(clients=int(session.attachment is not None)))
        if session.attachment is not None:
            _tell(session.attachment, offer)

    def get(self, session: Session, transfer: str) -> Offer | None:
        """One of a session's."""
        return self._table.get((session.id, transfer))

    def open(self, session: Session, transfer: str) -> tuple[FileOpened, int]:
        """What was offered. The descriptor stays ours.

        Raises:
            TransferFailed: it is not, any more.
        """
        offer = self.get(session, transfer)
        if offer is None:
            raise TransferFailed(TransferError.GONE, "it is not offered any more")
        return FileOpened(bytes=offer.packet.bytes), offer.fd

    def end(self, offer: Offer, said: Sent | NotSent | None) -> None:
        """One is over. ``said`` to its sender, unless that has gone: then the client hears of it."""
        session_id, transfer = key = offer.packet.session, offer.packet.transfer
        if self._table.get(key) is not offer:
            return
        del self._table[key]
        os.close(offer.fd)
        if said is not None:
            offer.sender.send(said)
            return
        session = self._session(session_id)
        if session is not None and (attachment := session.attachment) is not None:
            attachment.peer.send(packets.Withdraw(handle=attachment.handle, transfer=transfer))

    def lost(self, line: Line) -> None:
        """Somebody who has offered something is gone."""
        for offer in [offer for offer in self._table.values() if offer.sender is line]:
            self.end(offer, None)

    def look(self) -> None:
        """Let go of those of sessions that have ended."""
        for offer in [*self._table.values()]:
            session = self._session(offer.packet.session)
            if session is None or not session.live:
                self.end(offer, NotSent(message="the session has ended"))


def _tell(attachment: Attachment, offer: Offer) -> None:
    packet = offer.packet
    offer.sender.send(Heard(clients=1))
    told = packets.Offer(
        handle=attachment.handle, transfer=packet.transfer, name=packet.name, bytes=packet.bytes
    )
    attachment.peer.send(told)


def _secret(path: Path) -> bytes:
    """The same for all managers on a folder."""
    if not path.exists():
        temporary = path.with_suffix(".new")
        temporary.unlink(missing_ok=True)
        temporary.touch(mode=0o600)
        temporary.write_bytes(secrets.token_bytes(32))
        temporary.rename(path)
    return path.read_bytes()
