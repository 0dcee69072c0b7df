"""Files as channels of a connection: the client's side, without I/O. See :mod:`.transfer`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from terminals.protocol import messages
from terminals.protocol.messages import BadMessage, Binary, FrameType, Send
from terminals.protocol.transfer import (
    MAX_BYTES,
    MAX_NAME,
    PIECE,
    WINDOW,
    Grant,
    TransferError,
    channel_of,
    digest_of,
    transfer_id,
)


@dataclass(frozen=True, slots=True)
class Read:
    """Read so much of a file and give it back: :meth:`Transfers.give`."""

    transfer: str
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class Hash:
    """Say the digest of a file: :meth:`Transfers.digest`. Of one that is downloaded, of what has come."""

    transfer: str


@dataclass(frozen=True, slots=True)
class Progress:
    """So many bytes of an upload are written."""

    transfer: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Offered:
    """A file of the session may be downloaded: :meth:`Transfers.download`, or :meth:`Transfers.cancel`."""

    transfer: str
    name: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """It may not, any more."""

    transfer: str


@dataclass(frozen=True, slots=True)
class Received:
    """Bytes of a download, each once, in order: :meth:`Transfers.taken` once they are kept."""

    transfer: str
    offset: int
    data: bytes

    def __repr__(self) -> str:
        return f"<Received {len(self.data)} bytes at {self.offset}>"


@dataclass(frozen=True, slots=True)
class Transferred:
    """A file is at the other end, whole. ``name``: what an upload is called there."""

    transfer: str
    name: str


@dataclass(frozen=True, slots=True)
class NotTransferred:
    """It is not, and will not be: see :class:`TransferError`."""

    transfer: str
    code: str
    message: str


TransferItem = Read | Hash | Progress | Offered | Withdrawn | Received | Transferred | NotTransferred
ClientItem = TransferItem | Send


@dataclass(slots=True)
class _Held:
    """One transfer of ours. ``size``: of the file."""

    name: str
    size: int
    upload: bool
    channel: int | None = None
    """While it was asked for on this connection."""
    going: bool = False
    """The server has said where it goes on."""
    granted: bool = False
    """It has done so once: until it may again, it waits."""
    acked: int = 0
    """What the other end has, or what we have said that we have."""
    asked: int = 0
    """What was asked to be read."""
    at: int = 0
    """What was sent, or has come."""
    digest: str | None = None
    """Ours, as far as it is known."""
    theirs: str | None = None
    hashing: bool = False
    finishing: bool = False
    told: bool = False
    """A download is whole, which its sender may not have heard."""


class Transfers:
    """The transfers of one terminal, over connections that come and go. ``emit(item)`` has something done."""

    def __init__(self, terminal: int, emit: Callable[[ClientItem], None]) -> None:
        """``terminal``: its channel."""
        self._terminal = terminal
        self._emit = emit
        self._held: dict[str, _Held] = {}
        self._offers: set[str] = set()
        """What may be downloaded on this connection ..."""
        self._known: set[str] = set()
        """... and ever could be."""
        self._cancelled: set[str] = set()
        self._grant: Grant | None = None
        self._attached = False

    # --- what a user wants ------------------------------------------------------------------

    def upload(self, transfer: str, name: str, size: int) -> None:
        """Have a file uploaded. The same ``transfer`` goes on where an earlier client has come to."""
        self._held[transfer] = _Held(name, size, upload=True)
        self._begin_some()

    def download(self, transfer: str, name: str, size: int, offset: int = 0) -> None:
        """Take what was offered, from ``offset`` on."""
        self._held[transfer] = _Held(name, size, upload=False, at=offset, acked=offset)
        if self._attached and transfer not in self._offers:
            del self._held[transfer]
            self._emit(NotTransferred(transfer, TransferError.GONE, "it is not offered any more"))
        self._begin_some()

    def cancel(self, transfer: str) -> None:
        """Give a transfer up, for good, or do not take what was offered."""
        self._held.pop(transfer, None)
        self._cancelled.add(transfer)
        self._tell_cancelled(transfer)
        self._begin_some()

    def give(self, transfer: str, offset: int, data: bytes) -> None:
        """What was to be read. Fewer bytes than that: the file has changed."""
        held = self._held.get(transfer)
        if held is None or not held.going or offset != held.at:
            return  # it was for a connection that is gone
        if len(data) != min(PIECE, held.size - offset):
            self._give_up(transfer, TransferError.CHANGED, "the file has changed while it was read")
            return
        assert held.channel is not None
        held.at += len(data)
        self._emit(Send(messages.encode_data(held.channel, offset, data)))
        self._go_on(transfer, held)

    def digest(self, transfer: str, sha256: str) -> None:
        """What was to be hashed."""
        if (held := self._held.get(transfer)) is not None and held.hashing:
            held.hashing = False
            held.digest = sha256
            self._go_on(transfer, held)

    def taken(self, transfer: str, offset: int) -> None:
        """A download is kept up to ``offset``: more may come."""
        held = self._held.get(transfer)
        if held is not None and not held.upload and held.acked < offset <= held.at:
            held.acked = offset
            if held.going:
                assert held.channel is not None
                self._emit(Send(messages.encode_ack(held.channel, offset)))
                self._go_on(transfer, held)

    # --- what happens -----------------------------------------------------------------------

    def attached(self, grant: Grant | None) -> None:
        """The terminal is attached, and so much is allowed there."""
        self._attached, self._grant = True, grant
        self._offers.clear()  # those that still are come anew
        for transfer in self._cancelled:  # it may be that it was lost with its connection
            self._tell_cancelled(transfer)
        self._begin_some()

    def detached(self) -> None:
        """It is not, any more: what is on its way is lost."""
        self._attached = False
        for held in self._held.values():
            held.channel, held.going, held.finishing, held.theirs = None, False, False, None

    def control(self, fields: dict[str, Any]) -> bool:
        """A message has come; whether it was of a transfer.

        Raises:
            BadMessage: it does not follow the protocol.
        """
        match fields["type"]:
            case "offer":
                self._offered(fields)
            case "withdraw":
                transfer = transfer_id(fields)
                self._offers.discard(transfer)
                self._emit(Withdrawn(transfer))
                if (held := self._held.pop(transfer, None)) is not None and not held.told:
                    self._emit(NotTransferred(transfer, TransferError.GONE, "it is not offered any more"))
            case "uploading" | "downloading" | "downloaded" | "transferred" | "failed" as kind:
                channel = channel_of(fields)
                for transfer, held in self._held.items():
                    if held.channel == channel:
                        self._told(kind, transfer, held, fields)
                        break  # else it has crossed our cancel
            case _:
                return False
        return True

    def binary(self, frame: Binary) -> None:
        """A frame of another channel than the terminal's has come.

        Raises:
            BadMessage: it does not follow the protocol.
        """
        for transfer, held in self._held.items():
            if held.channel == frame.channel and held.going:
                self._frame(transfer, held, frame)
                return

    def _frame(self, transfer: str, held: _Held, frame: Binary) -> None:
        if held.upload and frame.type is FrameType.ACK:
            if not held.acked <= frame.seq <= held.at:
                raise BadMessage("an acknowledgement of what was not sent")
            held.acked = frame.seq
            self._emit(Progress(transfer, frame.seq))
            self._go_on(transfer, held)
        elif not held.upload and frame.type is FrameType.DATA:
            end = frame.seq + len(frame.payload)
            if frame.seq != held.at or end > held.size:
                raise BadMessage(f"a file goes on at {held.at}, not at {frame.seq}")
            held.at = end
            self._emit(Received(transfer, frame.seq, frame.payload))
        else:
            raise BadMessage("a frame that goes the other way in this transfer")

    def _offered(self, fields: dict[str, Any]) -> None:
        transfer = transfer_id(fields)
        name = messages.string(fields, "name", MAX_NAME)
        size = messages.integer(fields, "bytes", 0, MAX_BYTES)
        self._offers.add(transfer)
        if transfer in self._cancelled:
            self._tell_cancelled(transfer)
        elif transfer in self._held:
            self._begin_some()
        elif transfer not in self._known:
            self._known.add(transfer)
            self._emit(Offered(transfer, name, size))

    def _told(self, kind: str, transfer: str, held: _Held, fields: dict[str, Any]) -> None:
        match kind:
            case "uploading" | "downloading":
                offset = messages.integer(fields, "offset", 0, held.size)
                if not held.upload and (offset != held.at or fields.get("bytes") != held.size):
                    self._give_up(transfer, TransferError.CHANGED, "the file has changed")
                    return
                held.going = held.granted = True
                held.acked = held.asked = held.at = offset
                if held.upload:
                    self._emit(Progress(transfer, offset))
                self._go_on(transfer, held)
            case "transferred":
                name = messages.string(fields, "name", MAX_NAME)
                del self._held[transfer]
                if not held.told:
                    self._emit(Transferred(transfer, name))
                self._begin_some()
            case "downloaded":
                held.theirs = digest_of(fields)
                self._go_on(transfer, held)
            case "failed":
                code, message = messages.string(fields, "code"), messages.string(fields, "message", 1024)
                del self._held[transfer]
                if not held.told:
                    self._emit(NotTransferred(transfer, code, message))
                self._begin_some()

    # --- how it goes on ---------------------------------------------------------------------

    def _begin_some(self) -> None:
        """Ask for as many as may be at once."""
        if not self._attached:
            return
        grant = self._grant or Grant()
        for transfer, held in [*self._held.items()]:
            if held.channel is not None or not (held.upload or transfer in self._offers):
                continue
            if not (grant.upload if held.upload else grant.download):
                # A server of before, in a rollout, is replaced by one that goes on.
                if not held.granted:
                    text = "files cannot be transferred here"
                    self._give_up(transfer, TransferError.FORBIDDEN, text)
            elif held.upload and held.size > grant.bytes:
                text = f"a file may have {grant.bytes} bytes here, and this one has {held.size}"
                self._give_up(transfer, TransferError.TOO_LARGE, text)
            elif sum(1 for other in self._held.values() if other.channel is not None) < grant.at_once:
                self._ask(transfer, held)

    def _ask(self, transfer: str, held: _Held) -> None:
        held.channel = next(self._free())
        common = {"channel": held.channel, "terminal": self._terminal, "transfer": transfer}
        if held.upload:
            self._text("upload", **common, name=held.name, bytes=held.size)
        else:
            held.at = held.acked  # what was not kept comes again
            self._text("download", **common, offset=held.acked)

    def _free(self) -> Iterator[int]:
        used = {held.channel for held in self._held.values()} | {self._terminal}
        return (channel for channel in range(messages.MAX_CHANNEL, -1, -1) if channel not in used)

    def _go_on(self, transfer: str, held: _Held) -> None:
        if not held.going:
            return
        while held.upload and held.asked < held.size and held.asked - held.acked < WINDOW:
            length = min(PIECE, held.size - held.asked)
            self._emit(Read(transfer, held.asked, length))
            held.asked += length
        if held.acked < held.size or held.finishing or (not held.upload and held.theirs is None):
            return
        if held.digest is None:
            if not held.hashing:
                held.hashing = True
                self._emit(Hash(transfer))
        elif not held.upload and held.digest != held.theirs:
            self._give_up(transfer, TransferError.CHECKSUM, "what has come is not what was sent")
        else:
            held.finishing = True
            self._text("finish", channel=held.channel, sha256=held.digest)
            if not (held.upload or held.told):
                held.told = True
                self._emit(Transferred(transfer, held.name))

    def _tell_cancelled(self, transfer: str) -> None:
        if self._attached and self._grant is not None:
            self._text("cancel", terminal=self._terminal, transfer=transfer)

    def _give_up(self, transfer: str, code: str, message: str) -> None:
        self.cancel(transfer)
        self._emit(NotTransferred(transfer, code, message))

    def _text(self, kind: str, /, **fields: Any) -> None:
        self._emit(Send(messages.encode_text(kind, **fields).decode()))
