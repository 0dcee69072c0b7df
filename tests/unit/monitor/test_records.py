"""Records keep their order and their age through half-written lines and a wrong wall clock."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from terminals.configfile import ConfigError
from terminals.monitor.journal import Journal, read_records
from terminals.monitor.records import from_line, in_order, to_line, younger

from tests.support.monitor import Maker, reading, schema

DAY = 86400.0


def test_records_are_as_the_schema_says():
    make = Maker()
    for record in (make.check(1), make.services(1, g1={}), make.services(2, silent=True)):
        schema("checks").validate(record)
        assert from_line(to_line(record)) == record


@given(st.integers(0, 400))
def test_half_a_line_is_no_record(length):
    line = to_line(Maker().check(1))
    found = from_line(line[: min(length, len(line) - 2)])
    assert found is None


@pytest.mark.parametrize("line", [b"{}", b"7", b"[]", b"null", b'{"version":2}', b"\xff\xfe", b"[" * 100_000])
def test_what_is_no_record_is_damaged(line):
    assert from_line(line) is None


@given(st.randoms(), st.lists(st.floats(-3 * DAY, 3 * DAY), min_size=1, max_size=6))
def test_order_is_that_of_making_whatever_the_wall_clock_says(shuffled: random.Random, jumps):
    """Several runs in one boot, the wall clock set anew before each."""
    made = []
    for number, wall in enumerate(jumps):
        make = Maker(run=f"{number:08x}")
        for step in range(3):
            at = number * 100.0 + step
            made.append(make.check(at, reading=reading(at, wall=wall)))
    mixed = made.copy()
    shuffled.shuffle(mixed)
    assert in_order(mixed) == made


def test_boots_follow_one_another_although_a_clock_began_in_1970():
    old, new = Maker(run="0000000a"), Maker(run="0000000b")
    first = [old.check(at, reading=reading(at, boot="b0")) for at in (1000.0, 1060.0)]
    wrong, right = reading(5, wall=-1.7e9, boot="b1"), reading(70, wall=1200, boot="b1")
    second = [new.check(5, reading=wrong), new.check(70, reading=right)]
    assert in_order([*second, *first]) == [*first, *second]


def test_a_clock_set_back_hides_no_young_record():
    make = Maker()
    before = [make.check(at) for at in range(0, 3600, 60)]
    after = [make.check(at, reading=reading(at, wall=-DAY)) for at in range(3600, 7200, 60)]
    now = reading(7200, wall=-DAY)
    found = younger([*before, *after], now, 5400)
    assert found == [*before[30:], *after]
    assert younger(found, now, 10) == []


def test_of_another_boot_the_wall_clock_tells_and_this_boot_at_least_is_their_age():
    make = Maker()
    records = [make.check(at) for at in (0.0, 60.0)]
    now = reading(10, wall=600, boot="b1")
    assert younger(records, now, 3600) == records
    assert younger(records, now, 560) == records[1:]
    assert younger(records, reading(700, wall=-DAY, boot="b1"), 600) == []


@pytest.fixture
def journal(tmp_path):
    return Journal(tmp_path / "monitor", 14 * DAY)


def test_journal_gives_back_what_it_took(journal, tmp_path):
    make = Maker()
    rounds = [[make.check(at), make.services(at, g1={})] for at in (0, 60, 120)]
    for records in rounds:
        journal.append(records)
    found, damaged = read_records(tmp_path / "monitor", reading(130), DAY)
    assert found == [record for records in rounds for record in records]
    assert damaged == 0
    assert read_records(tmp_path / "monitor", reading(130), 20)[0] == rounds[2]


def test_killed_in_the_middle_of_a_line_costs_that_line_alone(journal, tmp_path):
    make = Maker()
    first, half, later = make.check(0), make.check(60), make.check(120)
    journal.append([first])
    journal.close()
    path = next((tmp_path / "monitor").glob("*.jsonl"))
    with path.open("ab") as file:
        file.write(to_line(half)[:100])
    assert read_records(path.parent, reading(130), DAY) == ([first], 0)  # somebody may be writing it
    again = Journal(path.parent, DAY)
    assert read_records(path.parent, reading(130), DAY) == ([first], 1)
    again.append([later])
    assert read_records(path.parent, reading(130), DAY) == ([first, later], 1)


def test_half_a_line_in_a_day_that_is_come_back_to_is_ended_too(tmp_path):
    make = Maker()
    path = tmp_path / "checks-2023-11-14.jsonl"
    path.write_bytes(to_line(make.check(0))[:50])
    (tmp_path / "checks-2023-11-15.jsonl").write_bytes(b"")
    journal = Journal(tmp_path, DAY)
    later = make.check(60)
    journal.append([later])
    assert path.read_bytes().endswith(b"\n" + to_line(later))
    assert read_records(tmp_path, reading(70), DAY) == ([later], 1)


def test_only_one_monitor_writes_to_a_directory(journal, tmp_path):
    with pytest.raises(ConfigError, match="another monitor writes here"):
        Journal(tmp_path / "monitor", DAY)


def test_days_rotate_by_their_number_so_that_no_clock_can_take_all_away(tmp_path):
    journal = Journal(tmp_path, 3 * DAY)
    make = Maker()
    for day in range(10):
        journal.append([make.check(day * DAY)])
    assert len(list(tmp_path.glob("*.jsonl"))) == 4
    at = 9 * DAY + 60
    journal.append([make.check(at, reading=reading(at, wall=300 * DAY))])
    kept, _ = read_records(tmp_path, reading(at + 1, wall=300 * DAY), 4 * DAY)
    assert [record["seq"] for record in kept] == [8, 9, 10, 11]


def test_file_that_is_certainly_too_old_is_not_read(tmp_path, monkeypatch):
    journal = Journal(tmp_path, 14 * DAY)
    make = Maker()
    for day in range(5):
        journal.append([make.check(day * DAY)])
    sizes = []
    real = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: sizes.append(path.name) or real(path))
    found, _ = read_records(tmp_path, reading(4 * DAY + 60), 3600)
    assert (len(found), len(sizes)) == (1, 1)
