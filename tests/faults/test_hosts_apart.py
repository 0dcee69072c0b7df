"""Networks between hosts, and between them and their clients, come and go: no session is ever said to be gone
that is there, and not a byte of any is lost."""

from __future__ import annotations

import random
import time

import pytest
from terminals.protocol import client as conversation

from tests.support.fleet import fleet
from tests.support.somebody import Somebody

LOST = 8.0
LONGEST_CUT = 2.0
"""Seconds: with the time that it takes to be heard again, well below the silence that has a host lost."""
SECONDS = 45.0


@pytest.mark.slow("three hosts, three people and a minute of cuts; each kind of cut is in the first tier")
@pytest.mark.parametrize("seed", [None])
def test_whatever_is_cut_for_a_moment_nobody_is_told_that_a_session_is_gone(tmp_path, seed):
    seed = random.randrange(1 << 30) if seed is None else seed
    print(f"seed {seed}")
    drawn = random.Random(seed)
    with fleet(tmp_path, "abc", doors=True, lost_seconds=LOST) as hosts:
        people = [Somebody(hosts, home, door) for home, door in ("ab", "bc", "ca")]
        networks = [*hosts.links.values(), *hosts.doors.values()]
        end = time.monotonic() + SECONDS
        cuts = 0
        while time.monotonic() < end:
            chosen = drawn.sample(networks, drawn.randint(1, len(networks)))
            for network in chosen:
                network.cut()
                if drawn.random() < 0.3:
                    network.drop()
            cuts += len(chosen)
            time.sleep(drawn.uniform(0.1, LONGEST_CUT))
            for network in chosen:
                network.heal()
            time.sleep(drawn.uniform(0.1, LONGEST_CUT))
        assert cuts > 30
        for somebody in people:
            somebody.leave()
        assert sum(isinstance(event, conversation.Lost) for each in people for event in each.said) > 0
