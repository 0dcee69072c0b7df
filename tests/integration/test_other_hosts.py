"""Two hosts that know of each other: a session is found by whichever of them is asked."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator

import pytest
from terminals.client import AttachError
from terminals.protocol.ids import new_session_id, tag_of

from tests.support.stack import TERMINALS, Stack, until


@pytest.fixture(scope="module")
def hosts() -> Iterator[tuple[Stack, Stack]]:
    """A host that knows where the other is, and that other."""
    other = Stack(tag="bbbb")
    try:
        other.start_generation("g1", weight=100)
        urls = {name: other.url(name) for name in ("system", "claude")}
        door = Stack(tag="aaaa", hosts={"other": {"tag": "bbbb", "urls": urls}})
        try:
            door.start_generation("g1", weight=100)
            yield door, other
        finally:
            door.close()
    finally:
        other.close()


def test_a_session_of_the_other_host_is_found_at_this_one(hosts):
    door, other = hosts
    with other.terminal() as there:
        assert tag_of(there.session) == "bbbb"
        there.send(b"mark=7\n")
        there.close()
    with door.terminal(session=there.session) as here:
        assert (here.attached.session, here.attached.status) == (there.session, "resumed")
        here.send(b"echo [$((mark + 1))]\n")
        assert here.expect(rb"\[(\d+)\]").endswith(b"[8]")
        # Lost, it comes back where the session is, not by the door.
        attaches = door.generation("g1")["attaches"]
        here.cut()
        here.send(b"echo [$((mark + 2))]\n")
        assert here.expect(rb"\[(\d+)\]").endswith(b"[9]")
        assert door.generation("g1")["attaches"] == attaches
        assert (door.status()["sessions"]["live"], other.status()["sessions"]["live"]) == (0, 1)


def test_what_begins_here_is_here(hosts):
    door, other = hosts
    until(lambda: other.status()["sessions"]["live"] == 0, "the end of what was there before")
    with door.terminal() as terminal:
        assert tag_of(terminal.session) == "aaaa"
        assert (door.status()["sessions"]["live"], other.status()["sessions"]["live"]) == (1, 0)
        terminal.close(kill=True)
    until(lambda: door.status()["sessions"]["live"] == 0, "its end, for whoever counts next")


def test_one_that_no_host_has_is_unknown_where_it_would_be(hosts):
    door, _ = hosts
    with pytest.raises(AttachError, match="unknown-session"):
        door.terminal(session=new_session_id("bbbb").value, watch=True).open()
    with pytest.raises(AttachError, match="unknown-session"):
        door.terminal(session=new_session_id("cccc").value, watch=True).open()


def test_a_host_that_is_to_have_another_tag_says_so_and_goes_on(hosts):
    _, other = hosts
    pid = other.status()["manager"]["pid"]
    settings = other.root / "another.json"
    settings.write_text(json.dumps({**other.settings, "tag": "cccc"}))
    done = subprocess.run([*TERMINALS, "manager", "--config", settings], capture_output=True, text=True)
    assert done.returncode != 0
    assert done.stderr.count("\n") == 1 and "keep bbbb" in done.stderr
    assert other.status()["manager"]["pid"] == pid
