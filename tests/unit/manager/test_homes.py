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


def test_a_session_of_another_host_is_asked_for_there():
    known = homes()
    assert known.elsewhere(new_session_id("k3f9").value, "system") == "wss://eu-2.example:4001/"
    assert known.elsewhere(new_session_id("k3f9").value, "claude") is None, "there is none of this profile"
    assert known.elsewhere(new_session_id("a1b2").value, "system") is None
    assert known.elsewhere(new_session_id("zzzz").value, "system") is None
    assert known.elsewhere("session_1754931600123_abcdefghi", "system") is None


def test_one_host_alone_needs_none():
    assert Homes.of({}) == Homes()
    assert Homes().elsewhere(new_session_id("k3f9").value, "system") is None


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
