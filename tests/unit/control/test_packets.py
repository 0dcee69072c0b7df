"""Messages of any size in packets of a bounded one."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st
from terminals.control import packets

SIZES = st.integers(0, 3 * packets.MAX_PACKET)


@given(length=SIZES, letter=st.sampled_from(['"', "\\", "a", "\N{ROCKET}", "\0"]))
def test_a_message_of_any_size_is_what_it_was(length, letter):
    message = {"type": "reply", "req": 7, "text": letter * length}
    sent = list(packets.encode_all(message))
    assert all(len(packet) <= packets.MAX_PACKET for packet in sent)
    joiner = packets.Joiner()
    found = [joiner.add(packets.decode(packet)) for packet in sent]
    assert found[-1] == message
    assert not any(found[:-1])


@given(st.lists(st.integers(0, 30000), max_size=200))
def test_a_list_is_cut_by_its_bytes_and_nothing_is_lost(lengths):
    items = [{"title": "\N{ROCKET}" * (length // 12)} for length in lengths]
    chunks = list(packets.chunks(items))
    assert [item for chunk in chunks for item in chunk] == items
    for chunk in chunks:
        assert len(chunk) == 1 or len(json.dumps(chunk)) <= packets.MAX_PACKET // 2
