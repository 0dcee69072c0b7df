"""What a server makes of the messages of one connection."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Any

import pytest
from terminals.protocol import messages, server
from terminals.protocol.messages import CloseCode
from terminals.protocol.server import (
    Attach,
    Close,
    Detached,
    Hello,
    Identify,
    Kill,
    Resized,
    Send,
    ServerSide,
    Taken,
    Typed,
)
from terminals.protocol.server import Resume as Had

from tests.support.grants import GRANT

ANYBODY = {"user": "", "only": None, "read_only": False, "ticket": None}


def fresh(**more: Any) -> ServerSide:
    return ServerSide(build="b1", generation="g1", heartbeat=15.0, **more)


def greeted(*, versions: tuple[int, ...] = (2, 1), **identity: Any) -> ServerSide:
    side = fresh()
    say(side, "hello", versions=list(versions), client="me", token="secret")
    side.welcome(**{**ANYBODY, **identity})
    side.take()
    return side


def attached(*, channel: int = 0, handle: int = 7) -> ServerSide:
    side = greeted()
    attach(side, channel, handle)
    side.take()
    return side


def attach(side: ServerSide, channel: int, handle: int) -> bool:
    say(side, "attach", channel=channel)
    admitted = side.admit(channel, handle)
    if admitted:
        side.attached(channel, handle, GRANT)
    side.go_on()
    return admitted


def say(side: ServerSide, kind: str, **fields: Any) -> None:
    side.received(messages.encode_text(kind, **fields), text=True)


def done(side: ServerSide) -> list[Any]:
    """What is to be done; messages as what they say, without what is null."""
    items: list[Any] = []
    for item in side.take():
        if isinstance(item, Send) and isinstance(item.data, str):
            fields = json.loads(item.data)
            items.append({name: value for name, value in fields.items() if value is not None})
        else:
            items.append(item)
    return items


def bad(text: str, **more: Any) -> list[Any]:
    code = more.pop("close", CloseCode.POLICY_VIOLATION)
    return [{"type": "error", "code": "bad-message", "message": text, **more}, Close(code, "bad message")]


def test_a_greeting_is_checked_and_answered():
    side = fresh()
    say(side, "hello", versions=[2, 1], client="me", token="secret")
    assert done(side) == [Identify("secret", None)]
    side.welcome(user="ada", only="s", read_only=True, ticket="next")
    assert side.hello == Hello("me", "ada", "s", True, 2)
    assert done(side) == [
        {
            "type": "welcome",
            "version": 2,
            "build": "b1",
            "generation": "g1",
            "heartbeat": 15,
            "ticket": "next",
        }
    ]


def test_a_ticket_is_checked_as_such():
    side = fresh()
    say(side, "hello", versions=[1], client="me", ticket="t", token="ignored")
    assert done(side) == [Identify(None, "t")]
    side.welcome(**ANYBODY)
    assert [item["version"] for item in done(side)] == [1]


def test_a_browser_that_has_signed_in_presents_nothing():
    side = fresh()
    say(side, "hello", versions=[3], client="me")
    assert done(side) == [Identify(None, None)]


def test_the_tokens_holder_may_say_which_program_it_is():
    side = fresh()
    say(side, "hello", versions=[3], client="me", token="t", program="load")
    assert done(side) == [Identify("t", None, "load")]


def test_wrong_credentials_end_it():
    side = fresh()
    say(side, "hello", versions=[2], client="me", token="wrong")
    side.take()
    side.deny("wrong token")
    assert done(side) == [
        {"type": "error", "code": "unauthorized", "message": "wrong token"},
        Close(CloseCode.UNAUTHORIZED, "unauthorized"),
    ]
    say(side, "hello", versions=[2], client="me", token="another")
    assert done(side) == []


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ({"type": "attach", "channel": 0}, "attach before hello"),
        ({"type": "hello", "versions": [99], "client": "me", "token": "x"}, "hello.versions has none"),
        ({"type": "hello", "versions": [2], "client": "me", "token": 1}, "hello.token must be a string"),
        (
            {"type": "hello", "versions": [2], "client": "me", "token": "x", "program": "a\nb"},
            "hello.program must be printable",
        ),
        ({"type": "hello", "versions": [2], "client": "me", "ticket": 1}, "hello.ticket must be a string"),
        ({"type": "hello", "versions": [2], "client": "", "token": "x"}, "hello.client must not be empty"),
        (
            {"type": "hello", "versions": [2], "client": "x" * 65, "token": "x"},
            "hello.client must be a string",
        ),
    ],
)
def test_a_greeting_that_is_none_ends_it(message, text):
    side = fresh()
    side.received(json.dumps(message).encode(), text=True)
    error, close = done(side)
    assert error["message"].startswith(text)
    assert close == Close(CloseCode.POLICY_VIOLATION, "bad message")
    assert side.hello is None


def test_a_greeting_while_the_first_is_checked_ends_it():
    side = fresh()
    say(side, "hello", versions=[2], client="me", token="x")
    side.take()
    say(side, "hello", versions=[2], client="me", token="y")
    assert done(side) == bad("hello before hello")


def test_what_is_no_utf_8_ends_it_with_its_own_code():
    side = fresh()
    side.received(b"\xff", text=True)
    assert done(side)[-1] == Close(CloseCode.NOT_UTF_8, "bad message")


def test_an_attach_is_asked_for_and_served():
    side = greeted(user="ada")
    resume = {"output": 5, "epoch": "e"}
    say(side, "attach", channel=3, session="s", cols=100, rows=30, resume=resume, mode="read")
    (asked,) = side.take()
    assert isinstance(asked, Attach)
    assert (asked.channel, asked.session, asked.cols, asked.rows) == (3, "s", 100, 30)
    assert asked.resume == Had(5, "e")
    assert asked.watch
    assert asked.snapshots
    assert asked.routable
    assert side.admit(3, 7)
    side.attached(3, 7, GRANT)
    usual = {
        name: value for name, value in asdict(GRANT).items() if value not in (None, "") and value is not False
    }
    assert done(side) == [{"type": "attached", "channel": 3, **usual}]
    side.attached(4, 8, replace(GRANT, snapshot=True, input_unknown=True))
    (told,) = done(side)
    assert (told["snapshot"], told["input_unknown"]) == (True, True)
    side.take()
    assert side.attached_to == {3: 7, 4: 8}
    assert not side.routable


def test_an_attach_says_as_little_as_it_likes():
    side = greeted()
    say(side, "attach", channel=0)
    (asked,) = side.take()
    assert (asked.session, asked.cols, asked.rows, asked.resume, asked.watch) == (None, 80, 24, None, False)


def test_version_1_knows_neither_screens_nor_modes():
    side = greeted(versions=(1,))
    say(side, "attach", channel=0, mode="read")
    (asked,) = side.take()
    assert (asked.watch, asked.snapshots) == (False, False)


def test_whoever_may_only_look_on_watches():
    side = greeted(read_only=True)
    say(side, "attach", channel=0, mode="write")
    assert side.take()[0].watch


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({}, "attach.channel must be a whole number from 0 to 255"),
        ({"channel": 256}, "attach.channel must be a whole number from 0 to 255"),
        ({"channel": 0, "cols": 0}, "attach.cols must be a whole number from 1 to 1000"),
        ({"channel": 0, "rows": "24"}, "attach.rows must be a whole number from 1 to 1000"),
        ({"channel": 0, "resume": 7}, "attach.resume must be an object or null"),
        ({"channel": 0, "resume": {"epoch": "e"}}, "resume.output must be a whole number"),
        ({"channel": 0, "resume": {"output": 1, "epoch": 7}}, "resume.epoch must be a string"),
        ({"channel": 0, "mode": "both"}, 'attach.mode must be "read" or "write"'),
        ({"channel": 0, "session": "x" * 4096}, "an attach has at most 4096 bytes"),
        ({"channel": 9}, "channel 9 is in use"),
    ],
)
def test_an_attach_that_is_none_ends_it(fields, text):
    side = attached(channel=9)
    say(side, "attach", **fields)
    error, close = done(side)
    assert error["message"].startswith(text)
    assert close == Close(CloseCode.POLICY_VIOLATION, "bad message")


def test_a_session_that_cannot_be_one_is_refused_alone():
    side = greeted()
    say(side, "attach", channel=4, session=7)
    assert [item["code"] for item in done(side)] == ["bad-session-id"]
    say(side, "attach", channel=4)
    assert isinstance(side.take()[0], Attach)


def test_further_attaches_wait_until_it_is_known_where_the_first_belongs():
    side = greeted()
    say(side, "attach", channel=0)
    say(side, "attach", channel=1, session="b")
    say(side, "attach", channel=2, session="c")
    assert [item.channel for item in side.take()] == [0]
    assert [json.loads(message)["session"] for message in side.waiting] == ["b", "c"]
    assert side.admit(0, 7)
    side.attached(0, 7, GRANT)
    side.go_on()
    assert [item.channel for item in side.take() if isinstance(item, Attach)] == [1, 2]
    assert side.waiting == []


def test_a_channel_that_waits_is_in_use():
    side = greeted()
    say(side, "attach", channel=0)
    say(side, "attach", channel=1)
    side.take()
    say(side, "attach", channel=1)
    assert done(side) == bad("channel 1 is in use")


def test_one_that_waited_and_is_none_ends_it_and_those_after_it_are_not_looked_at():
    side = greeted()
    for channel, fields in enumerate(({}, {"cols": 0}, {})):
        say(side, "attach", channel=channel, **fields)
    side.take()
    side.refuse(0, "unavailable", "not now", 1.0)
    side.go_on()
    assert [type(item).__name__ for item in side.take()] == ["Send", "Send", "Close"]


def test_those_that_waited_are_nothing_to_a_connection_that_is_closing():
    side = greeted()
    say(side, "attach", channel=0)
    say(side, "attach", channel=1)
    side.restart(0.5)
    side.take()
    side.go_on()
    assert side.take() == []


def test_a_connection_that_was_passed_on_begins_with_its_attach():
    side = fresh(hello=Hello("me", "ada"))
    assert not side.routable
    say(side, "attach", channel=0)
    (asked,) = side.take()
    assert not asked.routable


@pytest.mark.parametrize("version", [2, 3])
def test_not_now_is_no_error_to_whoever_knows_the_difference(version):
    later = {"type": "retry-later", "channel": 0, "reason": "full", "after": 2.0}
    error = {"type": "error", "code": "unavailable", "message": "full", "channel": 0, "retry_after": 2.0}
    side = greeted(versions=(version,))
    say(side, "attach", channel=0)
    side.take()
    side.refuse(0, "unavailable", "full", 2.0)
    assert done(side) == [later if version == 3 else error]
    # What is wrong with the attach itself is told as ever.
    say(side, "attach", channel=0)
    side.take()
    side.refuse(0, "unknown-session", "gone")
    assert done(side) == [{"type": "error", "code": "unknown-session", "message": "gone", "channel": 0}]


@pytest.mark.parametrize("version", [2, 3])
def test_a_session_that_is_elsewhere(version):
    side = greeted(versions=(version,))
    say(side, "attach", channel=4)
    side.take()
    side.elsewhere(4, "wss://b.example/")
    (told,) = done(side)
    if version == 3:
        assert told == {"type": "elsewhere", "channel": 4, "url": "wss://b.example/"}
    else:
        assert (told["code"], told["retry_after"]) == ("unavailable", 30.0)
        assert "wss://b.example/" in told["message"]
    say(side, "attach", channel=4)  # it may ask again
    (asked,) = side.take()
    assert asked.channel == 4


@pytest.mark.parametrize("version", [2, 3])
def test_sizes_and_tickets_are_told_to_whoever_knows_them(version):
    side = greeted(versions=(version,))
    side.size(0, 100, 30)
    side.renew("the next")
    told = [{"type": "size", "channel": 0, "cols": 100, "rows": 30}, {"type": "ticket", "ticket": "the next"}]
    assert done(side) == (told if version == 3 else [])


@pytest.mark.parametrize("version", [2, 3])
def test_whether_it_is_recorded_is_told_to_whoever_knows_that(version):
    side = greeted(versions=(version,))
    say(side, "attach", channel=3, session=None)
    done(side)
    assert side.admit(3, 9)
    side.recorded(9, "lost")  # it has overtaken the answer
    side.attached(3, 9, replace(GRANT, recording="on"))
    side.recorded(9, "on")
    side.recorded(8, "on")  # of another connection's
    said = [message.get("recording") or message.get("state") for message in done(side)]
    assert said == (["lost", "on"] if version == 3 else [None])


def test_before_a_hello_there_is_nobody_to_tell():
    side = fresh()
    side.renew("the next")
    assert side.take() == []


def test_who_came_with_a_ticket_is_known_by_its_life_and_birth():
    side = fresh()
    say(side, "hello", versions=[3], client="me", ticket="t")
    side.take()
    side.welcome(user="ada", only="s", read_only=True, ticket="t2", life=60, born=7)
    assert side.hello == Hello("me", "ada", "s", True, 3, 60, 7)


@pytest.mark.parametrize("bad", ["\ud800", "a\udfffb"])
def test_half_a_character_is_no_session_and_no_client(bad):
    side = greeted(versions=(3,))
    say(side, "attach", channel=0, session=bad)
    assert [told["code"] for told in done(side)] == ["bad-session-id"]
    side = fresh()
    say(side, "hello", versions=[3], client=bad, token="t")
    assert side.closing


def test_what_python_takes_for_json_and_is_none_is_none():
    side = fresh()
    side.received(b'{"type":"hello","versions":[3],"client":"me","token":"t","x":NaN}', text=True)
    assert side.closing


def test_a_refusal_leaves_the_connection_to_others():
    side = attached(channel=0, handle=7)
    say(side, "attach", channel=1)
    side.take()
    side.refuse(1, "breaker-open", "too often", 4.0)
    assert done(side) == [
        {"type": "error", "code": "breaker-open", "message": "too often", "channel": 1, "retry_after": 4}
    ]


def test_an_open_breaker_ends_a_connection_that_has_nothing_else():
    side = greeted()
    say(side, "attach", channel=1)
    side.take()
    side.refuse(1, "breaker-open", "too often", 4.0)
    assert done(side)[-1] == Close(CloseCode.BREAKER_OPEN, "breaker open")


@pytest.mark.parametrize("settled", [True, False])
def test_what_is_said_to_one_does_not_end_it_for_those_who_wait_to_be_served(settled):
    """They would be told to stay away, for a reason that is another's."""
    side = greeted()
    say(side, "attach", channel=0)
    say(side, "attach", channel=1)
    assert side.waiting
    if settled:  # the second is asked for by now
        side.end(7, CloseCode.TAKEN_OVER, "taken-over", "another")
        assert not side.admit(0, 7)
        side.go_on()
    else:
        side.refuse(0, "breaker-open", "too often", 4.0)
    assert not any(isinstance(item, Close) for item in side.take())
    side.go_on()
    side.refuse(1, "breaker-open", "too often", 4.0)
    assert done(side)[-1] == Close(CloseCode.BREAKER_OPEN, "breaker open")


def test_where_nobody_can_be_asked_the_client_is_to_come_again():
    side = greeted()
    say(side, "attach", channel=1)
    side.take()
    side.unavailable(1, "no manager")
    assert done(side) == [
        {"type": "error", "code": "unavailable", "message": "no manager", "channel": 1, "retry_after": 1},
        Close(CloseCode.TRY_AGAIN_LATER, "unavailable"),
    ]


def test_input_and_acknowledgements_are_of_their_attachment():
    side = attached(channel=2, handle=7)
    side.received(messages.encode_data(2, 5, b"ls\n"), text=False)
    side.received(messages.encode_ack(2, 9), text=False)
    assert side.take() == [Typed(7, 5, b"ls\n"), Taken(7, 9)]
    assert "ls" not in repr(Typed(7, 5, b"ls\n"))


def test_input_that_crosses_the_end_of_its_channel_is_dropped():
    side = attached(channel=2)
    side.received(messages.encode_data(3, 0, b"ls\n"), text=False)
    assert side.take() == []


def test_a_frame_that_is_none_ends_it():
    side = attached()
    side.received(b"\x09", text=False)
    assert done(side)[-1] == Close(CloseCode.POLICY_VIOLATION, "bad message")


def test_messages_about_a_channel():
    side = attached(channel=2, handle=7)
    say(side, "resize", channel=2, cols=100, rows=40)
    say(side, "kill", channel=2)
    say(side, "resize", channel=3, cols=100, rows=40)
    say(side, "kill", channel=3)
    say(side, "detach", channel=3)
    say(side, "detach", channel=2)
    assert side.take() == [Resized(7, 100, 40), Kill(7), Detached(7, planned=True)]
    assert side.attached_to == {}


def test_a_ping_is_answered_with_its_number():
    side = attached()
    say(side, "ping", t=1.5)
    say(side, "ping")
    assert done(side) == [{"type": "pong", "t": 1.5}, {"type": "pong"}]
    say(side, "ping", t="anything")
    assert done(side) == bad("ping.t must be a number")


def test_a_message_of_a_newer_client_is_told_to_be_unknown():
    side = attached()
    say(side, "from-the-future" * 10)
    (error,) = done(side)
    assert error["message"] == f"unknown message type {('from-the-future' * 10)[:40]!r}"


def test_an_order_ends_an_attachment_and_with_the_last_one_the_connection():
    side = attached(channel=0, handle=7)
    attach(side, 1, 8)
    side.take()
    side.end(7, CloseCode.TAKEN_OVER, "taken-over", "another")
    assert done(side) == [
        Detached(7, planned=True),
        {"type": "error", "code": "taken-over", "message": "another", "channel": 0},
    ]
    side.end(8, CloseCode.TAKEN_OVER, "taken-over", "another")
    assert done(side)[-1] == Close(CloseCode.TAKEN_OVER, "taken-over")
    assert side.planned


def test_an_order_that_overtakes_the_answer_to_its_attach_is_carried_out_then():
    side = greeted()
    side.end(7, CloseCode.TAKEN_OVER, "taken-over", "another")
    assert side.take() == []
    assert not attach(side, 0, 7)
    assert done(side)[1:] == [
        Detached(7, planned=True),
        {"type": "error", "code": "taken-over", "message": "another", "channel": 0},
        Close(CloseCode.TAKEN_OVER, "taken-over"),
    ]


def test_an_order_that_overtakes_leaves_the_other_channels_alone():
    side = attached(channel=0, handle=7)
    side.end(8, CloseCode.TAKEN_OVER, "taken-over", "another")
    assert not attach(side, 1, 8)
    assert not any(isinstance(item, Close) for item in side.take())
    assert side.attached_to == {0: 7}


@pytest.mark.parametrize("goodbye", [True, False])
def test_a_lost_connection_gives_everything_back(goodbye):
    side = attached(channel=0, handle=7)
    attach(side, 1, 8)
    side.take()
    side.lost(goodbye=goodbye)
    assert side.take() == [Detached(7, goodbye), Detached(8, goodbye)]
    side.lost(goodbye=False)
    assert side.take() == []


def test_what_is_granted_to_one_who_has_gone_is_given_back():
    side = greeted()
    say(side, "attach", channel=0)
    side.lost(goodbye=False)
    side.take()
    assert not side.admit(0, 7)
    assert side.take() == [Detached(7, planned=False)]


def test_who_is_asked_to_come_back_is_told_once_and_its_end_is_planned():
    side = attached(channel=0, handle=7)
    side.restart(0.5)
    side.restart(0.5)
    side.exit(0, 3)
    assert side.take() == [Close(CloseCode.SERVICE_RESTART, "retry-after=0.5")]
    side.lost(goodbye=False)
    assert side.take() == [Detached(7, planned=True)]


def test_an_exit_is_told():
    side = attached()
    side.exit(0, 3)
    assert done(side) == [{"type": "exit", "channel": 0, "status": 3}]


def test_nothing_said_shows_in_a_log():
    assert repr(Send("secret")) == "<Send 6 characters>"
    assert repr(server.Send(b"secret")) == "<Send 6 bytes>"


def longest_attach(size: int) -> bytes:
    """An attach of so many bytes."""
    bare = len(messages.encode_text("attach", channel=0, padding=""))
    return messages.encode_text("attach", channel=0, padding="x" * (size - bare))


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ({"token": "x" * 4096}, True),
        ({"token": "x" * 4097}, False),
        ({"client": "x" * 64}, True),
        ({"client": "x" * 65}, False),
    ],
)
def test_what_a_greeting_may_have_at_most(given, taken):
    side = fresh()
    say(side, "hello", **{"versions": [3], "client": "me", "token": "secret", **given})
    assert (type(done(side)[0]) is Identify) is taken


@pytest.mark.parametrize(("size", "taken"), [(server.MAX_ATTACH, True), (server.MAX_ATTACH + 1, False)])
def test_what_an_attach_may_have_at_most(size, taken):
    side = greeted()
    side.received(longest_attach(size), text=True)
    assert (type(done(side)[0]) is Attach) is taken


@pytest.mark.parametrize(("cols", "taken"), [(0, False), (1, True), (1000, True), (1001, False)])
@pytest.mark.parametrize("kind", ["attach", "resize"])
def test_sizes_have_their_bounds(kind, cols, taken):
    side = attached()
    say(side, kind, channel=1 if kind == "attach" else 0, cols=cols, rows=24)
    assert (type(done(side)[0]) in (Attach, Resized)) is taken


@pytest.mark.parametrize(
    ("output", "taken"),
    [(-1, False), (0, True), (messages.MAX_OFFSET, True), (messages.MAX_OFFSET + 1, False)],
)
@pytest.mark.parametrize(("epoch", "known"), [("e" * 64, True), ("e" * 65, False)])
def test_positions_have_their_bounds(output, taken, epoch, known):
    side = greeted()
    say(side, "attach", channel=0, resume={"output": output, "epoch": epoch})
    assert (type(done(side)[0]) is Attach) is (taken and known)


@pytest.mark.parametrize("version", [1, 2, 3])
def test_screens_are_for_whoever_knows_them(version):
    side = greeted(versions=(version,))
    say(side, "attach", channel=0, mode="read")
    (asked,) = side.take()
    assert (asked.snapshots, asked.watch) == (version > 1, version > 1)


@pytest.mark.parametrize(
    "code", sorted(value for name, value in vars(messages.ErrorCode).items() if name.isupper())
)
@pytest.mark.parametrize("version", [2, 3])
def test_each_refusal_is_said_in_its_own_way(version, code):
    side = greeted(versions=(version,))
    say(side, "attach", channel=0)
    side.take()
    side.refuse(0, code, "no", 2.0)
    said, *rest = done(side)
    assert said["type"] == ("retry-later" if version == 3 and code == "unavailable" else "error")
    assert rest == ([Close(CloseCode.BREAKER_OPEN, "breaker open")] if code == "breaker-open" else [])


@pytest.mark.parametrize(
    ("message", "plain"),
    [
        (messages.encode_data(0, 5, b"abc"), Typed(7, 5, b"abc")),
        (messages.encode_data(0, messages.MAX_OFFSET, b""), Typed(7, messages.MAX_OFFSET, b"")),
        (messages.encode_data(0, messages.MAX_OFFSET + 1, b"a"), None),
        (messages.encode_data(1, 5, b"abc"), None),
        (messages.encode_data(0, 5, b"")[:-1], None),
        (messages.encode_ack(0, 5), Taken(7, 5)),
        (messages.encode_ack(0, 5) + b"x", None),
        (messages.encode_ack(1, 5), None),
        (messages.encode_ack(0, messages.MAX_OFFSET + 1), None),
        (messages.encode_snapshot(0, 5, b""), None),
        (b"\x00" + messages.encode_data(0, 5, b"a")[1:], None),
        (b"", None),
    ],
)
def test_what_is_plain_is_told_from_the_rest(message, plain):
    side = attached()
    assert side.plain(message) == plain
    side.restart(0.5)
    assert side.plain(message) is None
