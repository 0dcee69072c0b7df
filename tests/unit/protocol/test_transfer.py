"""Files over connections that are cut anywhere: each byte once, at its own place."""

from __future__ import annotations

import collections
import functools
import hashlib
import json
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from terminals.protocol import messages
from terminals.protocol.client_transfers import (
    Hash,
    NotTransferred,
    Offered,
    Progress,
    Read,
    Received,
    Transferred,
    Transfers,
)
from terminals.protocol.messages import BadMessage, Send
from terminals.protocol.server_transfers import (
    Acked,
    Cancel,
    Finish,
    OpenDownload,
    OpenUpload,
    Piece,
    ServerItem,
    ServerTransfers,
)
from terminals.protocol.transfer import PIECE, WINDOW, Grant, TransferError

GRANT = Grant(upload=True, download=True, bytes=1 << 30, at_once=4)
ID = "transfer-1"
HANDLE = 7


@functools.cache
def content(size: int) -> bytes:
    """Bytes of which no piece is like another."""
    return b"".join(hashlib.sha256(str(at).encode()).digest() for at in range(-(-size // 32)))[:size]


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


ACTIONS = ("to server", "to client", "work", "read", "hash")


class World:
    """A client, a server with one file, and a network between them that loses what is on its way."""

    def __init__(self, source: bytes, *, upload: bool) -> None:
        self.source, self.upload = source, upload
        self.there = bytearray()
        """At the other end of the transfer."""
        self.events: list[object] = []
        self.client = Transfers(0, self._client_does)
        self.reads: collections.deque[Read] = collections.deque()
        self.hashes: list[Hash] = []
        self.to_server: collections.deque[str | bytes] = collections.deque()
        self.to_client: collections.deque[str | bytes] = collections.deque()
        self.work: collections.deque[ServerItem] = collections.deque()
        self.connected = False
        self.name: str | None = None
        self.attach()
        if upload:
            self.client.upload(ID, "a file", len(source))

    def attach(self) -> None:
        self.server = ServerTransfers(self._server_does)
        self.sent: int | None = None
        self.connected = True
        self.client.attached(GRANT)
        if not self.upload and self.name is None:
            self.server.offer(0, ID, "a file", len(self.source))

    def cut(self) -> None:
        """All that is on its way is lost, in both directions, and pieces that were not written."""
        self.client.detached()
        for lost in (self.to_server, self.to_client, self.work):
            lost.clear()
        self.connected = False
        self.attach()

    def _client_does(self, item: object) -> None:
        match item:
            case Send(data):
                self.to_server.append(data)
            case Read():
                self.reads.append(item)
            case Hash():
                self.hashes.append(item)
            case Offered(transfer=name, name=file, bytes=size):
                self.client.download(name, file, size)
            case Received(offset=offset, data=data):
                # What was kept is said to be kept; a piece that comes again comes at the same place.
                assert offset <= len(self.there)
                self.there[offset : offset + len(data)] = data
                self.client.taken(ID, offset + len(data))
            case _:
                self.events.append(item)

    def _server_does(self, item: ServerItem) -> None:
        (self.to_client if isinstance(item, Send) else self.work).append(
            item.data if isinstance(item, Send) else item  # type: ignore[arg-type]
        )

    @property
    def busy(self) -> bool:
        """Whether there is something to do, as far as it can be seen."""
        return bool(self.to_server or self.to_client or self.work or self.reads or self.hashes)

    def step(self, action: str) -> bool:
        """Do one thing; whether there was something to do."""
        match action:
            case "to server" if self.to_server:
                self._hear(self.to_server.popleft())
            case "to client" if self.to_client:
                message = self.to_client.popleft()
                if isinstance(message, str):
                    assert self.client.control(json.loads(message))
                else:
                    self.client.binary(messages.decode_binary(message))
            case "work" if self.work:
                self._work(self.work.popleft())
            case "work" if not self.upload and self._read_on():
                pass
            case "read" if self.reads:
                read = self.reads.popleft()
                data = self.source[read.offset : read.offset + read.length]
                self.client.give(read.transfer, read.offset, data)
            case "hash" if self.hashes:
                self.client.digest(
                    self.hashes.pop().transfer, digest(self.source if self.upload else self.there)
                )
            case _:
                return False
        return True

    def _hear(self, message: str | bytes) -> None:
        if isinstance(message, str):
            self.server.control(json.loads(message), {0: HANDLE}, {0})
        else:
            frame = messages.decode_binary(message)
            if frame.channel in self.server:
                self.server.binary(frame)

    def _read_on(self) -> bool:
        if self.sent is None:
            return False
        if size := min(PIECE, self.server.room(self.sent)):
            at = self.server._served[self.sent].done
            self.server.read(self.sent, self.source[at : at + size])
            if at + size == len(self.source):
                self.server.all_sent(self.sent, digest(self.source))
            return True
        return False

    def _work(self, item: ServerItem) -> None:
        match item:
            case OpenUpload(channel=channel):
                if self.name is not None:
                    self.server.opened(channel, len(self.there))
                else:
                    self.server.opened(channel, len(self.there))
            case Piece(channel=channel, seq=seq, data=data):
                assert seq == len(self.there), "written at another place, or twice"
                self.there += data
                self.server.written(channel, len(self.there))
            case Finish(channel=channel, sha256=sha256):
                assert sha256 == digest(self.source)
                assert bytes(self.there) == self.source
                self.name = "a file"
                self.server.finished(channel, self.name)
            case OpenDownload(channel=channel, offset=offset):
                self.server.opened(channel, offset, len(self.source))
                self.sent = channel
                if offset == len(self.source):
                    self.server.all_sent(channel, digest(self.source))
            case Acked():
                pass

    def settle(self) -> None:
        """Let everything that is under way come to its end."""
        while sum(self.step(action) for action in ACTIONS):
            pass


SIZES = st.sampled_from([0, 1, PIECE - 1, PIECE, PIECE + 1, WINDOW, WINDOW + PIECE + 5, 3 * WINDOW + 7])


@pytest.mark.parametrize("upload", [True, False], ids=["upload", "download"])
@given(
    size=SIZES,
    cuts=st.lists(st.integers(0, 60), max_size=5),
    random=st.randoms(use_true_random=False),
)
@settings(max_examples=40, deadline=None)
def test_cut_anywhere_a_file_arrives_whole_and_is_told_once(
    upload: bool, size: int, cuts: list[int], random: Random
) -> None:
    """``cuts``: so many things happen, in any order that they can, before each."""
    world = World(content(size), upload=upload)
    for count in cuts:
        for _ in range(count):
            while not world.step(random.choice(ACTIONS)) and world.busy:
                pass
        world.cut()
    world.settle()
    assert bytes(world.there) == world.source
    assert world.name == "a file"
    ends = [event for event in world.events if not isinstance(event, Progress)]
    assert ends == [Transferred(ID, "a file")]


def test_no_more_than_a_window_is_ahead() -> None:
    world = World(content(4 * WINDOW), upload=True)
    while world.step("to server") or world.step("to client") or world.step("read"):
        pass
    while world.work and isinstance(world.work[0], OpenUpload):
        world.step("work")
        while world.step("to server") or world.step("to client") or world.step("read"):
            pass
    assert sum(len(item.data) for item in world.work if isinstance(item, Piece)) == WINDOW


class Side:
    """A server's side alone, with one upload of 100 bytes that has been opened at 10."""

    def __init__(self) -> None:
        self.items: list[Any] = []
        self.side = ServerTransfers(self.items.append)
        self.say("upload", channel=9, terminal=0, transfer=ID, name="x", bytes=100)
        self.side.opened(9, 10)
        self.items.clear()

    def say(self, kind: str, **fields: object) -> None:
        self.side.control({"type": kind, **fields}, {0: HANDLE}, {0})

    def frame(self, data: bytes) -> None:
        self.side.binary(messages.decode_binary(data))


@pytest.mark.parametrize(
    "frame",
    [
        messages.encode_data(9, 11, b"x"),
        messages.encode_data(9, 9, b"x"),
        messages.encode_data(9, 10, b"x" * 91),
        messages.encode_data(9, 10, b""),
        messages.encode_ack(9, 10),
        messages.encode_snapshot(9, 10, b"x"),
    ],
    ids=["a gap", "again", "past the end", "nothing", "an acknowledgement", "a screen"],
)
def test_a_frame_that_does_not_belong_there_is_refused(frame: bytes) -> None:
    side = Side()
    with pytest.raises(BadMessage):
        side.frame(frame)
    assert not side.items


def test_more_than_may_be_sent_ahead_is_refused() -> None:
    items: list[Any] = []
    side = ServerTransfers(items.append)
    message = {"type": "upload", "channel": 9, "terminal": 0, "transfer": ID, "name": "x", "bytes": 1 << 30}
    side.control(message, {0: HANDLE}, {0})
    side.opened(9, 0)
    at = 0
    with pytest.raises(BadMessage, match="sent ahead"):
        for at in range(0, 1 << 20, PIECE):
            side.binary(messages.decode_binary(messages.encode_data(9, at, bytes(PIECE))))
    assert at == WINDOW + PIECE


@pytest.mark.parametrize(
    "fields",
    [
        {"transfer": "../../x"},
        {"transfer": "short"},
        {"transfer": None},
        {"channel": 0},
        {"channel": 256},
        {"channel": 9},
        {"bytes": -1},
        {"bytes": 1.5},
        {"bytes": 1 << 60},
        {"name": "n" * 4097},
        {"name": "\ud800"},
    ],
    ids=str,
)
def test_a_malformed_upload_is_refused(fields: dict[str, Any]) -> None:
    side = Side()
    usual = {"channel": 8, "terminal": 0, "transfer": "transfer-2", "name": "x", "bytes": 1}
    with pytest.raises(BadMessage):
        side.say("upload", **{**usual, **fields})


def test_a_finish_before_the_end_is_refused() -> None:
    with pytest.raises(BadMessage, match="before the end"):
        Side().say("finish", channel=9, sha256="0" * 64)


def test_an_upload_for_a_terminal_that_is_gone_is_told_so() -> None:
    side = Side()
    side.say("upload", channel=8, terminal=3, transfer="transfer-2", name="x", bytes=1)
    said = json.loads(side.items[0].data)
    assert (said["type"], said["channel"], said["code"]) == ("failed", 8, TransferError.GONE)


def test_a_cancelled_upload_is_nothing_any_more() -> None:
    side = Side()
    side.say("cancel", terminal=0, transfer=ID)
    assert side.items == [Cancel(HANDLE, ID, 9)]
    assert 9 not in side.side
    side.side.written(9, 50)
    side.side.finished(9, "x")
    assert side.items == [Cancel(HANDLE, ID, 9)]


class Mine:
    """A client's side alone."""

    def __init__(self, grant: Grant | None = GRANT) -> None:
        self.items: list[Any] = []
        self.side = Transfers(0, self.items.append)
        self.side.attached(grant)

    def said(self) -> list[dict[str, Any]]:
        texts = [json.loads(item.data) for item in self.items if isinstance(item, Send)]
        self.items.clear()
        return texts


def test_a_server_that_does_not_know_files_is_never_asked() -> None:
    mine = Mine(None)
    mine.side.upload(ID, "x", 5)
    assert [type(item) for item in mine.items] == [NotTransferred]


def test_in_a_rollout_an_upload_waits_for_a_server_that_knows_files() -> None:
    mine = Mine()
    mine.side.upload(ID, "x", 5)
    mine.side.control({"type": "uploading", "channel": mine.said()[0]["channel"], "offset": 2})
    mine.side.detached()
    mine.items.clear()
    mine.side.attached(None)
    assert mine.items == []
    mine.side.detached()
    mine.side.attached(GRANT)
    assert [text["type"] for text in mine.said()] == ["upload"]


def test_as_many_uploads_as_may_be_go_at_once() -> None:
    mine = Mine(Grant(upload=True, bytes=100, at_once=2))
    for number in range(3):
        mine.side.upload(f"transfer-{number}", "x", 5)
    first, second = mine.said()
    mine.side.control({"type": "failed", "channel": first["channel"], "code": "no-room", "message": "full"})
    assert [text["transfer"] for text in mine.said()] == ["transfer-2"]
    assert second["transfer"] == "transfer-1"


def test_a_file_that_has_shrunk_is_given_up() -> None:
    mine = Mine()
    mine.side.upload(ID, "x", 5)
    mine.side.control({"type": "uploading", "channel": mine.said()[0]["channel"], "offset": 0})
    mine.side.give(ID, 0, b"abc")
    assert mine.items[-1] == NotTransferred(
        ID, TransferError.CHANGED, "the file has changed while it was read"
    )
    assert "cancel" in [text["type"] for text in mine.said()]


def test_a_cancel_that_was_lost_is_said_again() -> None:
    mine = Mine()
    mine.side.upload(ID, "x", 5)
    mine.side.detached()
    mine.side.cancel(ID)
    mine.items.clear()
    mine.side.attached(GRANT)
    assert mine.said() == [{"type": "cancel", "terminal": 0, "transfer": ID}]


def test_a_download_of_other_bytes_is_told() -> None:
    mine = Mine()
    mine.side.control({"type": "offer", "channel": 0, "transfer": ID, "name": "x", "bytes": 3})
    mine.side.download(ID, "x", 3)
    channel = mine.said()[0]["channel"]
    mine.side.control({"type": "downloading", "channel": channel, "offset": 0, "bytes": 3})
    mine.side.binary(messages.decode_binary(messages.encode_data(channel, 0, b"abc")))
    mine.side.taken(ID, 3)
    mine.side.control({"type": "downloaded", "channel": channel, "sha256": "0" * 64})
    mine.side.digest(ID, digest(b"abc"))
    ends = [item for item in mine.items if isinstance(item, NotTransferred | Transferred)]
    assert [item.code for item in ends if isinstance(item, NotTransferred)] == [TransferError.CHECKSUM]
    assert len(ends) == 1
