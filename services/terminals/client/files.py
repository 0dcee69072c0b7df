"""Files to and from a terminal's session, over its connections that come and go."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final

from terminals.client.errors import ClientError
from terminals.protocol import client_transfers as transfer
from terminals.protocol.client_transfers import Transfers
from terminals.protocol.transfer import TransferError

BLOCK: Final = 1 << 20


class TransferRefused(ClientError):
    """A file is not transferred; ``code`` is of :class:`terminals.protocol.transfer.TransferError`."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code


@dataclass(slots=True, eq=False)
class Transfer:
    """One file on its way. It moves whenever its terminal is pumped."""

    id: str
    name: str
    """At the end that of the file at the server, of an upload."""
    bytes: int
    upload: bool
    path: Path
    done: int = 0
    """Bytes that the other end has, of an upload; that we have, of a download."""
    finished: bool = False
    error: TransferRefused | None = None
    file: BinaryIO | None = field(default=None, repr=False)

    @property
    def over(self) -> bool:
        """Whether it has come to its end, good or bad."""
        return self.finished or self.error is not None


class Files:
    """The transfers of one terminal. ``carry_out()`` does what the conversation wants."""

    def __init__(self, transfers: Transfers, carry_out: Callable[[], None]) -> None:
        self._transfers = transfers
        self._carry_out = carry_out
        self._held: dict[str, Transfer] = {}
        self.offers: dict[str, transfer.Offered] = {}
        """Files that the session has for us, by transfer."""

    def upload(self, path: Path, name: str | None = None, *, transfer_id: str | None = None) -> Transfer:
        """Begin to upload a file. With the ``transfer_id`` of an earlier client it goes on where that was.

        Raises:
            OSError: it cannot be read.
        """
        file = path.open("rb")
        size = os.fstat(file.fileno()).st_size
        held = Transfer(transfer_id or secrets.token_hex(16), name or path.name, size, True, path, file=file)
        self._held[held.id] = held
        self._transfers.upload(held.id, held.name, size)
        self._carry_out()
        return held

    def download(self, offered: transfer.Offered, path: Path) -> Transfer:
        """Take a file that was offered, to ``path``, which must not be there.

        Raises:
            OSError: it cannot be written.
        """
        file = path.open("xb+")
        held = Transfer(offered.transfer, offered.name, offered.bytes, False, path, file=file)
        self._held[held.id] = held
        self.offers.pop(offered.transfer, None)
        self._transfers.download(held.id, held.name, held.bytes)
        self._carry_out()
        return held

    def cancel(self, transfer_id: str) -> None:
        """Give a transfer up, or decline what was offered; nothing is kept of it."""
        self.offers.pop(transfer_id, None)
        self._transfers.cancel(transfer_id)
        if (held := self._held.get(transfer_id)) is not None and not held.over:
            self._failed(held, TransferRefused("cancelled", "it was given up"))
        self._carry_out()

    def do(self, item: transfer.TransferItem) -> None:
        """Carry out what the conversation wants."""
        match item:
            case transfer.Offered(transfer=name):
                self.offers[name] = item
            case transfer.Withdrawn(transfer=name):
                self.offers.pop(name, None)
            case _ if (held := self._held.get(item.transfer)) is not None and not held.over:
                try:
                    self._act(held, item)
                except OSError as error:
                    self._transfers.cancel(held.id)
                    text = f"{held.path}: {error.strerror or error}"
                    self._failed(held, TransferRefused(TransferError.IO, text))

    def _act(self, held: Transfer, item: transfer.TransferItem) -> None:
        assert held.file is not None
        match item:
            case transfer.Read(offset=offset, length=length):
                self._transfers.give(held.id, offset, os.pread(held.file.fileno(), length, offset))
            case transfer.Hash():
                self._transfers.digest(held.id, _digest(held.file.fileno()))
            case transfer.Progress(bytes=count):
                held.done = count
            case transfer.Received(offset=offset, data=data):
                held.file.seek(offset)
                held.file.write(data)
                held.file.flush()
                held.done = offset + len(data)
                self._transfers.taken(held.id, held.done)
            case transfer.Transferred(name=name):
                held.finished = True
                held.name = name
                held.file.close()
            case transfer.NotTransferred(code=code, message=message):
                self._failed(held, TransferRefused(code, message))

    @staticmethod
    def _failed(held: Transfer, error: TransferRefused) -> None:
        held.error = error
        if held.file is not None:
            held.file.close()
        if not held.upload:
            with contextlib.suppress(OSError):
                held.path.unlink()


def _digest(fd: int) -> str:
    digest, offset = hashlib.sha256(), 0
    while data := os.pread(fd, BLOCK, offset):
        digest.update(data)
        offset += len(data)
    return digest.hexdigest()
