"""One address for several hosts: a real HAProxy before them, which is reloaded, killed and started again."""

from __future__ import annotations

import contextlib
import signal
import socket
import ssl
from collections.abc import Iterator

import pytest
from terminals.client import Terminal
from terminals.protocol.backoff import Backoff
from terminals.protocol.ids import tag_of

from tests.support.docker import COMPOSE
from tests.support.door import NAME, Door, rendered, resolve
from tests.support.fleet import Fleet, fleet
from tests.support.stack import TOKEN, until
from tests.support.visitor import Visitor


@pytest.fixture(scope="module")
def all_hosts(tmp_path_factory) -> Iterator[tuple[Fleet, Door]]:
    folder = tmp_path_factory.mktemp("door")
    door = Door(folder)
    try:
        with fleet(folder, "abc") as hosts:
            hosts.front = {name: door.url(name * 4) for name in "abc"}
            for name, stack in hosts.stacks.items():
                stack.start_web("g1")
                hosts.configure(name, door=door.url(), trusted_proxies=["127.0.0.1/32"])
            for at in "abc":
                for other in "abc".replace(at, ""):
                    hosts.wait(at, other, "there")
            door.lead_to(behind(hosts, "abc"))
            door.start()
            yield hosts, door
    finally:
        door.close()


@pytest.fixture
def hosts(all_hosts, monkeypatch) -> Fleet:
    resolve(monkeypatch)
    return all_hosts[0]


@pytest.fixture
def door(all_hosts) -> Door:
    return all_hosts[1]


def behind(hosts: Fleet, names: str) -> list[dict[str, str]]:
    ports = {name: hosts.stacks[name].status()["listeners"]["web"] for name in names}
    return [{"name": n, "tag": n * 4, "address": f"127.0.0.1:{port}"} for n, port in ports.items()]


def come_in(door: Door, tag: str = "", **options) -> Terminal:
    """Somebody who comes to the door, or by it to the host of a tag."""
    usual = {"token": TOKEN, "ca": door.authority.ca, "backoff": Backoff(0.05, 0.2)}
    return Terminal(f"{door.url(tag)}/ws/system", **{**usual, **options})


def at(terminal: Terminal) -> str:
    assert terminal.session is not None
    return tag_of(terminal.session)


def test_people_come_in_and_whoever_asks_for_a_host_gets_that_one(hosts, door):
    with come_in(door) as terminal:
        terminal.send(b"echo [$((6 * 7))]\n")
        terminal.expect(rb"\[42\]")
        assert at(terminal) in ("aaaa", "bbbb", "cccc")
    for name in "abc":
        with come_in(door, name * 4) as terminal:
            assert at(terminal) == name * 4


def test_a_session_is_found_from_the_door_whatever_host_it_leads_to(hosts, door):
    begun = {name: come_in(door, name * 4) for name in "abc"}
    for name, terminal in begun.items():
        terminal.open()
        terminal.send(f"who={name}\n".encode())
        until(lambda: terminal.pump(0.05) or not terminal.unacknowledged, "what was typed")  # noqa: B023
        terminal.close()
    for name, terminal in begun.items():
        for _ in range(3):  # it leads to another host each time
            again = come_in(door, session=terminal.session)
            assert again.open().status == "resumed"
            again.send(b"echo [$who]\n")
            again.expect(b"\\[%s\\]" % name.encode())
            again.close()


def test_a_reload_is_seen_by_nobody_and_brings_a_host_more_and_another_certificate(hosts, door):
    door.lead_to(behind(hosts, "ab"))
    door.reload()
    with come_in(door, "cccc") as elsewhere:
        assert at(elsewhere) in ("aaaa", "bbbb"), "whose host it does not know is led to any"
    with come_in(door, "aaaa") as one, come_in(door) as two:
        serial = certificate(door)
        door.lead_to(behind(hosts, "abc"))
        door.renew()
        door.reload()
        assert certificate(door) != serial
        with come_in(door, "cccc") as three:
            assert at(three) == "cccc"
        for index, terminal in enumerate((one, two)):
            terminal.send(f"echo [$(({index} + 1))]\n".encode())
            terminal.expect(rb"\[%d\]" % (index + 1))
            assert terminal.stats.reconnects == 0
        assert len(door.workers()) == 2, "the old one has its connections still"
    until(lambda: len(door.workers()) == 1, "the old one's end, with its last connection")


def test_a_configuration_that_is_none_leaves_all_as_it_is(hosts, door):
    with come_in(door, "aaaa") as terminal:
        path = door.folder / "haproxy.cfg"
        text, before = path.read_text(), door.workers()
        path.write_text(text + "\nnonsense\n")
        door.signal(signal.SIGUSR2)
        until(lambda: "nonsense" in door.log(), "what it says of it")
        terminal.send(b"echo [$((6 * 7))]\n")
        terminal.expect(rb"\[42\]")
        with come_in(door, "bbbb") as other:
            assert at(other) == "bbbb"
        assert (terminal.stats.reconnects, door.workers()) == (0, before)
        path.write_text(text)
    door.reload()


def test_its_death_costs_a_reconnect_and_nothing_else(hosts, door):
    terminals = [come_in(door, tag) for tag in ("aaaa", "bbbb", "", "")]
    try:
        for number, terminal in enumerate(terminals):
            terminal.open()
            terminal.send(f"n={number}; bind 'set enable-bracketed-paste off'; stty -echo; PS1=\n".encode())
            terminal.send(b"echo ready-$((1+1))\n")
            terminal.expect(rb"ready-2")
        for terminal in terminals:
            terminal.send(b"for i in {1..400}; do echo line-$n-$i; sleep 0.005; done; echo all-$((1+1))\n")
        door.kill()
        until(lambda: all(not t.pump(0.01) and not t.connected for t in terminals), "all of them cut off")
        door.start()
        for number, terminal in enumerate(terminals):
            text = terminal.expect(rb"all-2\r\n", timeout=60)
            lines = [line for line in text.split(b"\r\n") if line.startswith(b"line-")]
            assert lines == [b"line-%d-%d" % (number, index) for index in range(1, 401)]
            assert terminal.stats.reconnects == 1
    finally:
        for terminal in terminals:
            terminal.close()


def test_a_host_is_told_where_people_come_from_and_they_cannot_say_so_themselves(hosts, door):
    with dialled(door, f"h-aaaa.{NAME}", source="127.0.0.2") as tls:
        lines = [f"Host: h-aaaa.{NAME}", "Authorization: Bearer wrong", "X-Forwarded-For: 192.0.2.99"]
        tls.sendall("\r\n".join(["GET /api/sessions HTTP/1.1", *lines, "", ""]).encode())
        assert tls.recv(4096).startswith(b"HTTP/1.1 401 ")
    said = hosts.stacks["a"].log("web-g1")
    assert "127.0.0.2 presented a wrong credential" in said
    assert "192.0.2.99" not in said


def test_a_browser_stays_at_one_host_and_its_page_may_go_to_all(hosts, door):
    page = Visitor(f"{door.url(scheme='https')}/", ca=door.authority.ca)
    status, _ = page.ask("GET", "health/live")
    assert status == 200
    assert page.cookie is not None and page.cookie.key == "terminals-door"
    assert page.cookie["secure"] and page.cookie["httponly"]
    first = page.cookie.value
    for _ in range(4):
        page.ask("GET", "health/live")
        assert page.cookie.value == first, "nobody gives another one"
    page.ask("GET", "")
    # HAProxy writes names in lower case.
    allowed = {name.lower(): value for name, value in page.headers.items()}["content-security-policy"]
    others = {name for name in "abc" if name * 4 != first}
    assert all(door.url(name * 4) in allowed for name in others)
    assert f" {door.url()} " in f"{allowed.replace(';', ' ')} "


def test_by_a_connection_for_one_name_nobody_asks_for_another(hosts, door):
    for asked, status in (("bbbb", b"421"), ("aaaa", b"200")):
        with dialled(door, f"h-aaaa.{NAME}") as tls:
            tls.sendall(f"GET /health/live HTTP/1.1\r\nHost: h-{asked}.{NAME}\r\n\r\n".encode())
            assert tls.recv(4096).startswith(b"HTTP/1.1 %s " % status)
            assert tls.selected_alpn_protocol() == "http/1.1", "never HTTP/2, which would share connections"


@contextlib.contextmanager
def dialled(door: Door, name: str, source: str = "127.0.0.1") -> Iterator[ssl.SSLSocket]:
    """A connection for a name, from an address of this machine."""
    context = door.authority.context()
    context.set_alpn_protocols(["h2", "http/1.1"])
    with (
        socket.create_connection(("127.0.0.1", door.port), source_address=(source, 0)) as raw,
        context.wrap_socket(raw, server_hostname=name) as tls,
    ):
        yield tls


def certificate(door: Door) -> object:
    """The number of the one that it shows."""
    with dialled(door, NAME) as tls:
        return (tls.getpeercert() or {})["serialNumber"]


def test_the_one_that_compose_starts_is_the_one_of_the_role():
    hosts = [{"name": f"eu-{n}", "tag": f"eu0{n}", "address": f"192.0.2.1{n}:4110"} for n in (1, 2)]
    assert (COMPOSE / "door" / "haproxy.cfg").read_text() == rendered("terminals.example.org", hosts)
