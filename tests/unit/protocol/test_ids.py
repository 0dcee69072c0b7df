import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from terminals.protocol.ids import (
    InvalidSessionId,
    Origin,
    check_character,
    is_canonical,
    new_session_id,
    parse_session_id,
    tag_of,
)

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


TAGS = st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=4, max_size=4)


def test_the_check_character_is_that_of_the_standard():
    """The example of the Global Release Identifier, which is checked by ISO/IEC 7064, MOD 37,36, too."""
    assert check_character("a12425gabc1234002") == "m"


@given(TAGS)
def test_an_id_says_at_which_host_it_was_made(tag):
    made = new_session_id(tag).value
    assert is_canonical(made)
    assert tag_of(made) == tag
    assert tag_of(parse_session_id(None, tag=tag).value) == tag
    assert parse_session_id(made).value == made


@given(TAGS, st.integers(0, 4), TAGS.map(lambda text: text[0]))
def test_a_wrong_character_is_found(tag, place, other):
    made = new_session_id(tag).value
    at = len("session_0000000000000_") + place
    damaged = made[:at] + other + made[at + 1 :]
    assert tag_of(damaged) == (tag if damaged == made else None)


@given(TAGS, st.integers(0, 3))
def test_characters_that_have_changed_places_are_found(tag, place):
    made = new_session_id(tag).value
    at = len("session_0000000000000_") + place
    one, two = made[at], made[at + 1]
    damaged = made[:at] + two + one + made[at + 2 :]
    # As the standard has it: all but one pair in its alphabet, the last and the first.
    if one != two and {one, two} != {"0", "z"}:
        assert tag_of(damaged) != tag


@given(st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=9, max_size=32))
def test_whatever_id_there_is_it_has_a_tag_or_none(random):
    found = tag_of(f"session_1754931600123_{random}")
    assert found is None or (random.startswith(found) and random[4] == check_character(found))


def test_migrated_ids_are_what_they_were():
    """With tags, too: whoever comes with one of old finds the session that was begun under it."""
    assert parse_session_id(UUID, tag="abcd") == parse_session_id(UUID)
