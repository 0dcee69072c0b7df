"""A ring that fails takes nothing of any other session with it."""

from __future__ import annotations

import os
import tty

import pytest
from terminals.manager.journal import Journal, RingLost
from terminals.manager.ring import HEADER_BYTES, Ring


@pytest.fixture
def terminals():
    pairs = [os.openpty() for _ in range(2)]
    for master, slave in pairs:
        tty.setraw(slave)
        os.set_blocking(master, False)
    yield pairs
    for fd in (fd for pair in pairs for fd in pair):
        os.close(fd)


@pytest.mark.parametrize("restarted", [False, True])
def test_what_a_ring_could_not_take_is_not_the_beginning_of_anothers_output(tmp_path, terminals, restarted):
    (a, to_a), (b, to_b) = terminals
    good, bad = (Ring.create(tmp_path / f"{name}.ring", 1 << 16) for name in ("good", "bad"))
    journal = Journal.create()
    # As a disk that cannot be read any more, or a file system without room for a page that is shared.
    os.truncate(tmp_path / "bad.ring", HEADER_BYTES)
    os.write(to_a, b"mine alone")
    if restarted:
        # Killed between the two steps.
        journal._words[2], journal._words[1] = bad.number, bad.head
        journal._words[0] = os.splice(a, journal._into_out, 100)
        journal.recover({ring.number: ring for ring in (good, bad)})
    else:
        with pytest.raises(RingLost, match="cannot be written"):
            journal.output(bad, a, 100)
    os.write(to_b, b"yours")
    assert journal.output(good, b, 100) == 5
    assert bytes(good._span(0, good.head)[0]) == b"yours"
    assert bad.head == 0
    journal.close()
    for ring in (good, bad):
        ring.close()
