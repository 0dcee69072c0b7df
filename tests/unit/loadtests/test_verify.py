"""The verifier must find what it is there to find."""

from loadtests.verify import Verifier


def stream(commands: int = 20) -> bytes:
    return b"".join(b"c%d\n<%d:%d>\n" % (n, n, n) for n in range(1, commands + 1))


def test_clean_stream_is_verified_to_the_byte_however_it_is_cut():
    text = stream()
    for step in (1, 2, 3, 7, 1000):
        verifier = Verifier()
        answers = [a for at in range(0, len(text), step) for a in verifier.feed(text[at : at + step])]
        assert answers == list(range(1, 21))
        found = verifier.findings
        assert (found.verified, found.lost, found.doubled, found.twice) == (len(text), 0, 0, 0)


def test_every_single_missing_byte_is_found():
    text = stream(12)
    for at in range(len(text) - 12):
        verifier = Verifier()
        verifier.feed(text[:at] + text[at + 1 :])
        assert verifier.findings.lost > 0, text[:at]


def test_every_repeated_stretch_is_found():
    text = stream(12)
    for at in range(len(text) - 20):
        verifier = Verifier()
        verifier.feed(text[: at + 8] + text[at:])
        found = verifier.findings
        assert found.doubled + found.lost > 0, at


def test_missing_line_counts_its_bytes():
    verifier = Verifier()
    verifier.feed(stream(5).replace(b"c3\n", b""))
    assert verifier.findings.lost == 3


def test_command_that_ran_twice_is_found_by_its_second_answer():
    verifier = Verifier()
    assert verifier.feed(b"<1:1>\n<2:2>\n<2:3>\n<3:4>\n") == [1, 2, 3]
    assert verifier.findings.twice == 1
    assert verifier.findings.lost == 0


def test_command_that_ran_twice_unseen_is_found_by_the_count_of_runs():
    verifier = Verifier()
    verifier.feed(b"<1:1>\n<2:3>\n")
    assert verifier.findings.twice == 1


def test_commands_never_answered_are_lost():
    verifier = Verifier()
    verifier.feed(b"<1:1>\n")
    verifier.missing(sent=3)
    assert verifier.findings.lost == len(b"<2:2>\n<3:3>\n")
