"""Files as channels of a connection, without I/O: the server's side and the client's.

An upload is a channel of its own beside its terminal's. Where it goes on is said by what the file has, so
that each byte is sent until it is written, and written at its own place, over any number of connections. So
is a download, the other way round. Both end with a SHA-256 of the whole.

:class:`ServerTransfers` belongs to a :class:`~terminals.protocol.server.ServerSide`, :class:`Transfers` to a
:class:`~terminals.protocol.client.ClientSession`; the page's twin of the latter is ``transfers.ts``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Any, Final

from terminals.protocol import messages
from terminals.protocol.messages import BadMessage, Binary, FrameType, Send

PIECE: Final = 1 << 16
"""Bytes of a file in one DATA frame; fewer only at its end."""
WINDOW: Final = 1 << 18
"""So many bytes of an upload are sent ahead of what is written, and of a download ahead of what is taken:
what is typed on the same connection waits behind no more."""
MAX_NAME: Final = 4096
MAX_BYTES: Final = 1 << 53
"""Larger numbers a page does not know."""
_TRANSFER: Final = re.compile(r"[A-Za-z0-9_-]{8,64}")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


class TransferError:
    """``code`` of a ``failed`` message."""

    FORBIDDEN: Final = "forbidden"
    """Not on this profile, or not by this client."""
    TOO_LARGE: Final = "too-large"
    TOO_MANY: Final = "too-many"
    NO_ROOM: Final = "no-room"
    NOT_WRITABLE: Final = "not-writable"
    """The folder, as the shell's account sees it."""
    CHECKSUM: Final = "checksum"
    """What arrived is not what was sent; nothing is kept of it."""
    GONE: Final = "gone"
    """Its terminal, its offer, or whoever was to open the file."""
    IO: Final = "io"
    """The disk."""
    CHANGED: Final = "changed"
    """The file is not the one that it was."""


class TransferFailed(Exception):
    """A transfer has come to nothing; ``code`` is of :class:`TransferError`."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True)
class Grant:
    """What may be transferred in a session."""

    upload: bool = False
    download: bool = False
    bytes: int = 0
    """Most of one file."""
    at_once: int = 1
    """Uploads of one user."""


def read_grant(value: object) -> Grant | None:
    """What ``attached.files`` says; ``None`` where it says nothing.

    Raises:
        BadMessage: it makes no sense.
    """
    if value is None:
        return None
    if not isinstance(value, dict):
        raise BadMessage("attached.files must be an object")
    fields = {**value, "type": "attached.files"}
    return Grant(
        fields.get("upload") is True,
        fields.get("download") is True,
        messages.integer(fields, "bytes", 0, MAX_BYTES),
        messages.integer(fields, "at_once", 1, 1000),
    )


def transfer_id(message: dict[str, Any]) -> str:
    """The id of a transfer, which its client has drawn.

    Raises:
        BadMessage: none.
    """
    name = messages.string(message, "transfer", 64)
    if not _TRANSFER.fullmatch(name):
        raise BadMessage(f"{message['type']}.transfer must be 8 to 64 of A-Z a-z 0-9 _ -")
    return name


def _channel(message: dict[str, Any], field: str = "channel") -> int:
    return messages.integer(message, field, 0, messages.MAX_CHANNEL)


def _digest(message: dict[str, Any]) -> str:
    digest = messages.string(message, "sha256", 64)
    if not _SHA256.fullmatch(digest):
        raise BadMessage(f"{message['type']}.sha256 must be 64 hexadecimal digits")
    return digest


# --- the server's side ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class OpenUpload:
    """A client has a file for the session behind ``handle``: see :meth:`ServerTransfers.opened`."""

    channel: int
    handle: int
    transfer: str
    name: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes of an upload, to be written at ``seq``."""

    channel: int
    seq: int
    data: bytes

    def __repr__(self) -> str:
        return f"<Piece of {len(self.data)} bytes at {self.seq} on channel {self.channel}>"


@dataclass(frozen=True, slots=True)
class OpenDownload:
    """A client wants what was offered, from ``offset`` on: see :meth:`ServerTransfers.opened`."""

    channel: int
    handle: int
    transfer: str
    offset: int


@dataclass(frozen=True, slots=True)
class Acked:
    """A client has a download up to ``seq``."""

    channel: int
    seq: int


@dataclass(frozen=True, slots=True)
class Finish:
    """A client has sent, or has received, all of a file with this digest."""

    channel: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Cancel:
    """A client has given a transfer up, for good, or does not want what was offered. ``channel``: the one
    that it had, if it had begun."""

    handle: int
    transfer: str
    channel: int | None


ServerItem = OpenUpload | Piece | OpenDownload | Acked | Finish | Cancel | Send


@dataclass(slots=True)
class _Served:
    handle: int
    transfer: str
    bytes: int
    upload: bool
    at: int | None = None
    """Where the next byte goes, or what was acknowledged; ``None`` until it is opened."""
    done: int = 0
    """What is written, or was sent."""
    finishing: bool = False


class ServerTransfers:
    """The transfers of one connection. ``emit(item)`` has something done."""

    KINDS: Final = frozenset({"upload", "download", "finish", "cancel"})

    def __init__(self, emit: Callable[[ServerItem], None]) -> None:
        self._emit = emit
        self._served: dict[int, _Served] = {}

    def __contains__(self, channel: int) -> bool:
        return channel in self._served

    def control(self, message: dict[str, Any], handles: dict[int, int], used: Collection[int]) -> None:
        """A message has come. ``handles``: of attachments by channel; ``used``: channels that are not free.

        Raises:
            BadMessage: it does not follow the protocol.
        """
        match message["type"]:
            case "upload" | "download":
                self._begin(message, handles, used)
            case "finish":
                channel, digest = _channel(message), _digest(message)
                # One that has failed meanwhile is nothing to talk about.
                if (served := self._served.get(channel)) is not None:
                    if served.at != served.bytes or served.finishing:
                        raise BadMessage("finish before the end of the file, or twice")
                    served.finishing = True
                    self._emit(Finish(channel, digest))
            case "cancel":
                transfer = transfer_id(message)
                if (handle := handles.get(_channel(message, "terminal"))) is not None:
                    self._emit(Cancel(handle, transfer, self._forget(handle, transfer)))

    def _begin(self, message: dict[str, Any], handles: dict[int, int], used: Collection[int]) -> None:
        channel, terminal = _channel(message), _channel(message, "terminal")
        if channel in used or channel in self._served:
            raise BadMessage(f"channel {channel} is in use")
        transfer, upload = transfer_id(message), message["type"] == "upload"
        amount = messages.integer(message, "bytes" if upload else "offset", 0, MAX_BYTES)
        name = messages.string(message, "name", MAX_NAME) if upload else ""
        handle = handles.get(terminal)
        if handle is None:
            self._tell("failed", channel=channel, code=TransferError.GONE, message="its terminal is gone")
            return
        self._served[channel] = _Served(handle, transfer, amount if upload else 0, upload)
        if upload:
            self._emit(OpenUpload(channel, handle, transfer, name, amount))
        else:
            self._emit(OpenDownload(channel, handle, transfer, amount))

    def _forget(self, handle: int, transfer: str) -> int | None:
        for channel, served in self._served.items():
            if (served.handle, served.transfer) == (handle, transfer):
                del self._served[channel]
                return channel
        return None

    def binary(self, frame: Binary) -> None:
        """A frame of a transfer's channel has come.

        Raises:
            BadMessage: it does not follow the protocol.
        """
        served = self._served[frame.channel]
        size = len(frame.payload)
        if frame.type is FrameType.DATA and served.upload:
            if served.at is None or frame.seq != served.at:
                raise BadMessage(f"a file goes on at {served.at}, not at {frame.seq}")
            if frame.seq + size > min(served.bytes, served.done + WINDOW + PIECE) or not 0 < size <= PIECE:
                raise BadMessage("more of a file than there is, or than may be sent ahead")
            served.at += size
            self._emit(Piece(frame.channel, frame.seq, frame.payload))
        elif frame.type is FrameType.ACK and not served.upload:
            if served.at is None or not served.at <= frame.seq <= served.done:
                raise BadMessage("an acknowledgement of what was not sent")
            served.at = frame.seq
            self._emit(Acked(frame.channel, frame.seq))
        else:
            raise BadMessage("a frame that goes the other way in this transfer")

    def opened(self, channel: int, offset: int, size: int = 0) -> None:
        """A transfer goes on at ``offset``; ``size``: of a file that is downloaded."""
        served = self._served.get(channel)
        if served is None:
            return
        served.at = served.done = offset
        if served.upload:
            self._tell("uploading", channel=channel, offset=offset)
        else:
            served.bytes = size
            self._tell("downloading", channel=channel, offset=offset, bytes=size)

    def written(self, channel: int, offset: int) -> None:
        """An upload is written up to ``offset``."""
        if (served := self._served.get(channel)) is not None:
            served.done = offset
            self._emit(Send(messages.encode_ack(channel, offset)))

    def room(self, channel: int) -> int:
        """Bytes of a download that may be sent now."""
        served = self._served.get(channel)
        if served is None or served.at is None or served.upload:
            return 0
        return min(served.bytes - served.done, served.at + WINDOW - served.done)

    def read(self, channel: int, data: bytes) -> None:
        """These are the next bytes of a download."""
        served = self._served[channel]
        self._emit(Send(messages.encode_data(channel, served.done, data)))
        served.done += len(data)

    def all_sent(self, channel: int, sha256: str) -> None:
        """There is no more of a download, whose digest is that."""
        if channel in self._served:
            self._tell("downloaded", channel=channel, sha256=sha256)

    def finished(self, channel: int, name: str = "") -> None:
        """An upload is there, under this name; or a download."""
        if self._served.pop(channel, None) is not None:
            self._tell("transferred", channel=channel, name=name)

    def failed(self, channel: int, code: str, message: str) -> None:
        """A transfer has come to nothing."""
        if self._served.pop(channel, None) is not None:
            self._tell("failed", channel=channel, code=code, message=message)

    def offer(self, terminal: int, transfer: str, name: str, size: int) -> None:
        """There is something to download."""
        self._tell("offer", channel=terminal, transfer=transfer, name=name, bytes=size)

    def withdraw(self, terminal: int, transfer: str) -> None:
        """There is not, any more."""
        self._tell("withdraw", channel=terminal, transfer=transfer)

    def _tell(self, kind: str, /, **fields: Any) -> None:
        self._emit(Send(messages.encode_text(kind, **fields).decode()))


# --- the client's side ----------------------------------------------------------------------


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
                channel = _channel(fields)
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
                held.theirs = _digest(fields)
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
