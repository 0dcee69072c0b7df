import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from terminals.protocol.ids import InvalidSessionId, Origin, is_canonical, new_session_id, parse_session_id

UUID = "3f2b8c1e-9d4a-4c57-8e21-0a1b2c3d4e5f"


def test_new_id_has_timestamp_in_milliseconds_and_random_part():
    made = new_session_id(clock=lambda: 1754931600.123, token=lambda: "abcdefghi")
    assert made.value == "session_1754931600123_abcdefghi"
    assert made.origin is Origin.NEW


def test_new_ids_differ():
    assert len({new_session_id(clock=lambda: 0.0).value for _ in range(1000)}) == 1000


def test_canonical_id_stays_as_it_is():
    parsed = parse_session_id("session_1754931600123_abcdefghi")
    assert (parsed.value, parsed.origin) == ("session_1754931600123_abcdefghi", Origin.CANONICAL)


@pytest.mark.parametrize("absent", [None, "", "null", "undefined"])
def test_absent_id_gets_a_new_session(absent):
    assert parse_session_id(absent).origin is Origin.NEW


@pytest.mark.parametrize(
    "legacy",
    [
        UUID,
        "session-1754931600123-abc",
        "terminal_1754931600123",
        "terminal_1754931600123_x9",
        "1754931600123",
    ],
)
def test_legacy_id_migrates_to_the_same_canonical_id_every_time(legacy):
    first, second = parse_session_id(legacy), parse_session_id(legacy)
    assert first == second
    assert first.origin is Origin.MIGRATED
    assert is_canonical(first.value)
    if "1754931600123" in legacy:
        assert "_1754931600123_" in first.value


def test_legacy_case_does_not_matter():
    assert parse_session_id(UUID.upper()) == parse_session_id(UUID)


@pytest.mark.parametrize(
    "garbage",
    [
        "session_1_a",
        "session_1754931600123_",
        "session_1754931600123_ABCDEFGHI",
        "session_1754931600123_abcdefghi\n",
        "../../etc/passwd",
        "session_\u0661754931600123_abcdefghi",
        "x" * 129,
        7,
        ["session_1754931600123_abcdefghi"],
        True,
    ],
)
def test_garbage_is_refused_with_the_reason(garbage):
    with pytest.raises(InvalidSessionId, match="session id"):
        parse_session_id(garbage)


@given(st.text(max_size=200))
def test_any_text_is_parsed_or_refused(raw):
    with contextlib.suppress(InvalidSessionId):
        assert is_canonical(parse_session_id(raw).value)
