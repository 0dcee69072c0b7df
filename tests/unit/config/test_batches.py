"""Whose turn it is when."""

from __future__ import annotations

import pytest

from rollout.config import Environment


def environment(hosts: dict[str, str | None], *batches: int | str) -> Environment:
    return Environment.model_validate(
        {
            "hosts": {name: {"root": "/srv/t", "region": region} for name, region in hosts.items()},
            "listen": {"system": 1, "claude": 2, "web": 3},
            "gates": [{"metric": "smoke.pass_ratio", "op": ">", "threshold": 0.9}],
            **({"batches": list(batches)} if batches else {}),
        }
    )


ALONE = dict.fromkeys("abcdef")
TWO = {"a": "eu", "b": "us", "c": "eu", "d": "us", "e": "us"}


@pytest.mark.parametrize(
    ("hosts", "batches", "sessions", "turns"),
    [
        (ALONE, (), {}, ["abcdef"]),
        (ALONE, (1, "100%"), {}, ["a", "bcdef"]),
        (ALONE, (1, "50%"), {}, ["a", "bcd", "ef"]),
        (ALONE, (2,), {}, ["ab", "cd", "ef"]),
        # Those first where fewest people are at work; one of which nothing is known has nobody.
        (ALONE, (1, "100%"), {"a": 90, "b": 7, "c": 17, "d": 5, "e": 3}, ["e", "fbdca"]),
        # Nearly alike: a monitor's session more or less changes no order.
        (ALONE, (1, "100%"), {"a": 3, "b": 1, "c": 0, "d": 2, "e": 1}, ["a", "bcdef"]),
        (ALONE, (1, "100%"), {"a": 63, "b": 40, "c": 32, "d": 50, "e": 60, "f": 33}, ["a", "bcdef"]),
        # One region after the other, that with fewest first.
        (TWO, (), {}, ["ac", "bde"]),
        (TWO, (), {"a": 30, "c": 4, "b": 1, "d": 8, "e": 1}, ["bed", "ca"]),
        # Sizes go on from region to region, and no turn is of two.
        (TWO, (1, "100%"), {}, ["a", "c", "bde"]),
        (TWO, (1, 2), {}, ["a", "c", "bd", "e"]),
    ],
)
def test_turns(hosts, batches, sessions, turns):
    found = environment(hosts, *batches).host_batches(sessions)
    assert ["".join(turn) for turn in found] == turns
