import pytest
from hypothesis import given
from hypothesis import strategies as st
from terminals.protocol.resume import Receiver, Resume, Sender, SequenceGap, resume_from


def test_receiver_drops_what_it_has():
    receiver = Receiver()
    assert receiver.accept(0, b"hello") == b"hello"
    assert receiver.accept(0, b"hello") == b""
    assert receiver.accept(3, b"lo wor") == b" wor"
    assert receiver.received == 9


def test_receiver_refuses_a_gap():
    with pytest.raises(SequenceGap, match="2 bytes are missing"):
        Receiver(3).accept(5, b"x")


def test_sender_keeps_bytes_until_acknowledged():
    sender = Sender()
    assert sender.push(b"abc") == 0
    assert sender.push(b"def") == 3
    sender.ack(4)
    assert sender.pending() == (4, b"ef")
    sender.ack(2)
    assert sender.pending() == (4, b"ef")


def test_sender_refuses_acknowledgement_of_the_future():
    sender = Sender()
    sender.push(b"abc")
    with pytest.raises(SequenceGap):
        sender.ack(4)


def test_sender_is_bounded():
    sender = Sender(limit=4)
    sender.push(b"abcd")
    with pytest.raises(BufferError):
        sender.push(b"e")


@pytest.mark.parametrize(
    ("received", "expected"),
    [(None, Resume(100, 0)), (150, Resume(150, 0)), (200, Resume(200, 0)), (40, Resume(100, 60))],
)
def test_resume_within_and_past_the_ring(received, expected):
    assert resume_from(received, tail=100, head=200) == expected


@pytest.mark.parametrize("received", [201, -1])
def test_resume_of_bytes_that_never_were_is_refused(received):
    with pytest.raises(SequenceGap):
        resume_from(received, tail=100, head=200)


@given(st.binary(max_size=300), st.lists(st.tuples(st.integers(0, 400), st.integers(0, 100)), max_size=60))
def test_any_order_of_repeated_pieces_delivers_each_byte_once_in_order(stream, pieces):
    receiver, got = Receiver(), b""
    for start, length in pieces:
        try:
            got += receiver.accept(start, stream[start : start + length])
        except SequenceGap:
            continue
    got += receiver.accept(receiver.received, stream[receiver.received :])
    assert got == stream
