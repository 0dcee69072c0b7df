"""Packets between the session manager and its workers, its web processes, and operators' commands.

The two packets of the hot path are binary, native byte order (both ends are on one host):

====== ====================== ===========================================
first  rest                   meaning (worker to manager)
====== ====================== ===========================================
``I``  handle u32, seq u64,   input bytes for the shell, ``seq`` being the
       payload                offset of the first in the client's stream
``A``  handle u32, seq u64    the client has output up to ``seq``
====== ====================== ===========================================

All others are JSON objects, a class each. A request has a number, ``req``, and is answered by an object of
type ``reply`` with that number and the fields of a class of :mod:`terminals.control.answers`, or with an
``error``, one line. A handle names one attachment of one client to one session.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Final, Literal, NamedTuple

import msgspec
from msgspec import Meta

from terminals.control.answers import MonitorInfo, State
from terminals.control.framing import BadPacket, Packet, Record, pack, reader
from terminals.protocol import messages
from terminals.protocol.server import Hello as ClientHello
from terminals.protocol.server import Resume

_HOT: Final = struct.Struct("=cIQ")
Side = Annotated[int, Meta(ge=1, le=messages.MAX_SIDE)]
Handle = Annotated[int, Meta(ge=0, le=0xFFFFFFFF)]
Percent = Annotated[int, Meta(ge=0, le=100)]


class Hot(NamedTuple):
    """A decoded binary packet. ``kind`` is ``b"I"`` or ``b"A"``."""

    kind: bytes
    handle: int
    seq: int
    payload: bytes

    def __repr__(self) -> str:
        # What people type is nothing for a log.
        return f"<Hot {len(self.payload)} bytes at {self.seq} for {self.handle}>"


def encode_input(handle: int, seq: int, payload: bytes) -> bytes:
    """Input for the shell behind ``handle``."""
    return _HOT.pack(b"I", handle, seq) + payload


def encode_ack(handle: int, seq: int) -> bytes:
    """The client behind ``handle`` has output up to ``seq``."""
    return _HOT.pack(b"A", handle, seq)


# --- from a worker or web process ---------------------------------------------------------


class Request(Packet):
    """What is answered. Another packet may have a number, too, and is answered only if it is bad."""

    req: int = 0


class Hello(Request):
    """The first packet of a worker or web process; answered by ``Welcome``."""

    version: int
    role: Literal["worker", "web"]
    generation: str
    build: str
    pid: int
    protocol: int = 1
    """The best version of the WebSocket protocol that it speaks."""
    host: str = ""
    memory: int | None = None
    """Proportional set size in bytes; a process of an earlier build does not say it."""
    reads_on: bool = False
    """Whether it serves a connection of which somebody else has read the request."""
    sends_on: bool = False
    """Whether it can send clients on to another host."""


class Report(Request):
    """What a process says of itself from time to time."""

    memory: int


class Closed(Request):
    """A connection that was passed to it is gone."""


class Attach(Request):
    """A client wants a session; answered by ``Attached``, ``Routed``, ``Elsewhere`` or ``Refusal``."""

    profile: str
    client: str
    user: str
    """Empty for the holder of the token."""
    only: str | None
    """The only session that may be opened, if there is such a limit."""
    address: str
    cols: Side
    rows: Side
    since: float
    """Monotonic seconds at which the connection was accepted."""
    session: str | None = None
    resume: Resume | None = None
    watch: bool = False
    snapshots: bool = False
    """Whether its client knows what to do with a screen."""
    routable: bool = False
    """Whether the connection can be handed over to another worker."""
    everyone: bool = False
    """Whether sessions of other users are open to the client; with ``only``, that one, if it is there."""
    hops: bool = False
    """Whether the client can be sent on to another host."""


class Detach(Request):
    """An attachment is over. ``planned``: its end counts towards no loop."""

    handle: Handle
    planned: bool


class Resize(Request):
    """The terminal has another size."""

    handle: Handle
    cols: Side
    rows: Side


class End(Request):
    """The shell is to end."""

    handle: Handle


class Repaint(Request, tag="snapshot"):
    """A watcher was overtaken by the ring; answered by ``Painted``, with its descriptor."""

    handle: Handle


class OpenUpload(Request):
    """A client has a file for the session of ``handle``; answered by ``FileOpened``, with its descriptor, or
    with a ``name`` where it is there already."""

    handle: Handle
    transfer: str
    name: str
    bytes: int


class FinishTransfer(Request):
    """An upload is written, and what it was to be: it gets its name. Or the client has a download, and it is
    what was sent. Answered by ``FileOpened``."""

    handle: Handle
    transfer: str


class CancelTransfer(Request):
    """An upload, or a download, is given up. ``message``: why, where it was not a person who has said so."""

    handle: Handle
    transfer: str
    message: str = ""


class OpenDownload(Request):
    """A client wants what was offered; answered by ``FileOpened``, with its descriptor."""

    handle: Handle
    transfer: str


class DownloadProgress(Request):
    """A client has so much of a download."""

    handle: Handle
    transfer: str
    bytes: int


Files = OpenUpload | FinishTransfer | CancelTransfer | OpenDownload | DownloadProgress


class ClientAttach(Record, tag_field="type", tag="attach"):
    """An attach as a client says it."""

    channel: int
    session: str | None = None
    cols: Side = 80
    rows: Side = 24
    resume: Resume | None = None
    mode: Literal["read", "write"] = "write"


class Handoff(Request):
    """A connection is handed over to a worker of the generation ``to``, with its descriptor; see ``Conn``."""

    to: str
    listener: str
    address: str
    hello: ClientHello
    attach: ClientAttach
    since: float
    rest: bytes

    def __repr__(self) -> str:
        return f"<Handoff to {self.to}>"  # what was typed is nothing for a log


class Passed(Request):
    """A connection to the web port has asked for a terminal: it is to be passed on to a worker, with its
    descriptor and what was read of it."""

    listener: str
    address: str
    head: bytes

    def __repr__(self) -> str:
        return f"<Passed to {self.listener} of {self.address}>"  # it carries credentials


# --- from operators, `terminals ctl` and the web's API ------------------------------------


class Fenced(Request):
    """A command of a rollout: a stale fencing token must not get through."""

    fence: int | None = None


class Status(Request):
    """Answered by ``Status``."""


class Sessions(Request):
    """Answered by ``Sessions``."""


class Metrics(Request):
    """Answered by ``Metrics``."""


class Peers(Request):
    """Answered by ``Peers``."""


class Fence(Fenced):
    """Whether the lease still holds; answered by ``Fence``."""


class Wait(Request):
    """Until so many workers of a generation, and its web process, are there."""

    generation: str
    workers: int
    seconds: float


class Kill(Request):
    """A session is to end."""

    session: str


class Rename(Request):
    """A session has another title."""

    session: str
    title: str


class Revoke(Request):
    """The tickets that a user has are to be good for nothing; answered by ``Revoked``."""

    user: str


class Link(Request):
    """Somebody gives a link to a session away; answered by ``LinkInfo``."""

    session: str
    by: str
    read_only: bool
    seconds: int


class Links(Request):
    """Answered by ``Links``."""


class Unlink(Request):
    """A link is to be good for nothing, and whoever came by it to be disconnected."""

    id: str


class RecordSession(Request, tag="record"):
    """A session is to be recorded, or is not to be any more."""

    session: str
    on: bool = True


class Recordings(Request):
    """Answered by ``Recordings``."""


class OpenRecording(Request):
    """Answered by ``OpenedRecording``, with a descriptor of its file, to read only."""

    id: str


class RemoveRecording(Request):
    """One that is over is not to be kept any more."""

    id: str


class Monitored(Request):
    """A monitor says which it is; ``None``: there is none any more."""

    monitor: MonitorInfo | None


class Hosts(Request):
    """Answered by ``Hosts``."""


class HostState(Request):
    """The host is to be ready for new sessions, or not; ``message`` is shown in all terminals here."""

    state: State
    message: str = ""


class RenewHolder(Fenced):
    """The holder is to go on as another program."""

    argv: list[str]
    build: str


class Weights(Fenced):
    """Shares of new connections by generation; answered by ``Weights``."""

    weights: dict[str, int]


class Move(Fenced):
    """Live sessions are to move to a generation; answered by ``Moved``."""

    to: str
    share: Percent
    batch: int
    """Sessions every ``interval`` seconds, all within ``deadline``."""
    interval: float
    deadline: float
    retry_after: float = 0.25


class Retire(Fenced):
    """A generation is to stop in ``after`` seconds; answered by ``Retire``."""

    generation: str
    after: float
    way_back_from: str | None = None


class CancelRetire(Fenced):
    """... and is not."""

    generation: str


class Stop(Fenced):
    """A generation is to stop now; answered by ``Stopped`` after so many seconds at the most."""

    generation: str
    seconds: float = 10.0


Command = (
    Status
    | Sessions
    | Metrics
    | Peers
    | Fence
    | Wait
    | Kill
    | Rename
    | Revoke
    | Link
    | Links
    | Unlink
    | RecordSession
    | Recordings
    | OpenRecording
    | RemoveRecording
    | Monitored
    | Hosts
    | HostState
    | RenewHolder
    | Weights
    | Move
    | Retire
    | CancelRetire
    | Stop
)
ToManager = (
    Hello | Report | Closed | Attach | Detach | Resize | End | Repaint | Handoff | Passed | Files | Command
)


class Malformed(NamedTuple):
    """A packet of the manager's socket that says nothing, and how to answer it."""

    req: int
    error: str


class _Numbered(Record):
    """Of what is malformed, the least."""

    type: str
    req: int = 0


_read_to_manager: Callable[[bytes], ToManager] = reader(ToManager)
_read_numbered = reader(_Numbered)


def read_request(data: bytes) -> Hot | ToManager | Malformed:
    """A packet to the manager.

    Raises:
        BadPacket: neither a binary packet nor an object with a ``type``.
    """
    if data[:1] in (b"I", b"A") and len(data) >= _HOT.size:
        kind, handle, seq = _HOT.unpack_from(data)
        return Hot(kind, handle, seq, data[_HOT.size :])
    try:
        return _read_to_manager(data)
    except BadPacket as error:
        known = _read_numbered(data)
        return Malformed(known.req, f"{known.type}: {error}")


# --- from the manager ---------------------------------------------------------------------


class Conn(Packet):
    """A connection to serve, with its descriptor. One that another worker has begun to serve comes with
    what its client has said, the attach for which it is handed over, and bytes that were not looked at; one
    that a web process has passed on, with the request that it has read."""

    listener: str
    address: str
    hello: ClientHello | None = None
    attach: ClientAttach | None = None
    since: float | None = None
    """Monotonic seconds at which it was accepted, unless that is now."""
    rest: bytes | None = None

    def __repr__(self) -> str:
        return f"<Conn to {self.listener} of {self.address}>"


class Quit(Packet):
    """The process is to end, after its clients have been asked to come back."""


class Moving(Packet, tag="move"):
    """The client is to come back, within ``retry_after`` seconds: to another generation."""

    handle: Handle
    retry_after: float


class TakenOver(Packet):
    """Another client has the session now."""

    handle: Handle


class Superseded(Packet):
    """The same client has come again."""

    handle: Handle


class Sever(Packet):
    """The connection is to be cut: it was to move, and has not."""

    handle: Handle


class Refuse(Packet):
    """The client does not follow the protocol."""

    handle: Handle
    message: str


class Offer(Packet):
    """Somebody in the session has a file for its client."""

    handle: Handle
    transfer: str
    name: str
    bytes: int


class Withdraw(Packet):
    """... and has not, any more."""

    handle: Handle
    transfer: str


class Revoked(Packet):
    """By user: tickets that were first issued before that, in Unix ms, are revoked."""

    users: dict[str, int]


REVOKED_AT_ONCE: Final = 400
"""Users in a packet; each has some 300 bytes at the most."""


def revoked(users: Mapping[str, int]) -> Iterator[Revoked]:
    """As many packets as it takes."""
    items = list(users.items())
    for at in range(0, len(items), REVOKED_AT_ONCE):
        yield Revoked(users=dict(items[at : at + REVOKED_AT_ONCE]))


class _Reply(Packet, tag="reply"):
    req: int = 0
    error: str | None = None
    more: bool = False


class Answer(NamedTuple):
    """A reply, of which only its number and error were read."""

    req: int
    error: str | None
    data: bytes
    more: bool = False
    """An earlier manager says a long list in several answers."""

    def __repr__(self) -> str:
        return f"<Answer {len(self.data)} bytes to {self.req}>"


class Unknown(NamedTuple):
    """Of a newer manager, and nothing to this process."""


class Recording(Packet):
    """The session is recorded from now on, or is not any more. An earlier worker passes it over."""

    handle: Handle
    state: Literal["", "on", "lost"]


Order = Moving | TakenOver | Superseded | Sever | Refuse | Recording | Offer | Withdraw
_Sent = Conn | Quit | Revoked | Order | _Reply
_read_sent: Callable[[bytes], _Sent] = reader(_Sent)
_read_reply = reader(_Reply)


def read_order(data: bytes) -> Conn | Quit | Revoked | Order | Answer | Unknown:
    """A packet of the manager.

    Raises:
        BadPacket: no object with a ``type``.
    """
    try:
        packet = _read_sent(data)
    except BadPacket:
        _read_numbered(data)
        return Unknown()
    return Answer(packet.req, packet.error, data) if isinstance(packet, _Reply) else packet


def read_reply(data: bytes) -> Answer:
    """A reply, where nothing else can come.

    Raises:
        BadPacket: it is none.
    """
    reply = _read_reply(data)
    return Answer(reply.req, reply.error, data, reply.more)


def reply(req: int, fields: msgspec.Struct | None = None) -> bytes:
    """An answer with the fields of a class.

    Raises:
        BadPacket: with text that is none.
    """
    body = b"}" if fields is None else pack(fields)[1:]
    return b'{"type":"reply","req":%d%s%s' % (req, b"" if body == b"}" else b",", body)


def refusal(req: int, error: str) -> bytes:
    """An answer that says why there is none."""
    return pack(_Reply(req=req, error=error.encode(errors="replace").decode()))
