"""What a host says of itself to the others that ask it, and what the session manager and its asker say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from terminals.cluster.lastscreens import ScreenCopy
from terminals.control.answers import State
from terminals.control.framing import Packet, Record, reader

SOCKET: Final = "hosts.sock"
"""Beside the control socket: where processes of a host ask something of the others."""


def name_of(tag: str) -> str:
    """What the certificate of a host says that it is."""
    return f"h-{tag}.terminals"


class News(Record):
    """What a host says of itself."""

    name: str
    tag: str
    instance: str
    """Of this host alone, even where another has a copy of its files."""
    region: str = ""
    state: State = "ready"
    sessions: int = 0
    """Live ones."""
    room: int = 0
    """New sessions that it would take."""
    build: str = ""
    """Of its session manager."""
    heard: dict[str, float] = msgspec.field(default_factory=dict)
    """By the others' tags: seconds since they answered this host."""
    strays: list[str] = msgspec.field(default_factory=list)
    """Live sessions whose ids do not say that they are here: they are older than its tag."""
    screens_at: str | None = ""
    """The tag of the host that is to keep the last screens of its sessions; "": none, ``None``: none yet."""
    screens_of: list[str] = msgspec.field(default_factory=list)
    """The tags of the hosts of whose sessions it keeps last screens: said by the asker, whose they are."""


class Neighbour(Record):
    """A host to be asked."""

    name: str
    tag: str
    address: str
    """``http:`` or ``https:``, host and port."""


class Plan(Packet):
    """To the asker, first: whom to ask, how often, and by what both sides know each other."""

    neighbours: list[Neighbour]
    interval: float
    """Seconds."""
    control: str
    """The manager's control socket."""
    socket: str
    """See :data:`SOCKET`."""
    authority: str = ""
    """Files of the certificates to trust, and of the own with its key. Without them ..."""
    certificate: str = ""
    key: str = ""
    token: str = ""
    """... the file of the token that all of them have."""
    screens: str = ""
    """The state folder, in which screens of the others' sessions are kept; "": none are."""


class Own(Packet):
    """To the asker: what others are to hear of this host from now on."""

    news: News


class Copy(Packet):
    """To the asker: the host of the tag ``to`` is to keep this screen, of ``length`` bytes in the memory file
    that comes along; answered by ``Copied``."""

    to: str
    screen: ScreenCopy
    length: int


class Alive(Packet):
    """To the asker: that host is to keep screens of no other sessions than those whose ids are in the memory
    file that comes along, of ``length`` bytes: a line each."""

    to: str
    length: int


class Copied(Packet):
    """From the asker: a screen is kept, or why it is not."""

    id: str
    trouble: str = ""


class Missing(Packet):
    """From the asker: of these sessions that host keeps no screen, whatever it was sent."""

    of: str
    sessions: list[str]


class Heard(Packet):
    """From the asker: a neighbour has answered."""

    news: News


class Unheard(Packet):
    """From the asker: a neighbour was asked and has not answered as it should."""

    tag: str
    reason: str


class Doubled(Packet):
    """From the asker: a host has our tag, too, and is not this one."""

    name: str


ToAsker = Plan | Own | Copy | Alive
FromAsker = Heard | Unheard | Doubled | Copied | Missing

read_by_asker: Callable[[bytes], ToAsker] = reader(ToAsker)
read_by_manager: Callable[[bytes], FromAsker] = reader(FromAsker)
read_news: Callable[[bytes], News] = reader(News)
