"""Packets on the manager's socket for files: with the child that opens them, and with ``terminals send``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal

from terminals.control.framing import Packet, Record, reader


class Child(Packet):
    """A child of ours asks what to do."""

    secret: str

    def __repr__(self) -> str:
        return "<Child>"


class Job(Packet):
    """That: see :mod:`terminals.manager.filechild`."""

    kind: Literal["open", "finish", "remove"]
    part: str
    name: str = ""
    folder: str | None = None
    pid: int = 0
    """Of the shell whose current folder it is, where none is given."""
    uid: int | None = None
    """Of whom to do it as, with these groups; ``None``: as the holder is."""
    gid: int | None = None
    groups: list[int] | None = None


class Done(Packet):
    """It is done, or why it is not; with the descriptors of what was opened."""

    name: str = ""
    error: str = ""
    errno: int = 0


class Send(Packet):
    """A file for the client of a session, with its descriptor. The same ``transfer`` goes on."""

    session: str
    key: str
    transfer: str
    name: str
    bytes: int

    def __repr__(self) -> str:
        return f"<Send {self.transfer} of {self.session}>"


class Heard(Packet):
    """To ``terminals send``: whether anybody is there to take it, and how much has arrived."""

    clients: int
    bytes: int = 0


class Sent(Packet):
    """... it has arrived, whole."""


class NotSent(Packet):
    """... it has not, and will not."""

    message: str


Asked = Child | Done | Send
read_asked: Callable[[bytes], Asked] = reader(Asked)
read_told: Callable[[bytes], Heard | Sent | NotSent] = reader(Heard | Sent | NotSent)
KEY: Final = "TERMINAL_FILES_KEY"
SOCKET: Final = "TERMINAL_FILES"


class UploadRecord(Record, omit_defaults=True):
    """What the next manager has to know of an upload, kept with the descriptors of its folder and its part
    file."""

    session: str
    profile: str
    transfer: str
    user: str
    name: str
    """As it is to be called."""
    bytes: int
    part: str
    seen: float
    """Unix seconds at which a client was last there."""
    done: str | None = None
    """What it is called, once it is there."""
