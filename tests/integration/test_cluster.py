"""Hosts that ask each other how they are: who is there, who is silent, who is lost, and what clients are
told."""

from __future__ import annotations

import json
import os
import signal
import ssl
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from terminals.client import AttachError, ConnectError
from terminals.control.asking import ControlError
from terminals.protocol import client as conversation
from terminals.protocol.ids import new_session_id, tag_of

from tests.support.fleet import Fleet, fleet
from tests.support.stack import TOKEN, Stack, until

LOST = 8.0
"""Seconds of silence after which a host is lost here; a minute is usual."""


@pytest.fixture(scope="module")
def three(tmp_path_factory) -> Iterator[Fleet]:
    with fleet(tmp_path_factory.mktemp("fleet"), "abc", lost_seconds=LOST) as hosts:
        yield hosts


@pytest.fixture
def hosts(three) -> Fleet:
    """Three that hear each other, and are as at first."""
    three.heal()
    for name, stack in three.stacks.items():
        stack.admin("host-state", state="ready")
        for other in three.names.replace(name, ""):
            three.wait(name, other, "there")
    return three


def begun(hosts: Fleet, name: str) -> str:
    """A session that somebody has begun at a host, and left."""
    terminal = hosts.stacks[name].terminal()
    terminal.open()
    terminal.send(b"mark=7\n")
    until(lambda: terminal.pump(0.05) or not terminal.unacknowledged, "what was typed is taken")
    terminal.close()
    assert terminal.session is not None
    assert tag_of(terminal.session) == name * 4
    return terminal.session


def is_there(hosts: Fleet, at: str, session: str) -> None:
    """Its shell is the one that was begun, wherever it is asked for."""
    with hosts.stacks[at].terminal(session=session) as terminal:
        assert terminal.attached.status == "resumed"
        terminal.send(b"echo [$((mark + 1))]\n")
        assert terminal.expect(rb"\[(\d+)\]").endswith(b"[8]")


def test_each_knows_of_all_and_whoever_is_asked_says_where_a_session_is(hosts):
    session = begun(hosts, "b")
    known = hosts.known("a")
    assert known["a"]["standing"] == "here"
    assert {entry["standing"] for name, entry in known.items() if name != "a"} == {"there"}
    there = hosts.stacks["b"].status()["sessions"]["live"]
    until(lambda: hosts.known("a")["b"]["sessions"] == there, "the number of sessions there")
    assert hosts.known("a")["b"]["state"] == "ready"
    is_there(hosts, "a", session)
    with pytest.raises(AttachError, match="unknown-session"):
        hosts.stacks["a"].terminal(session=new_session_id("zzzz").value, watch=True).open()


@pytest.mark.slow("waits until a host is called lost and is found again")
def test_a_host_that_is_cut_off_goes_on_and_is_silent_to_the_others_then_lost_then_back(hosts):
    session = begun(hosts, "b")
    door, home = hosts.stacks["a"], hosts.stacks["b"]
    worker = home.terminal(session=session)
    worker.open()
    hosts.cut("b")
    hosts.wait("a", "b", "silent")
    said: list[object] = []
    asking = door.terminal(session=session, watch=True, on_event=said.append)

    def told(kind: type, words: str) -> list[Any]:
        asking.pump(0.1)
        return [event for event in said if isinstance(event, kind) and words in str(event)]

    until(lambda: told(conversation.Failed, "b, does not answer the other hosts now"), "it is told so")
    lost = until(lambda: told(conversation.HostLost, "b, has not been heard of for long"), "... and so")
    assert lost[0].since is not None
    assert hosts.known("a")["b"]["standing"] == "lost"
    assert asking.breaker.retry_after(0.0) == 0, "nothing of it is the client's failure"
    # It is alive all the while for those who reach it, and hears nobody: of the others it knows no more than
    # that.
    worker.send(b"echo [$((mark + 1))]\n")
    assert worker.expect(rb"\[(\d+)\]").endswith(b"[8]")
    assert {hosts.known("b")[name]["standing"] for name in "ac"} == {"silent"}
    # The third is as it was.
    is_there(hosts, "a", begun(hosts, "c"))
    hosts.heal()
    hosts.wait("a", "b", "there")
    assert asking.open(60.0).session == session
    asking.close()
    worker.close(kill=True)


def test_a_host_that_only_one_other_reaches_is_there(hosts):
    session = begun(hosts, "b")
    hosts.links["a", "b"].cut()
    until(lambda: hosts.stacks["a"].log("manager").count("the host b:"), "a question in vain")
    is_there(hosts, "a", session)
    with pytest.raises(AssertionError):
        until(lambda: hosts.known("a")["b"]["standing"] != "there", "another opinion", LOST / 2)
    is_there(hosts, "a", session)


@pytest.mark.parametrize("how", ["killed", "replaced"])
def test_a_manager_that_comes_anew_knows_all_after_one_round(hosts, how):
    session = begun(hosts, "b")
    door = hosts.stacks["a"]
    if how == "killed":
        door.kill("manager", signal.SIGKILL)
        door.start_manager()
    else:
        door.replace_manager()
    is_there(hosts, "a", session)
    hosts.wait("a", "b", "there")


def test_an_asker_that_is_killed_is_no_sign_of_anybody_else(hosts):
    session = begun(hosts, "b")
    pid = hosts.stacks["a"].admin("hosts")["asker"]
    os.kill(pid, signal.SIGKILL)
    until(lambda: hosts.stacks["a"].admin("hosts")["asker"] not in (None, pid), "another asker")
    is_there(hosts, "a", session)
    hosts.wait("a", "b", "there")
    assert "the asker of other hosts has ended: starting another" in hosts.stacks["a"].log("manager")


# --- emptied ---------------------------------------------------------------------------


def test_a_host_that_is_being_emptied_keeps_what_it_has_and_takes_nothing_new(hosts):
    door = hosts.stacks["a"]
    with door.terminal() as there:
        said = door.admin("host-state", state="draining", message="a new kernel at six")
        assert "its state is draining" in said["closed"]
        there.expect(b"a new kernel at six")
        until(lambda: hosts.known("b")["a"]["state"] == "draining", "the others hear of it")
        # New ones begin at one of the others, and come back there.
        for _ in range(3):
            with door.terminal() as elsewhere:
                assert tag_of(elsewhere.session) in ("bbbb", "cccc")
                elsewhere.cut()
                elsewhere.send(b"echo [$((1 + 1))]\n")
                assert elsewhere.expect(rb"\[2\]")
        # Who cannot be sent on is told to come again; what measures this host goes on.
        with pytest.raises(ConnectError, match="no session begins at this host now"):
            door.terminal(versions=(1, 2)).open(0.5)
        with door.terminal(program="monitor") as monitor:
            assert tag_of(monitor.session) == "aaaa"
            monitor.close(kill=True)
        # So it is after its manager has been killed, too.
        door.kill("manager")
        door.start_manager()
        assert hosts.known("a")["a"]["state"] == "draining"
        there.send(b"echo [$((3 + 4))]\n")
        assert there.expect(rb"\[7\]")
        door.admin("host-state", state="ready")
        with door.terminal() as here:
            assert tag_of(here.session) == "aaaa"


def test_with_all_being_emptied_nobody_begins_anything(hosts):
    for stack in hosts.stacks.values():
        stack.admin("host-state", state="maintenance")
    states = lambda: {entry["state"] for entry in hosts.known("a").values()}  # noqa: E731
    until(lambda: states() == {"maintenance"}, "it is heard of")
    with pytest.raises(ConnectError, match="its state is maintenance"):
        hosts.stacks["a"].terminal().open(0.5)
    with pytest.raises(ConnectError, match="its state is maintenance"):
        hosts.stacks["a"].terminal(program="monitor").open(0.5)


def test_what_is_no_state_is_refused_and_changes_nothing(hosts):
    for fields, words in (
        ({"state": "away"}, "state"),
        ({"state": "draining", "message": "x" * 301}, "at most 300 printable"),
        ({"state": "draining", "message": "\x1b]0;t\x07"}, "at most 300 printable"),
    ):
        with pytest.raises(ControlError, match=words):
            hosts.stacks["a"].admin("host-state", **fields)
    assert hosts.known("a")["a"]["state"] == "ready"


@pytest.mark.slow("three hosts of its own; where they begin while one is emptied is in the first tier")
def test_new_sessions_go_to_the_host_of_the_region_that_has_most_room(tmp_path):
    with fleet(tmp_path, "abc", regions={"c": "there"}) as hosts:
        hosts.configure("a", max_sessions=2)
        hosts.configure("c", max_sessions=100_000)
        until(lambda: hosts.known("a")["b"]["room"] == 1000, "the room at b")
        until(lambda: hosts.known("a")["c"]["room"] == 100_000, "the room at c")
        with hosts.stacks["a"].terminal() as terminal:
            assert tag_of(terminal.session) == "bbbb"
        with hosts.stacks["b"].terminal() as terminal:
            assert tag_of(terminal.session) == "bbbb", "a host that is nearly empty sends nobody away"
        # Only where none of the region takes any more is it another region's.
        for name in "ab":
            hosts.stacks[name].admin("host-state", state="draining")
        until(lambda: hosts.known("a")["b"]["state"] == "draining", "a hears of b")
        with hosts.stacks["a"].terminal() as terminal:
            assert tag_of(terminal.session) == "cccc"


# --- what is seen of all of them -------------------------------------------------------------


def api(stack: Stack, path: str, method: str = "GET", token: str = TOKEN, **body: object) -> tuple[int, Any]:
    request = urllib.request.Request(f"{stack.url('web')}api/{path}", method=method)
    request.add_header("Authorization", f"Bearer {token}")
    data = json.dumps(body).encode() if body else None
    try:
        with urllib.request.urlopen(request, data, timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def listed(stack: Stack) -> dict[str, dict[str, Any]]:
    return {entry["id"]: entry for entry in api(stack, "sessions")[1]["sessions"] if entry["live"]}


def test_the_list_of_one_host_has_the_sessions_of_all_which_can_be_named_and_ended(hosts):
    door = hosts.stacks["a"]
    if not door.generation("g1")["web"]:
        door.start_web("g1")
    own, other, gone = begun(hosts, "a"), begun(hosts, "b"), begun(hosts, "c")
    at = {name: entry["host"] for name, entry in listed(door).items()}
    assert (at[own], at[other], at[gone]) == ("", "b", "c")

    assert api(door, f"sessions/{other}", "PATCH", title="there") == (200, {"renamed": other})
    assert listed(door)[other]["title"] == "there"
    status, said = api(door, f"sessions/{other}", "PATCH", title="x" * 500)
    assert status == 400 and "a title has" in said["error"]
    status, said = api(door, f"sessions/{other}/recording", "POST", record=True)
    assert (status, said["error"]) == (409, "this session is at b: ask there")
    assert api(door, f"sessions/{other}", "DELETE") == (200, {"ended": other})
    until(lambda: other not in listed(door), "it is gone")

    # A host that does not answer is missing, and keeps nobody waiting who asks of the others.
    hosts.cut("c")
    hosts.wait("a", "c", "silent")
    assert set(listed(door)) & {own, gone} == {own}
    assert api(door, f"sessions/{gone}", "DELETE")[0] == 404


def test_only_what_is_one_host_s_to_ask_of_another_is_done(hosts):
    port = hosts.stacks["a"].admin("hosts")["port"]
    query = urllib.parse.urlencode({"name": "b", "tag": "bbbb", "instance": "x"})
    for body, token, expected in (
        ({"type": "weights", "weights": {"g1": 0}}, TOKEN, 409),
        ({"type": "sessions"}, "wrong", 403),
        ({"type": "sessions"}, TOKEN, 200),
        ({"type": "kill", "session": "session_1"}, TOKEN, 409),
    ):
        request = urllib.request.Request(f"http://127.0.0.1:{port}/ask?{query}", json.dumps(body).encode())
        request.add_header("Authorization", f"Bearer {token}")
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                assert answer.status == expected
        except urllib.error.HTTPError as error:
            assert error.code == expected, error.read()
    assert hosts.stacks["a"].generation("g1")["weight"] == 100


# --- who is who --------------------------------------------------------------------------


def test_a_host_with_the_tag_of_another_begins_nothing(hosts, tmp_path):
    """As one that was set up from a copy of the other's settings: the first that it asks says so."""
    settings = hosts.stacks["a"].settings
    copied = {key: settings[key] for key in ("tag", "hosts")}
    copy = Stack(**copied, peers={**settings["peers"], "name": "copy"})
    try:
        copy.start_generation("g1", weight=100)
        until(lambda: copy.admin("hosts")["closed"], "it is told")
        assert copy.admin("hosts")["closed"].endswith("its tag, aaaa, is that of a")
        with pytest.raises(ConnectError, match="its tag, aaaa, is that of a"):
            copy.terminal(program="monitor").open(0.5)
        assert hosts.stacks["a"].admin("hosts")["closed"] == ""
        assert "the tag aaaa: 'copy' asks as one with it, and it is that of a" in hosts.stacks["b"].log(
            "manager"
        )
    finally:
        copy.close()


def asks(port: int, context: ssl.SSLContext | None, tag: str, **headers: str) -> tuple[int, str]:
    """Ask a host how it is, as one of this tag."""
    scheme = "https" if context else "http"
    query = urllib.parse.urlencode({"name": "x", "tag": tag, "instance": "x"})
    request = urllib.request.Request(f"{scheme}://127.0.0.1:{port}/peers?{query}", headers=headers)
    try:
        with urllib.request.urlopen(request, context=context, timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_without_the_token_nobody_is_told_anything(hosts):
    port = hosts.stacks["a"].admin("hosts")["port"]
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": TOKEN}):
        assert asks(port, None, "bbbb", **headers) == (403, "you are not who you say\n")
    assert asks(port, None, "zzzz", Authorization=f"Bearer {TOKEN}")[0] == 200


@pytest.mark.slow("waits until certificates are read again; those that people see are in the first tier")
def test_hosts_know_each_other_by_certificates_that_are_renewed_under_them(tmp_path):
    authority = trustme.CA()
    ca = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(ca)

    def issue(by: trustme.CA, tag: str) -> dict[str, str]:
        files = {part: str(tmp_path / f"{tag}.{part}") for part in ("certificate", "key")}
        leaf = by.issue_cert(f"h-{tag}.terminals")
        leaf.private_key_pem.write_to_path(files["key"])
        Path(files["certificate"]).write_bytes(b"".join(blob.bytes() for blob in leaf.cert_chain_pems))
        return {"authority": str(ca), **files}

    def context(files: dict[str, str]) -> ssl.SSLContext:
        found = ssl.create_default_context(cafile=files["authority"])
        found.check_hostname = False
        if "key" in files:
            found.load_cert_chain(files["certificate"], files["key"])
        return found

    hosts = Fleet("ab", {name: issue(authority, name * 4) for name in "ab"})
    try:
        hosts.wait("a", "b", "there")
        hosts.wait("b", "a", "there")
        is_there(hosts, "a", begun(hosts, "b"))
        port = hosts.stacks["a"].admin("hosts")["port"]
        third = issue(authority, "cccc")
        assert asks(port, context(third), "cccc")[0] == 200
        assert asks(port, context(third), "bbbb")[0] == 403, "it is not who it says"
        for stranger in ({"authority": str(ca)}, issue(trustme.CA(), "dddd")):
            with pytest.raises((urllib.error.URLError, OSError)):
                asks(port, context(stranger), "dddd")
        issue(authority, "aaaa")
        until(lambda: "were renewed" in hosts.stacks["a"].log("manager"), "the renewal")
        for link in hosts.links.values():
            link.drop()
        until(lambda: hosts.known("b")["a"]["standing"] == "there", "it is known by the new one")
        # Another's certificate in the place of its own: it is not that host to anybody.
        for part, path in issue(authority, "eeee").items():
            if part != "authority":
                Path(path).replace(tmp_path / f"bbbb.{part}")
        until(lambda: hosts.stacks["b"].log("manager").count("were renewed"), "the renewal")
        for link in hosts.links.values():  # connections that are there are who they were
            link.drop()
        hosts.wait("a", "b", "silent")
    finally:
        hosts.close()
