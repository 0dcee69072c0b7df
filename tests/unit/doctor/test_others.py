"""Whom a host hears, and whether it takes sessions."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rollout.doctor.hosts import _others, _room

HERE = {"name": "a", "standing": "here", "state": "ready"}


def verdicts(*others: dict, closed: str = "", state: str = "ready") -> list[tuple[str, str, str]]:
    said = {"items": [HERE | {"state": state}, *others], "closed": closed}
    return [(found.verdict, found.text, found.remedy) for found in _others("a", json.dumps(said))]


def test_who_is_heard_is_said_and_who_is_not_is_wrong():
    heard = verdicts({"name": "b", "standing": "there"}, {"name": "c", "standing": "there"})
    assert heard == [("ok", "hears b, c", "")]
    for standing in ("silent", "lost"):
        ((verdict, text, _),) = verdicts({"name": "b", "standing": standing, "silent": 41.2})
        assert (verdict, text) == ("wrong", "is not heard for 41 s")
    for standing in ("untried", "not asked"):
        assert verdicts({"name": "b", "standing": standing}) == []


def test_a_host_that_is_being_emptied_has_no_tag_of_anybody_else():
    ((verdict, text, remedy),) = verdicts(closed="its state is draining", state="draining")
    assert (verdict, text, "rollout undrain a" in remedy) == ("warning", "its state is draining", True)
    ((verdict, _, remedy),) = verdicts(closed="its tag, aaaa, is that of b")
    assert (verdict, "a tag of its own" in remedy) == ("wrong", True)


@pytest.mark.parametrize("said", ["", "nonsense", "[]", "{}", '{"items": []}', '{"items": 7}'])
def test_a_manager_that_says_nothing_of_it_is_of_an_earlier_build(said):
    assert list(_others("a", said)) == []


@pytest.mark.parametrize(
    ("free", "verdict", "text"),
    [
        ("", "warning", "how much is free for the engine is not known"),
        ("df: no such option", "warning", "how much is free for the engine is not known"),
        ("100000000", "wrong", "0.1 GB free for the engine"),
        ("1900000000", "warning", "1.9 GB free for the engine"),
        ("50000000000", "ok", "50.0 GB free for the engine"),
    ],
)
def test_a_disk_that_says_nothing_is_no_full_one(free, verdict, text):
    site: Any = SimpleNamespace(name="a", root=Path("/srv/terminals"))
    _, found = _room(site, Path("/srv"), {"root": "writable", "disk": free})
    assert (found.verdict, found.text) == (verdict, text)
