"""Whatever comes in from the network or the control socket: only the documented errors come out."""

from __future__ import annotations

import contextlib
import json

from hypothesis import given, settings
from hypothesis import strategies as st
from terminals.access import Access, Denied
from terminals.configfile import ConfigError
from terminals.control import framing, packets
from terminals.control.answers import Front
from terminals.manager.config import ManagerConfig
from terminals.manager.ring import HEADER_BYTES, MIN_CAPACITY, Ring, RingCorrupt
from terminals.protocol import ids, messages
from terminals.protocol.messages import BadMessage

from tests.support.tiers import examples

MANY = settings(max_examples=examples(1500), derandomize=True)
FEW = settings(max_examples=examples(300), derandomize=True)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
ENCODE = {
    messages.FrameType.DATA: messages.encode_data,
    messages.FrameType.ACK: messages.encode_ack,
    messages.FrameType.SNAPSHOT: messages.encode_snapshot,
}
FRAME = st.builds(
    lambda kind, channel, seq, payload: messages.HEADER.pack(kind, channel, seq) + payload,
    st.sampled_from(messages.FrameType) | st.integers(0, 255),
    st.integers(0, 300) | st.integers(0, 2**32 - 1),
    st.integers(0, 2**64 - 1),
    st.binary(max_size=40),
)


@MANY
@given(st.binary(max_size=200) | FRAME)
def test_binary_frames(data):
    with contextlib.suppress(BadMessage):
        frame = messages.decode_binary(data)
        assert frame.channel <= messages.MAX_CHANNEL
        parts = () if frame.type is messages.FrameType.ACK else (frame.payload,)
        assert ENCODE[frame.type](frame.channel, frame.seq, *parts) == data


@MANY
@given(st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
def test_text_frames(data):
    with contextlib.suppress(BadMessage):
        message = messages.decode_text(data)
        for field in list(message):
            with contextlib.suppress(BadMessage):
                assert 0 <= messages.integer(message, field, 0, 255) <= 255
            with contextlib.suppress(BadMessage):
                assert len(messages.string(message, field, 8)) <= 8


@MANY
@given(
    st.binary(max_size=200)
    | st.builds(lambda kind, rest: kind + rest, st.sampled_from([b"I", b"A", b"{"]), st.binary(max_size=40))
    | JSON.map(lambda value: json.dumps(value).encode())
)
def test_control_packets(data):
    with contextlib.suppress(framing.BadPacket):
        packet = packets.read_request(data)
        assert isinstance(packet, packets.Hot | packets.Malformed | packets.ToManager)
    with contextlib.suppress(framing.BadPacket):
        packets.read_order(data)


@MANY
@given(JSON | st.text(max_size=120) | st.binary(max_size=40))
def test_session_ids(raw):
    with contextlib.suppress(ids.InvalidSessionId):
        assert ids.is_canonical(ids.parse_session_id(raw).value)


@MANY
@given(st.text(max_size=60), st.text(max_size=60), st.lists(st.text(max_size=40), max_size=3))
def test_what_comes_with_a_handshake(origin, host, forwarded):
    access = Access(b"token", Front(trusted_proxies=("10.0.0.0/8",)))
    access.page_allowed(origin, host)
    access.address("10.0.0.1", forwarded)
    for presented in ((origin, None), (None, origin), (None, None)):
        with contextlib.suppress(Denied):
            access.identify(*presented)
            assert presented[0] == "token"


@FEW
@given(st.dictionaries(st.sampled_from(sorted(ManagerConfig.__dataclass_fields__)), JSON) | JSON)
def test_configuration(value):
    import tempfile
    from pathlib import Path

    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(value, file)
        file.flush()
        with contextlib.suppress(ConfigError):
            ManagerConfig.load(Path(file.name))


@FEW
@given(st.lists(st.tuples(st.integers(0, 15), st.integers(0, 2**64 - 1)), max_size=4), st.booleans())
def test_damaged_rings(words, short):
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "session.ring"
        ring = Ring.create(path, MIN_CAPACITY)
        for at, value in words:
            ring.words[at] = value
        ring.close()
        if short:
            with path.open("r+b") as file:
                file.truncate(HEADER_BYTES)
        with contextlib.suppress(RingCorrupt):
            opened = Ring.open(path)
            opened.append(b"notice")
            opened.close()
