"""What an attach is refused for, each reason of each step; with a real holder, real shells and real rings."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import resource
import shutil
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from terminals.control import packets
from terminals.control.answers import Elsewhere, Routed
from terminals.control.channel import Channel
from terminals.manager.attach import FULL_SECONDS, Attacher, Granted, Refused, authorise, identify, resume
from terminals.manager.cluster import Cluster
from terminals.manager.config import ManagerConfig
from terminals.manager.generations import Generations
from terminals.manager.holding import HolderLink
from terminals.manager.homes import Homes, OtherHost
from terminals.manager.peers import Peer
from terminals.manager.registry import Registry
from terminals.manager.session import Session
from terminals.manager.shell import Profile
from terminals.protocol import ids
from terminals.protocol.messages import ErrorCode
from terminals.protocol.resume import Resume as Place
from terminals.protocol.server import Resume

from tests.support.holder import RunningHolder
from tests.support.processes import open_files

ADAS = "session_1700000000000_adasadasadas"
BOBS = "session_1700000000000_bobsbobsbobs"
NOBODYS = "session_1700000000000_nobodysnobodys"
OLD = "1700000000000"
SHELL = ("env", "PS1=$ ", "bash", "--norc", "--noprofile")


def attach(**fields: Any) -> packets.Attach:
    usual = {"profile": "system", "client": "me", "user": "", "only": None, "address": "10.0.0.1"}
    return packets.Attach(**{**usual, "cols": 80, "rows": 24, "since": 0.0, **fields})


# --- identify ------------------------------------------------------------------------------

OWNERS = {ADAS: "ada", BOBS: "bob", NOBODYS: ""}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"session": ADAS}, ADAS),
        ({"session": ADAS, "user": "ada"}, ADAS),
        ({"session": BOBS, "user": "ada"}, None),  # a name that is not hers: she begins one
        ({"session": NOBODYS, "user": "ada"}, None),
        ({"session": BOBS, "user": "ada", "resume": Resume(0, "e")}, BOBS),  # and is refused there
        ({"session": BOBS, "user": "ada", "watch": True}, BOBS),
        ({"user": "ada", "only": ADAS}, ADAS),
        ({"session": BOBS, "user": "ada", "everyone": True}, BOBS),
        ({"session": BOBS, "user": "~link-1", "everyone": True, "only": BOBS}, BOBS),
        ({"session": ADAS, "user": "~link-1", "everyone": True, "only": BOBS}, ADAS),  # refused there
        ({"session": None}, None),
        ({"session": "undefined"}, None),
        ({"session": "1700000000000"}, ids.parse_session_id("1700000000000").value),
        (
            {"session": "1700000000000", "user": "ada"},
            ids.parse_session_id("1700000000000", owner="ada").value,
        ),
    ],
)
def test_who_is_meant(fields, expected):
    found = identify(attach(**fields), OWNERS.get, tag="", elsewhere=lambda name: False)
    if expected is None:
        assert found.origin is ids.Origin.NEW
        assert found.value not in OWNERS
    else:
        assert found.value == expected


@pytest.mark.parametrize("name", ["nonsense", "session_1_a", "a" * 129, "../../etc/passwd"])
def test_a_name_that_is_none_is_refused(name):
    with pytest.raises(Refused) as refused:
        identify(attach(session=name), OWNERS.get, tag="", elsewhere=lambda name: False)
    assert refused.value.answer.code == ErrorCode.BAD_SESSION_ID


# --- authorise -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Held:
    id: str = ADAS
    user: str = "ada"
    profile: str = "system"


@pytest.mark.parametrize(
    ("fields", "held", "text"),
    [
        ({}, Held(), None),  # the token
        ({"user": "ada"}, Held(), None),
        ({"only": ADAS, "user": "ada"}, Held(), None),
        ({}, None, None),
        ({"user": "bob", "everyone": True}, Held(), None),
        ({"user": "bob", "everyone": True}, None, None),  # and has one of that name from now on
        ({"user": "~link-1", "everyone": True, "only": ADAS}, Held(), None),
        ({"user": "~link-1", "everyone": True, "only": ADAS}, None, "does not exist (any more)"),
        ({"user": "~link-1", "everyone": True, "only": BOBS}, Held(), "the ticket is for another session"),
        ({"user": "~link-1", "only": ADAS}, Held(), "does not exist (any more)"),
        ({"user": "bob"}, Held(), "does not exist (any more)"),
        ({"user": "ada"}, Held(user=""), "does not exist (any more)"),
        ({"profile": "claude"}, Held(), "belongs to the profile system, not to claude"),
        ({"only": BOBS}, Held(), "the ticket is for another session"),
        ({"only": BOBS}, None, "the ticket is for another session"),
        ({"resume": Resume(0, "e")}, None, "does not exist (any more)"),
        ({"watch": True}, None, "does not exist (any more)"),
    ],
)
def test_who_may_have_it(fields, held, text):
    request = attach(session=ADAS, **fields)
    session_id = ids.SessionId(ADAS, ids.Origin.CANONICAL)
    if text is None:
        authorise(request, session_id, held)
        return
    with pytest.raises(Refused) as refused:
        authorise(request, session_id, held)
    assert refused.value.answer.code == ErrorCode.UNKNOWN_SESSION
    assert text in refused.value.answer.message


# --- resume --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("had", "expected"),
    [
        (None, Place(100, 0)),
        (Resume(150, "e"), Place(150, 0)),
        (Resume(200, "e"), Place(200, 0)),
        (Resume(40, "e"), Place(100, 60)),
        (Resume(201, "e"), ErrorCode.BAD_MESSAGE),
        (Resume(150, "before"), ErrorCode.UNKNOWN_SESSION),
    ],
)
def test_where_it_goes_on(had, expected):
    request = attach(session=ADAS, resume=had)
    if isinstance(expected, Place):
        assert resume(request, ADAS, epoch="e", tail=100, head=200) == expected
        return
    with pytest.raises(Refused) as refused:
        resume(request, ADAS, epoch="e", tail=100, head=200)
    assert refused.value.answer.code == expected


# --- place and take, with what a session manager has -----------------------------------------


class House:
    """Sessions, a worker, and whoever decides."""

    def __init__(self, folder: Path, link: HolderLink, registry: Registry, attacher: Attacher) -> None:
        self.folder = folder
        self.link = link
        self.registry = registry
        self.attacher = attacher
        self.worker = Peer(role="worker", generation="g1")

    async def granted(self, **fields: Any) -> Session:
        """Attach, and wait for the shell."""
        granted = self.attacher.decide(self.worker, attach(**fields))
        assert isinstance(granted, Granted)
        os.close(granted.fds[0])
        if granted.session.started is not None:
            await granted.session.started
        return granted.session

    @property
    def left(self) -> tuple[set[str], dict[int, str], list[str]]:
        """What a refusal must not change: sessions, attachments, open files."""
        return set(self.registry.table), dict(self.worker.handles), sorted(open_files(os.getpid()))

    def lose(self, session: Session) -> None:
        """The client that types is gone, unplanned."""
        assert session.attachment is not None
        self.attacher.detach(self.worker, session.attachment.handle, planned=False)


@contextlib.asynccontextmanager
async def house(folder: Path, holder: str, *, ready: int = 0, **settings: Any) -> AsyncIterator[House]:
    config = ManagerConfig(
        socket=folder / "manager.sock",
        state_dir=folder / "state",
        listeners={},
        profiles={
            "system": Profile(SHELL, ready=ready),
            "claude": Profile(SHELL),
            "nobodys": Profile(SHELL, user="no-such-user"),
        },
        holder=Path(holder),
        stable_seconds=600.0,  # on a machine that is slow, too, each attach here is lost at once
        **settings,
    )
    link = HolderLink(lambda key, status: registry.exited(key, status), lambda: None, lambda: None)
    items = await link.take_over(holder)
    registry = Registry(config, link)
    registry.restore(items)
    generations = Generations(folder / "generations.json")
    attacher = Attacher(
        registry,
        generations,
        config,
        Cluster(config.homes, config.state_dir, config.socket),
        lambda fields: None,
        {},
    )
    try:
        yield House(folder, link, registry, attacher)
    finally:
        for session in (*registry.live, *registry.ready):
            session.stop()
        link.close()
        registry.close()


@contextlib.contextmanager
def no_more_files(spare: int) -> Iterator[None]:
    """So many numbers are left for new descriptors."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken: list[int] = []
    limit = max(int(entry.name) for entry in Path("/proc/self/fd").iterdir()) + 1 + spare
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    try:
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.dup(0))
        for _ in range(spare):
            os.close(taken.pop())
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for fd in taken:
            os.close(fd)


Prepare = Callable[[House], Awaitable[dict[str, Any]]]


async def loops_with_new_ones(house: House) -> dict[str, Any]:
    for _ in range(3):
        house.lose(await house.granted())
    return {}


async def loops_and_looks_on(house: House) -> dict[str, Any]:
    there = await house.granted(address="10.0.0.2")
    await loops_with_new_ones(house)
    return {"session": there.id, "watch": True}


async def loops_on_one(house: House) -> dict[str, Any]:
    session = await house.granted()
    epoch = session.epoch
    house.lose(session)
    for _ in range(2):  # the first loss was its beginning
        house.lose(await house.granted(session=session.id, resume=Resume(0, epoch)))
    return {"session": session.id, "resume": Resume(0, epoch)}


async def all_are_taken(house: House) -> dict[str, Any]:
    await house.granted()
    await house.granted(user="ada")
    return {}


async def hers_are_taken(house: House) -> dict[str, Any]:
    await house.granted(user="ada")
    return {"user": "ada"}


async def no_folder(house: House) -> dict[str, Any]:
    shutil.rmtree(house.folder / "state" / "sessions")
    return {}


async def no_user(house: House) -> dict[str, Any]:
    return {"profile": "nobodys"}


async def anybody(house: House) -> dict[str, Any]:
    return {}


async def somebody_back(house: House) -> dict[str, Any]:
    session = await house.granted()
    return {"session": session.id, "resume": Resume(0, session.epoch)}


async def somebody_elses_profile(house: House) -> dict[str, Any]:
    session = await house.granted()
    return {"session": session.id, "profile": "claude"}


async def another_epoch(house: House) -> dict[str, Any]:
    session = await house.granted()
    return {"session": session.id, "resume": Resume(0, "before")}


async def beyond_the_end(house: House) -> dict[str, Any]:
    session = await house.granted()
    return {"session": session.id, "resume": Resume(1 << 40, session.epoch)}


REFUSALS: dict[str, tuple[Prepare, str, str, float | None]] = {
    "an address that loops with new sessions": (
        *(loops_with_new_ones, ErrorCode.BREAKER_OPEN, "3 new sessions of 10.0.0.1 were lost", 5.0),
    ),
    "an address that loops, as a watcher": (
        *(loops_and_looks_on, ErrorCode.BREAKER_OPEN, "3 new sessions of 10.0.0.1 were lost", 5.0),
    ),
    "a session that is lost again and again": (
        *(loops_on_one, ErrorCode.BREAKER_OPEN, "was lost 3 times right after attaching", 5.0),
    ),
    "the limit of sessions": (*(all_are_taken, ErrorCode.TOO_MANY_SESSIONS, "2 sessions are running", 5.0),),
    "the limit of a user's sessions": (
        *(hers_are_taken, ErrorCode.TOO_MANY_SESSIONS, "1 sessions of ada are running", 5.0),
    ),
    "a ring that cannot be made": (
        *(no_folder, ErrorCode.UNAVAILABLE, "no shell could be started: No such file", FULL_SECONDS),
    ),
    "an account that is not there": (
        *(no_user, ErrorCode.UNAVAILABLE, "there is no user no-such-user", FULL_SECONDS),
    ),
    "a session of another profile": (
        *(somebody_elses_profile, ErrorCode.UNKNOWN_SESSION, "belongs to the profile system", None),
    ),
    "a shell that was started anew": (
        *(another_epoch, ErrorCode.UNKNOWN_SESSION, "has been started anew since", None),
    ),
    "output that was never printed": (beyond_the_end, ErrorCode.BAD_MESSAGE, "cannot resume", None),
}


def decide(tmp_path: Path, prepare: Prepare, *, spare: int | None = None) -> Refused:
    """What an attach is refused with; nothing is left of it."""

    async def scenario(path: str) -> Refused:
        settings = {"max_sessions": 2, "max_sessions_per_user": 1, "breaker_threshold": 3}
        if prepare in (loops_with_new_ones, loops_and_looks_on, loops_on_one):
            settings = {"breaker_threshold": 3}
        async with house(tmp_path, path, **settings) as home:
            request = attach(**await prepare(home))
            gc.collect()
            before = home.left
            with contextlib.ExitStack() as stack, pytest.raises(Refused) as refused:
                if spare is not None:
                    stack.enter_context(no_more_files(spare))
                home.attacher.decide(home.worker, request)
            assert home.left == before
            return refused.value

    with RunningHolder() as running:
        return asyncio.run(scenario(running.socket))


@pytest.mark.parametrize("why", REFUSALS)
def test_a_refusal_says_why_and_leaves_nothing(tmp_path, why):
    prepare, code, text, retry_after = REFUSALS[why]
    answer = decide(tmp_path, prepare).answer
    assert (answer.code, answer.refused) == (code, True)
    assert text in answer.message
    if retry_after is None:
        assert answer.retry_after is None
    else:
        assert 0 < answer.retry_after <= retry_after  # of a breaker, some of it is over


def test_a_newcomer_is_refused_while_there_are_files_for_those_who_are_there(tmp_path):
    answer = decide(tmp_path, anybody, spare=4).answer
    assert (answer.code, answer.retry_after) == (ErrorCode.UNAVAILABLE, FULL_SECONDS)
    assert "no more files can be open" in answer.message


@pytest.mark.parametrize("spare", [0, 1])
def test_who_comes_back_and_finds_no_files_is_told_to_come_again(tmp_path, spare):
    answer = decide(tmp_path, somebody_back, spare=spare).answer
    assert (answer.code, answer.retry_after) == (ErrorCode.UNAVAILABLE, FULL_SECONDS)
    assert "cannot be opened now: Too many open files" in answer.message


@pytest.mark.parametrize("watch", [False, True])
def test_a_worker_that_dies_while_it_asks_leaves_nobody_attached(tmp_path, watch):
    """A client comes back to the worker that it had: telling that one of it shows that it is dead."""

    async def scenario(path: str) -> None:
        async with house(tmp_path, path) as home:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

            def lost() -> None:
                for handle in list(home.worker.handles):
                    home.attacher.detach(home.worker, handle, planned=False)

            home.worker.channel = Channel(ours, lambda data: data, lambda packet, fds: None, lost)
            session = await home.granted()
            theirs.close()
            granted = home.attacher.decide(home.worker, attach(session=session.id, watch=watch))
            assert isinstance(granted, Granted)
            os.close(granted.fds[0])
            if watch:  # nobody is told of that: its end is seen when the answer cannot be sent
                home.worker.channel.send(packets.Superseded(handle=0))
            assert (session.attachment, session.watchers, home.worker.handles) == (None, {}, {})
            assert session.idle(asyncio.get_running_loop().time() + 60) >= 60

    with RunningHolder() as running:
        asyncio.run(scenario(running.socket))


def test_who_belongs_elsewhere_is_sent_there_before_anything_is_taken(tmp_path):
    async def scenario(path: str) -> None:
        async with house(tmp_path, path) as home:
            session = await home.granted()
            request = attach(session=session.id, client="another")
            assert home.attacher.decide(home.worker, request, "g2") == Routed(route="g2")
            assert session.attachment is not None
            assert session.attachment.client == "me"

    with RunningHolder() as running:
        asyncio.run(scenario(running.socket))


AWAY = ids.new_session_id("away").value
HOMES = Homes("here", {"other": OtherHost("away", {"system": "wss://other.example/", "claude": "ws://o:1/"})})


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"user": "ada"},
        {"user": "ada", "resume": Resume(5, "e")},
        {"user": "ada", "watch": True},
        {"user": "ada", "only": AWAY, "session": None},
        {"user": "~link-1", "everyone": True, "only": AWAY},
    ],
)
def test_who_asks_for_a_session_of_another_host_is_sent_there(tmp_path, fields):
    """Whoever asks: it is the other host that knows whose the session is, and whether it is there."""

    async def scenario(path: str) -> None:
        async with house(tmp_path, path, homes=HOMES) as home:
            decide = home.attacher.decide
            request = attach(**{"session": AWAY, **fields})
            with pytest.raises(Refused) as refused:
                decide(home.worker, request)
            answer = refused.value.answer
            assert (answer.code, answer.retry_after) == (ErrorCode.UNAVAILABLE, FULL_SECONDS)
            assert "wss://other.example/" in answer.message, "a worker of before cannot send anybody on"
            home.worker.sends_on = True
            assert decide(home.worker, request) == Elsewhere(url="wss://other.example/")
            assert home.registry.live == []

    with RunningHolder() as running:
        asyncio.run(scenario(running.socket))


def test_what_begins_here_says_so_in_its_id_and_what_names_no_other_host_is_here(tmp_path):
    async def scenario(path: str) -> None:
        async with house(tmp_path, path, homes=HOMES) as home:
            session = await home.granted()
            assert ids.tag_of(session.id) == "here"
            legacy = await home.granted(session=OLD, client="another")
            assert legacy.id == ids.parse_session_id(OLD).value
            unknown = attach(session=ids.new_session_id("gone").value, resume=Resume(1, "e"))
            with pytest.raises(Refused) as refused:
                home.attacher.decide(home.worker, unknown)
            assert refused.value.answer.code == ErrorCode.UNKNOWN_SESSION

    with RunningHolder() as running:
        asyncio.run(scenario(running.socket))


def test_who_is_refused_today_may_have_it_tomorrow(tmp_path):
    """A refusal costs its address and its session nothing but the time that it says."""

    async def scenario(path: str) -> None:
        async with house(tmp_path, path, breaker_threshold=3, breaker_cooldown=0.05) as home:
            fields = await loops_on_one(home)
            with pytest.raises(Refused) as refused:
                home.attacher.decide(home.worker, attach(**fields))
            assert refused.value.answer.retry_after is not None
            await asyncio.sleep(refused.value.answer.retry_after)
            session = await home.granted(**fields)
            assert session.attachment is not None

    with RunningHolder() as running:
        asyncio.run(scenario(running.socket))
