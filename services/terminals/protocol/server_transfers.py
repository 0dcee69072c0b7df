"""Files as channels of a connection: the server's side, without I/O. See :mod:`.transfer`."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Final

from terminals.protocol import messages
from terminals.protocol.messages import BadMessage, Binary, FrameType, Send
from terminals.protocol.transfer import (
    MAX_BYTES,
    MAX_NAME,
    PIECE,
    WINDOW,
    TransferError,
    channel_of,
    digest_of,
    transfer_id,
)


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
                channel, digest = channel_of(message), digest_of(message)
                # One that has failed meanwhile is nothing to talk about.
                if (served := self._served.get(channel)) is not None:
                    if served.at != served.bytes or served.finishing:
                        raise BadMessage("finish before the end of the file, or twice")
                    served.finishing = True
                    self._emit(Finish(channel, digest))
            case "cancel":
                transfer = transfer_id(message)
                if (handle := handles.get(channel_of(message, "terminal"))) is not None:
                    self._emit(Cancel(handle, transfer, self._forget(handle, transfer)))

    def _begin(self, message: dict[str, Any], handles: dict[int, int], used: Collection[int]) -> None:
        channel, terminal = channel_of(message), channel_of(message, "terminal")
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
