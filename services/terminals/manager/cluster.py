"""The session manager's side of other hosts: has them asked, remembers what is heard, and says where a
session is."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import secrets
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple, get_args

from msgspec.structs import replace

from terminals.background import Troubles
from terminals.cluster.lastscreens import LastScreens, ScreenCopy
from terminals.cluster.news import (
    SOCKET,
    Alive,
    Copied,
    Copy,
    Doubled,
    FromAsker,
    Heard,
    Missing,
    Neighbour,
    News,
    Own,
    Plan,
    Unheard,
    read_by_manager,
)
from terminals.cluster.table import Standing, Table, good_for
from terminals.configfile import ConfigError
from terminals.control.answers import HostInfo, State
from terminals.control.channel import Channel
from terminals.control.descriptors import memory_file
from terminals.manager.child import start_child
from terminals.manager.homes import Homes, OtherHost, PeerRules
from terminals.manager.screens import Snapshot
from terminals.wholefile import write_whole

log = logging.getLogger("terminals.manager")

INSTANCE: Final = "instance"
STATE: Final = "state"
"""Files in the state folder."""
STATES: Final[tuple[State, ...]] = get_args(State)
RESTART_SECONDS: Final = 1.0
COPY_SECONDS: Final = 10.0
"""A screen that another host has not taken by then is not taken."""
MUCH_MORE: Final = 2.0
"""A new session begins at another host that has so many times the room: what is known of it is some seconds
old, and hosts that are nearly alike must not send people to and fro."""


class Count(NamedTuple):
    """How this host is now; see :class:`News`."""

    sessions: int
    room: int
    build: str


class Cluster:
    """The other hosts, as this one knows them, and what they are told of this one."""

    def __init__(self, homes: Homes, state_dir: Path, control: Path) -> None:
        """``control`` is the manager's control socket."""
        self.tag = homes.tag
        self._control = control
        self._rules = homes.rules or PeerRules("", 0)
        self._homes = homes
        self._state_dir = state_dir
        self._asked = {other.tag: other for other in homes.others.values() if other.peers}
        rules = self._rules
        self.table = Table(self._asked, interval=rules.interval, lost_after=rules.lost_seconds)
        self.state: State = "ready"
        """What this host says of itself. It outlives restarts: who restarts a host has emptied it before."""
        self._count: Callable[[], Count] | None = None
        self._strays: Callable[[], list[str]] = list
        self._began = 0.0
        self._instance = ""
        self._listener: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: Channel[FromAsker] | None = None
        self._started = 0.0
        self._closed = False
        self._doubled: tuple[str, float] | None = None
        self._troubles = Troubles(log)
        self.on_missing: Callable[[list[str]], None] = lambda sessions: None
        """Told of which sessions the host that is to keep their screens has none."""
        self._copies: dict[str, asyncio.Future[str]] = {}
        """Screens that are on their way to another host, by session."""
        self._screens_at: str | None = None
        self._kept = LastScreens(state_dir)

    @property
    def pid(self) -> int | None:
        """Of the asker."""
        return self._process.pid if self._process else None

    def begin(self, count: Callable[[], Count], strays: Callable[[], list[str]]) -> None:
        """Be as the manager before was. ``count`` says how this host is now, ``strays`` which of its sessions
        have ids that do not name it.

        Raises:
            ConfigError: what it has left makes no sense.
        """
        self._count, self._strays = count, strays
        self._tidy()
        path = self._state_dir / STATE
        try:
            word = path.read_text().strip()
        except FileNotFoundError:
            return
        if word not in STATES:
            raise ConfigError(f"{path}: {' or '.join(STATES)}, not {word[:50]!r}: remove it")
        self.state = word

    def start(self, listener: socket.socket) -> None:
        """Have the others asked, and answered on ``listener``. The loop must be running.

        Raises:
            OSError: the state folder cannot be written.
        """
        self._instance = _instance(self._state_dir)
        self._began = asyncio.get_running_loop().time()
        self._listener = listener
        self._start()
        # The asker of the manager before may have been at work for a moment more.
        asyncio.get_running_loop().call_later(COPY_SECONDS, self._tidy)

    def be(self, state: State) -> None:
        """Be ready, or not, from now on.

        Raises:
            OSError: that cannot be kept.
        """
        write_whole(self._state_dir / STATE, f"{state}\n".encode())
        self.state = state
        self.look()

    def look(self) -> None:
        """Tell the asker how this host is now; called each second."""
        if self._channel is None or self._count is None:
            return
        count = self._count()
        news = News(
            name=self._rules.name,
            tag=self.tag,
            instance=self._instance,
            region=self._rules.region,
            state=self.state,
            sessions=count.sessions,
            room=0 if self.closed else count.room,
            build=count.build,
            heard=self.table.ages(asyncio.get_running_loop().time()),
            strays=self._strays(),
            screens_at=self.screens_at(),
        )
        self._channel.send(Own(news=news))

    def close(self) -> None:
        """Let the asker end."""
        self._closed = True
        if self._channel is not None:
            self._channel.close()

    # --- what is known ------------------------------------------------------------------

    @property
    def closed(self) -> str:
        """Why no session begins here; "" where they do."""
        if self.state != "ready":
            return f"no session begins at this host now: its state is {self.state}"
        return self._taken

    def refuses(self, program: bool) -> str:
        """Why a session may not begin here; "" where it may. A ``program`` measures this very host, and is
        welcome while it is emptied: a build must be able to come to it, and its monitor to go on."""
        return self._taken if program and self.state == "draining" else self.closed

    @property
    def _taken(self) -> str:
        """That the tag is another host's, too; "" where it is not, or has not been for a while."""
        if self._doubled is None or not self._recent(self._doubled[1]):
            return ""
        return f"no session begins at this host: its tag, {self.tag}, is that of {self._doubled[0]}"

    @property
    def complete(self) -> bool:
        """Whether all others have been asked, if only in vain."""
        # An asker that cannot be started must not keep anybody waiting for ever.
        return self._listener is None or self.table.complete or not self._recent(self._began)

    def home_of(self, session: str) -> OtherHost | None:
        """The other host that has a session: its id says so, or, where that is older than tags, the host."""
        home = self._homes.home_of(session)
        if home is None and (tag := self.table.home_of(session)) is not None:
            return self._homes.by_tag(tag)
        return home

    def has_other_home(self, session: str) -> bool:
        """Whether a session is at another host, if there is one of that id."""
        return self.home_of(session) is not None

    def standing(self, tag: str) -> Standing:
        """How it is with another host; one that is not asked is taken to be there."""
        if tag not in self._asked:
            return Standing.THERE
        return self.table.standing(asyncio.get_running_loop().time(), tag)

    def silent_since(self, tag: str) -> float:
        """Since when nobody has heard it, in Unix seconds."""
        since = self.table.silent_since(tag)
        return time.time() - (0.0 if since is None else asyncio.get_running_loop().time() - since)

    def here(self) -> HostInfo:
        """This host."""
        count = Count(0, 0, "") if self._count is None else self._count()
        return HostInfo(
            name=self._rules.name,
            tag=self.tag,
            standing="here",
            region=self._rules.region,
            state=self.state,
            sessions=None if self._count is None else count.sessions,
            room=None if self._count is None else count.room,
            build=count.build,
        )

    def others(self) -> list[HostInfo]:
        """The others, by name."""
        return [self._info(other) for _, other in sorted(self._homes.others.items())]

    def _info(self, other: OtherHost) -> HostInfo:
        said = HostInfo(name=other.name, tag=other.tag, standing="not asked", urls=dict(other.urls))
        if other.tag not in self._asked:
            return said
        standing, news = self.standing(other.tag), self.table.news(other.tag)
        silent = time.time() - self.silent_since(other.tag)
        heard = standing in (Standing.THERE, Standing.UNTRIED)
        said = replace(said, standing=standing.name.lower(), silent=None if heard else silent)
        if news is None:
            return said
        room, sessions = news.room, news.sessions
        about = {"region": news.region, "state": news.state, "build": news.build}
        return replace(said, **about, room=room, sessions=sessions)

    def place(self, profile: str) -> str | None:
        """Where a new session had better begin; ``None``: here.

        Hosts of this one's region come first. Of those that have much more room, any may be drawn: whoever
        asks in the same second must not all go to one.
        """
        if self._count is None or not self._asked:
            return None
        room = 0 if self.closed else self._count().room
        others = self._ready(profile)
        near = [(other, news) for other, news in others if news.region == self._rules.region]
        fits = [(other, news) for other, news in near if news.room >= MUCH_MORE * max(room, 1)]
        if not fits and not room:
            fits = near or others
        if not fits:
            return None
        (other, _), *_ = random.choices(fits, [news.room for _, news in fits])  # noqa: S311
        return other.urls[profile]

    def _ready(self, profile: str) -> list[tuple[OtherHost, News]]:
        return [
            (other, news)
            for other, news in self._there()
            if news.state == "ready" and news.room and profile in other.urls
        ]

    def _recent(self, at: float) -> bool:
        return asyncio.get_running_loop().time() - at <= good_for(self._rules.interval)

    # --- last screens -------------------------------------------------------------------

    def screens_at(self) -> str | None:
        """The tag of the host that keeps the last screens of this one's sessions: the next by tag, or, when
        that is lost, the one after it; "": none does, ``None``: none yet."""
        if not self._rules.screens:
            return ""
        if self._screens_at is None or self.standing(self._screens_at) is Standing.LOST:
            # Not the second because it was the first to answer, or the first is silent for a moment.
            left = (tag for tag in _after(self.tag, self._asked) if self.standing(tag) is not Standing.LOST)
            found = next(left, None)
            self._screens_at = found if found and self.standing(found) is Standing.THERE else None
        return self._screens_at

    async def copy(self, to: str, screen: ScreenCopy, snapshot: Snapshot) -> str:
        """Have the host of the tag ``to`` keep a screen; why it does not, "" where it does."""
        if self._channel is None or screen.id in self._copies:
            return "the asker of other hosts is being started"
        future = self._copies[screen.id] = asyncio.get_running_loop().create_future()
        try:
            self._channel.send(Copy(to=to, screen=screen, length=snapshot.length), (snapshot.fd,))
            return await asyncio.wait_for(future, COPY_SECONDS)
        except (OSError, TimeoutError) as error:
            return str(error) or f"no answer within {COPY_SECONDS:g} s"
        finally:
            del self._copies[screen.id]

    def alive(self, to: str, sessions: Iterable[str]) -> None:
        """Have that host keep the screens of these sessions only."""
        if self._channel is None:
            return
        data = "\n".join(sessions).encode()
        with contextlib.suppress(OSError):  # it is said again
            fd = memory_file("sessions", data)
            try:
                self._channel.send(Alive(to=to, length=len(data)), (fd,))
            finally:
                os.close(fd)

    def keeper_of(self, tag: str) -> OtherHost | None:
        """The other host that says that it has last screens of the host of this tag, and answers; ``None``
        where this one has, or none. Of several, the one that was to have them: who is sent on once is at one
        that has them, and is sent on no more."""
        if tag in self._kept.tags():
            return None
        news = self.table.news(tag)
        found = [other for other, said in self._there() if tag in said.screens_of]
        chosen = [other for other in found if news is not None and other.tag == news.screens_at]
        return next(iter(chosen or found), None)

    def _there(self) -> Iterator[tuple[OtherHost, News]]:
        for tag, other in self._asked.items():
            news = self.table.news(tag)
            if news is not None and self.standing(tag) is Standing.THERE:
                yield other, news

    def _tidy(self) -> None:
        """Keep no screens of hosts that are known no more, or of any where that is not wanted any more."""
        try:
            self._kept.of_these_only(self._asked if self._rules.screens else ())
        except OSError as error:
            self._troubles.say("screens of other hosts", f"they cannot be removed: {error}")

    def last_screen(self, tag: str, session: str) -> tuple[ScreenCopy, bytes] | None:
        """The last screen of a session of another host, if this one keeps it."""
        return self._kept.find(tag, session)

    # --- the asker ----------------------------------------------------------------------

    def _start(self) -> None:
        if self._closed:
            return
        assert self._listener is not None
        loop = asyncio.get_running_loop()
        fd = self._listener.fileno()
        try:
            self._process, ours = start_child("terminals.cluster.asker", str(fd), fds=(fd,))
        except OSError as error:
            self._troubles.say("the asker of other hosts cannot be started", str(error))
            loop.call_later(RESTART_SECONDS, self._start)
            return
        self._troubles.over("the asker of other hosts cannot be started")
        self._started = loop.time()
        self._channel = Channel(ours, read_by_manager, self._told, self._lost)
        self._channel.send(self._plan())
        self.look()

    def _plan(self) -> Plan:
        rules = self._rules
        return Plan(
            neighbours=[
                Neighbour(name=other.name, tag=tag, address=other.peers) for tag, other in self._asked.items()
            ],
            interval=rules.interval,
            control=str(self._control),
            socket=str(self._control.with_name(SOCKET)),
            authority=rules.authority,
            certificate=rules.certificate,
            key=rules.key,
            token=rules.token,
            screens=str(self._state_dir) if rules.screens else "",
        )

    def _told(self, packet: FromAsker, fds: list[int]) -> None:
        for fd in fds:
            os.close(fd)
        now = asyncio.get_running_loop().time()
        match packet:
            case Heard(news=news):
                self._troubles.over(self._what(news.tag))
                self.table.heard(now, news)
            case Unheard(tag=tag, reason=reason):
                self._troubles.say(self._what(tag), reason)
                self.table.unheard(now, tag)
            case Copied(id=session, trouble=trouble):
                if (future := self._copies.get(session)) is not None and not future.done():
                    future.set_result(trouble)
            case Missing(of=tag, sessions=missing):
                if tag == self._screens_at:
                    self.on_missing(missing)
            case Doubled(name=name):
                self._doubled = (name, now)
                self._troubles.say(f"the tag {self.tag}", f"it is {name}'s, too: no session begins here")

    def _what(self, tag: str) -> str:
        return f"the host {self._asked[tag].name if tag in self._asked else tag}"

    def _lost(self) -> None:
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        self._process = self._channel = None
        for future in self._copies.values():
            if not future.done():
                future.set_result("the asker of other hosts has ended")
        if self._closed:
            return
        log.warning("the asker of other hosts has ended: starting another")
        loop = asyncio.get_running_loop()
        early = loop.time() - self._started < RESTART_SECONDS
        loop.call_later(RESTART_SECONDS if early else 0.0, self._start)


def _after(tag: str, tags: Iterable[str]) -> Iterator[str]:
    """The others of these, from the next one on, round."""
    return iter(sorted(set(tags) - {tag}, key=lambda other: (other < tag, other)))


def _instance(state_dir: Path) -> str:
    """What tells this host from a copy of it: a number of its own, and one of its kernel's present life.

    Raises:
        OSError: it cannot be kept.
    """
    path = state_dir / INSTANCE
    try:
        own = path.read_text().strip()
    except FileNotFoundError:
        own = secrets.token_hex(8)
        write_whole(path, f"{own}\n".encode())
    boot = Path("/proc/sys/kernel/random/boot_id").read_text()
    return f"{own}-{boot[:8]}"
