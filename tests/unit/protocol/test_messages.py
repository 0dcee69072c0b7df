import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from terminals.protocol import messages
from terminals.protocol.messages import BadMessage, FrameType


@given(st.integers(0, 255), st.integers(0, 1 << 62), st.binary(max_size=100))
def test_data_frame_round_trip(channel, seq, payload):
    frame = messages.decode_binary(messages.encode_data(channel, seq, payload))
    assert frame == (FrameType.DATA, channel, seq, payload)


def test_ack_frame_is_thirteen_bytes():
    assert messages.encode_ack(1, 2) == bytes.fromhex("02000000010000000000000002")


@given(st.binary(max_size=64))
def test_any_bytes_decode_or_are_refused(data):
    with contextlib.suppress(BadMessage):
        messages.decode_binary(data)


@given(st.binary(max_size=64) | st.text().map(str.encode))
def test_any_text_decodes_or_is_refused(data):
    with contextlib.suppress(BadMessage):
        assert isinstance(messages.decode_text(data)["type"], str)


@pytest.mark.parametrize("value", [True, "5", 0, 11, None, 2.0])
def test_integer_out_of_range_or_of_another_type_is_refused(value):
    with pytest.raises(BadMessage, match="from 1 to 10"):
        messages.integer({"type": "resize", "cols": value}, "cols", 1, 10)
