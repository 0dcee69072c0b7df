"""Where sessions of other hosts are, and what is no table of hosts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from terminals.configfile import ConfigError
from terminals.manager.homes import FILE, Homes
from terminals.protocol.ids import new_session_id

OTHER = {"tag": "k3f9", "urls": {"system": "wss://eu-2.example:4001/"}}


def homes(tag: str = "a1b2", **hosts: Any) -> Homes:
    return Homes.of({"tag": tag, "hosts": hosts or {"eu-2": OTHER}})


def test_an_id_says_which_host_has_the_session():
    known = homes()
    home = known.home_of(new_session_id("k3f9").value)
    assert home is not None
    assert (home.name, home.tag, home.urls) == ("eu-2", "k3f9", OTHER["urls"])
    assert known.home_of(new_session_id("a1b2").value) is None
    assert known.home_of(new_session_id("zzzz").value) is None
    assert known.home_of("session_1754931600123_abcdefghi") is None


def test_one_host_alone_needs_none():
    assert Homes.of({}) == Homes()
    assert Homes().home_of(new_session_id("k3f9").value) is None


CERTIFICATES = {"authority": "ca.pem", "certificate": "own.pem", "key": "own.key"}
PEERS = {"host": "0.0.0.0", "port": 4140, "region": "eu", **CERTIFICATES}
ASKED = {**OTHER, "peers": "https://eu-2.example:4140"}


def test_others_are_asked_by_certificates_or_on_one_machine_by_the_token():
    known = Homes.of({"tag": "a1b2", "hosts": {"eu-2": ASKED}, "peers": PEERS})
    assert known.rules is not None
    assert (known.rules.port, known.rules.region, known.rules.interval) == (4140, "eu", 2.0)
    by_token = {"host": "127.0.0.1", "port": "0", "token": "token"}
    asked = {**OTHER, "peers": "http://127.0.0.1:4141"}
    assert Homes.of({"tag": "a1b2", "hosts": {"eu-2": asked}, "peers": by_token}).rules is not None


@pytest.mark.parametrize(
    ("peers", "asked", "words"),
    [
        (PEERS, {**OTHER, "peers": "http://eu-2.example:4140"}, r"hosts\.eu-2\.peers: https: where"),
        (PEERS, {**OTHER, "peers": "https://eu-2.example"}, r"hosts\.eu-2\.peers: an address"),
        (PEERS, {**OTHER, "peers": "https://u@eu-2.example:1"}, r"hosts\.eu-2\.peers: an address"),
        (None, ASKED, r"hosts\.eu-2\.peers: say under peers"),
        ([], ASKED, "peers: an object"),
        ({**PEERS, "key": ""}, ASKED, "authority, certificate and key"),
        ({**PEERS, "token": "t"}, ASKED, "authority, certificate and key"),
        ({"host": "0.0.0.0", "port": 1, "token": "t"}, ASKED, r"peers\.token: .* only with 127"),
        ({"host": "here", "port": 1, "token": "t"}, ASKED, r"peers\.token: .* only with 127"),
        ({**PEERS, "interval": 0}, ASKED, r"peers\.interval must be from"),
        ({**PEERS, "lost_seconds": "60"}, ASKED, r"peers\.lost_seconds must be from"),
        ({**PEERS, "screens": 0.5}, ASKED, r"peers\.screens must be 0 or from 1 to 3600"),
        ({**PEERS, "screens": True}, ASKED, r"peers\.screens must be"),
        ({**PEERS, "region": 5}, ASKED, r"peers\.region: text"),
        ({**PEERS, "ports": 5}, ASKED, "peers: unknown key 'ports'"),
    ],
)
def test_what_says_how_others_are_asked_and_cannot_be_is_refused(peers, asked, words):
    with pytest.raises(ValueError, match=words):
        Homes.of({"tag": "a1b2", "hosts": {"eu-2": asked}, "peers": peers})


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"tag": "ABCD"}, "tag: four characters"),
        ({"tag": "abc"}, "tag: four characters"),
        ({"hosts": {"eu-2": OTHER}}, "this one has to have a tag, too"),
        ({"tag": "k3f9", "hosts": {"eu-2": OTHER}}, r"hosts\.eu-2\.tag: k3f9 is that of this host"),
        ({"tag": "a1b2", "hosts": {"x": OTHER, "y": OTHER}}, r"hosts\.y\.tag: k3f9 is that of x"),
        ({"tag": "a1b2", "hosts": {"x": []}}, r"hosts\.x: "),
        ({"tag": "a1b2", "hosts": {"x": {"tag": 4}}}, r"hosts\.x\.tag: "),
        ({"tag": "a1b2", "hosts": {"x": {**OTHER, "urls": {"system": "http://x/"}}}}, "wss://HOST"),
        ({"tag": "a1b2", "hosts": {"x": {**OTHER, "url": "wss://x/"}}}, "unknown key 'url'"),
    ],
)
def test_what_is_no_table_is_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        Homes.of(settings)


def test_a_host_keeps_its_tag_for_life(tmp_path: Path):
    Homes().settle(tmp_path)
    assert not (tmp_path / FILE).exists()
    homes().settle(tmp_path)
    homes().settle(tmp_path)
    for other, words in ((homes("zzzz"), "is to be zzzz"), (Homes(), "was taken away")):
        with pytest.raises(ConfigError, match=f"{words}, but ids of sessions here say a1b2.*keep a1b2"):
            other.settle(tmp_path)
    assert (tmp_path / FILE).read_text() == "a1b2\n"
