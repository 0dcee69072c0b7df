"""What the session manager answers, a class for each request of :mod:`terminals.control.packets`.

Fields that a manager of an earlier build does not know have defaults.
"""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec import Raw

from terminals.control.framing import Record, reader
from terminals.protocol import HEARTBEAT
from terminals.protocol.messages import LastScreen
from terminals.protocol.transfer import Grant


class Done(Record):
    """Nothing is said but that it is done."""


# --- to workers and web processes -----------------------------------------------------------


class Oidc(Record):
    """A provider of OpenID Connect that people may sign in by."""

    issuer: str
    client_id: str
    public_urls: tuple[str, ...]
    """Addresses of the page, to which, with ``oidc/callback``, the provider sends people back."""
    client_secret_file: str | None = None
    """Where web processes find the client's secret; ``None``: the client is a public one."""
    ca: str | None = None
    """File of certificates to trust in place of the system's."""
    label: str | None = None
    """What people know the provider by; ``None``: the issuer's host."""
    scopes: tuple[str, ...] = ("openid",)
    user_claim: str = "sub"
    user_prefix: str = "oidc:"
    """What the names of its users begin with, so that none is somebody's who has a ticket."""
    roles_claim: str = "groups"
    roles: dict[Literal["operator", "user", "viewer"], tuple[str, ...]] = msgspec.field(default_factory=dict)
    """Values of that claim, by the role that they give."""
    default_role: Literal["operator", "user", "viewer"] | None = None
    """Of those who have none of them; ``None``: they are not let in."""
    session_seconds: float = 12 * 3600.0
    """After that the provider is asked again."""


class Front(Record):
    """What the manager's configuration says of the outside."""

    allowed_origins: tuple[str, ...] = ()
    """Pages that may open terminals; none named: those of the same host."""
    trusted_proxies: tuple[str, ...] = ()
    """Networks whose X-Forwarded-For is believed."""
    heartbeat: float = HEARTBEAT
    """Seconds between pings to clients."""
    tls: bool = False
    """Whether all listeners speak TLS."""
    oidc: Oidc | None = None
    neighbours: tuple[str, ...] = ()
    """Where terminals of other hosts are: ``ws:`` or ``wss:``, host and port."""


class Welcome(Record):
    """To a hello."""

    version: int = 1
    protocol: int = 1
    """The best version of the WebSocket protocol that the manager knows."""
    listeners: dict[str, int] = msgspec.field(default_factory=dict)
    """Ports by name."""
    front: Front = Front()
    reports: bool = False
    """Whether the manager wants to hear from the process from time to time."""
    passes: bool = False
    """Whether the manager passes a connection to the web port on to a worker."""


class Painted(Record):
    """A screen: ``length`` bytes in a memory file, true at an offset of the output."""

    offset: int
    length: int


class FileOpened(Record):
    """A file is open, or is there: then with its ``name``. With a ``code`` it is neither; see
    :class:`terminals.protocol.transfer.TransferError`."""

    code: str = ""
    message: str = ""
    name: str | None = None
    bytes: int = 0
    """Of a download: what was offered."""


class Attached(Record):
    """A session is the client's; with descriptors of its ring and of a doorbell, and of its screen."""

    session: str
    status: Literal["created", "resumed", "migrated"]
    epoch: str
    handle: int
    output: int
    """Offset of the first byte that the client gets."""
    skipped: int
    """Bytes before it that the client has not had, and will not get."""
    input: int
    """Bytes of its input that the terminal has taken."""
    origin: str
    head: int | None = None
    mode: Literal["read", "write"] = "write"
    cols: int | None = None
    rows: int | None = None
    input_unknown: bool = False
    """The client's position was forgotten: ``input`` is where it goes on."""
    snapshot: Painted | None = None
    recording: Literal["", "on", "lost"] = ""
    """``lost``: it is to be recorded, and is not now."""
    files: Grant | None = None


class Routed(Record):
    """The session belongs to that generation, which can serve it."""

    route: str


class Elsewhere(Record):
    """The session is at another host; only to workers that know of it."""

    url: str


class Refusal(Record):
    """The client is told an error of the WebSocket protocol."""

    code: str
    message: str
    retry_after: float | None = None
    since: float | None = None
    """Unix seconds, of ``host-lost``."""
    screen: LastScreen | None = None
    """The last one that is known of the session, if its client has not seen it."""
    refused: bool = True


Outcome = Attached | Routed | Elsewhere | Refusal


class _Shape(Record):
    refused: bool = False
    route: str | None = None
    url: str | None = None


_read_shape = reader(_Shape)
_read_attached = reader(Attached)
_read_routed = reader(Routed)
_read_elsewhere = reader(Elsewhere)
_read_refusal = reader(Refusal)
read_painted = reader(Painted)
read_file_opened = reader(FileOpened)


def read_outcome(data: bytes) -> Outcome:
    """What has become of an attach.

    Raises:
        BadPacket: nothing that is known.
    """
    shape = _read_shape(data)
    if shape.refused:
        return _read_refusal(data)
    if shape.url is not None:
        return _read_elsewhere(data)
    return _read_attached(data) if shape.route is None else _read_routed(data)


# --- to operators ---------------------------------------------------------------------------


class ManagerInfo(Record):
    """The manager itself."""

    pid: int
    host: str
    version: str
    started: float
    """Unix seconds."""
    build: str | None = None
    code: str | None = None
    """See :mod:`terminals.parts`."""
    settings: str | None = None
    """Digest of its settings, and the settings themselves, without secrets, as JSON."""
    configured: Raw = Raw(b"{}")
    protocol: int = 1


class GenerationInfo(Record):
    """A generation: its share, its processes, its counters."""

    name: str
    build: str
    weight: int
    state: str
    """``serving``, ``draining`` or ``retired``."""
    workers: int
    web: int
    connections: int
    attached: int
    assigned: int
    """Live sessions that belong to it."""
    attaches: int
    short_lived: int
    loops: int
    memory_bytes: int
    """Of its largest worker."""
    breaker_opened: int | None = None
    retire_at: float | None = None
    """Unix seconds."""
    way_back_from: str | None = None
    """The generation that this one is kept warm for."""


class SessionCounts(Record):
    """Sessions by state. Those that are ``left`` are with the holder alone."""

    live: int
    attached: int
    ended: int
    watchers: int = 0
    expired: int = 0
    left: int = 0


class HolderInfo(Record):
    """What the holder says of itself, as the manager heard it at its hello."""

    version: int
    build: str
    pid: int
    resumes: list[int] = msgspec.field(default_factory=list)
    number: int = 0
    code: str = ""
    python: str = ""


class HolderStatus(HolderInfo):
    """... and what it has, when it is asked itself."""

    kept: int
    shells: int
    """That run."""
    manager: int | None
    """Process id of its manager, where it can be seen."""


State = Literal["ready", "draining", "maintenance"]
"""What a host says of itself: only at one that is ready sessions begin."""


class HostInfo(Record):
    """A host, as the one that answers knows it; what another has said last, if it has said anything."""

    name: str
    tag: str
    standing: str
    """``here``, or in lower case one of :class:`~terminals.cluster.table.Standing`."""
    region: str = ""
    state: str = ""
    sessions: int | None = None
    room: int | None = None
    build: str = ""
    silent: float | None = None
    """Seconds since anybody has heard of it, where it does not answer."""
    urls: dict[str, str] = msgspec.field(default_factory=dict)


class Hosts(Record):
    """This host first. ``port``: where others ask it."""

    items: list[HostInfo]
    closed: str = ""
    """Why no session begins at this host; "" where they do."""
    port: int | None = None
    asker: int | None = None
    """The process id of what asks them."""


class MonitorInfo(Record):
    """What the monitor that watches over this host has said of itself."""

    build: str
    code: str
    settings: str
    configured: Raw
    started: float


class ShellCounts(Record):
    """Shells that are ready, and how the others came about."""

    ready: int
    started: int
    found_ready: int


class ScreenCounts(Record):
    """Screens that are kept, and that were painted; the keeper's process id."""

    followed: int
    snapshots: int
    keeper: int | None


class TlsInfo(Record):
    """The terminator's process id, and handshakes in progress."""

    terminator: int | None
    handshakes: int


class PoolInfo(Record):
    """Connections on their way to the processes that serve them, counted over all session managers."""

    waiting: int
    """Now, for a process to be there."""
    room: int
    """Most that may wait."""
    accepted: int
    passed: int
    dropped: int
    waited: float
    """Seconds that those which were passed on had waited, in all."""


class Status(Record):
    """State of the manager, its generations, and counts of its sessions."""

    manager: ManagerInfo
    fence: int
    generations: list[GenerationInfo]
    sessions: SessionCounts
    listeners: dict[str, int]
    unsaved: str = ""
    """Why the table of generations cannot be written."""
    holder: HolderInfo | None = None
    monitor: MonitorInfo | None = None
    shells: ShellCounts | None = None
    screens: ScreenCounts | None = None
    tls: TlsInfo | None = None
    pool: PoolInfo | None = None
    host_state: str = "ready"
    """Only at a host that is ready sessions begin."""


class SessionInfo(Record):
    """One session."""

    id: str
    profile: str
    live: bool
    attached: bool
    generation: str
    origin: str
    created: float
    """Unix seconds."""
    output: int
    """Bytes that it has printed."""
    breaker: str
    title: str = ""
    user: str = ""
    watchers: int = 0
    idle: float | None = None
    """Seconds without anybody; ``None`` where it has ended."""
    pid: int | None = None
    status: int | None = None
    recording: Literal["", "on", "lost"] = ""
    """``lost``: it is to be recorded, and is not now."""
    host: str = ""
    """The name of the other host that it is at; "": it is here."""


class Sessions(Record):
    """Every session, the oldest first."""

    items: list[SessionInfo]


class PeerInfo(Record):
    """A worker or web process."""

    role: str
    generation: str
    pid: int
    memory_bytes: int
    host: str = ""
    silent: float | None = None
    """Seconds since its latest report; ``None`` where it makes none."""
    passed_over: bool = False
    """It has been silent for so long that nobody is led to it."""


class Peers(Record):
    """The processes of all generations."""

    items: list[PeerInfo]


Sample = tuple[str, dict[str, str], float]
"""Name, labels, value."""


class Family(Record):
    """A metric family by Prometheus conventions."""

    name: str
    type: Literal["counter", "gauge", "histogram"]
    help: str
    samples: list[Sample]


class Metrics(Record):
    """Everything that is counted."""

    items: list[Family]


class Revoked(Record):
    """Tickets of the user that were first issued before that, in Unix ms, are revoked."""

    before: int


class LinkInfo(Record):
    """A link to one session that somebody has given away."""

    id: str
    session: str
    by: str
    """Whose it is; empty: a holder of the token."""
    read_only: bool
    created: int
    """Unix seconds."""
    until: int
    """Unix seconds past which it is good no more."""
    revoked: int = 0
    """When it was revoked, in Unix ms; 0: it was not."""


class Links(Record):
    """Those that are good, the oldest first."""

    items: list[LinkInfo]


class RecordingInfo(Record):
    """What was recorded of one session, or is being so."""

    id: str
    session: str
    user: str
    """Whose session it was; empty: of a holder of the token."""
    profile: str
    title: str
    created: int
    """Unix seconds."""
    bytes: int
    seconds: float
    """From its beginning to its latest event."""
    required: bool
    """Its profile is recorded, and not somebody's wish."""
    state: Literal["running", "ended", "full", "cut"]
    """``ended``: to the shell's end; ``full``: to the size that one may have; ``cut``: somewhere else."""


class Recordings(Record):
    """Those that are kept, the oldest first."""

    items: list[RecordingInfo]


class OpenedRecording(Record):
    """Its file, of which so many bytes are whole; with its descriptor."""

    info: RecordingInfo
    bytes: int


class Fence(Record):
    """The highest fencing token seen."""

    fence: int


class Weights(Record):
    """The weights as they are now, and whether they were others before."""

    weights: dict[str, int]
    changed: bool


class Moved(Record):
    """What became of the sessions that were to move.

    moved: came back to the new generation, or had no viewer and belong to it now.
    drained: ended by themselves meanwhile.
    severed: their connection was closed and nobody was back before the deadline.
    remaining: not reached before the deadline.
    """

    moved: int
    drained: int
    severed: int
    remaining: int
    seconds: float
    cleared: float
    """Seconds until no moving session was served by another generation any more."""


class LedBack(Record):
    """Everybody was led to a generation."""

    moved: Moved
    turned: float
    """Seconds until it had all new connections."""
    seconds: float
    """In all."""


class Retire(Record):
    """When it stops, in Unix seconds."""

    retire_at: float


class Stopped(Record):
    """Whether all its processes are gone."""

    stopped: bool
