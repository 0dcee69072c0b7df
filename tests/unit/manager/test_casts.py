"""The recordings that are kept, and which of them go."""

from __future__ import annotations

import os

import pytest
from terminals.manager.casts import Casts, NoSuchRecording, RecordingRules
from terminals.recordings.asciicast import About, Header, Mark, Term

DAY = 86400


def header(number: int) -> Header:
    about = About(
        session=f"session_{number:013}_abcdefghi", user="ada", profile="system", required=number % 2 == 0
    )
    return Header(
        term=Term(cols=80, rows=24), timestamp=number * DAY, title=f"title {number}", terminals=about
    )


def name(number: int) -> str:
    return f"{number:016x}"


def filled(folder, rules: RecordingRules, *numbers: int, size: int = 1000) -> Casts:
    """Recordings that began at the end of that many days, all over."""
    casts = Casts(folder, rules)
    for number in numbers:
        fd = casts.write(name(number), header(number))
        start = header(number).encode()
        mark = Mark(5, 2_500_000, state="end").encode()
        event = b'[2.5, "o", "%b"]\n' % (b"x" * (size - len(start) - len(mark) - 15))
        os.write(fd, start + event + mark)
        os.close(fd)
        casts.grown(name(number), size, 2_500_000)
        casts.over(name(number), "ended")
    return casts


def ids(casts: Casts) -> list[int]:
    return [int(info.id, 16) for info in casts.all]


def on_disk(folder) -> list[int]:
    return sorted(int(path.stem, 16) for path in folder.glob("*.cast"))


def test_another_manager_knows_the_same_of_each(tmp_path):
    casts = filled(tmp_path, RecordingRules(), 3, 1, 2)
    other = Casts(tmp_path, RecordingRules())
    other.take(other.examine())
    assert ids(other) == [1, 2, 3]
    assert {info.id: info for info in other.all} == {info.id: info for info in casts.all}
    assert other.bytes == 3000


def test_one_whose_writer_was_killed_is_whole_up_to_its_last_mark(tmp_path):
    filled(tmp_path, RecordingRules(), 1)
    path = tmp_path / f"{name(1)}.cast"
    path.write_bytes(path.read_bytes() + Mark(6, 3_000_000).encode() + b'[0.1, "o", "to')
    casts = Casts(tmp_path, RecordingRules())
    casts.take(casts.examine())
    (info,) = casts.all
    assert (info.state, info.seconds, info.bytes) == ("cut", 3.0, path.stat().st_size - 14)


def test_what_is_none_of_ours_is_left_alone(tmp_path):
    (tmp_path / "holiday.cast").write_bytes(header(1).encode() + Mark(0).encode())
    (tmp_path / f"{name(2)}.cast").write_bytes(b"\xff" * 5000)
    (tmp_path / f"{name(3)}.cast").write_bytes(b"")
    (tmp_path / f"{name(4)}.cast").symlink_to("/dev/zero")
    casts = Casts(tmp_path, RecordingRules(max_bytes=1, max_age_seconds=1))
    casts.take(casts.examine())
    casts.sweep(1e12)
    assert casts.all == []
    assert len(list(tmp_path.iterdir())) == 4


def test_what_has_begun_meanwhile_is_known_better(tmp_path):
    filled(tmp_path, RecordingRules(), 1)
    casts = Casts(tmp_path, RecordingRules())
    found = casts.examine()
    os.close(casts.write(name(1), header(1)))
    casts.take(found)
    assert [info.state for info in casts.all] == ["running"]


def test_the_oldest_go_first_and_one_that_goes_on_is_not_touched(tmp_path):
    casts = filled(tmp_path, RecordingRules(max_bytes=2500), 1, 2, 3, 4)
    os.close(casts.write(name(1), header(1)))
    casts.sweep(5 * DAY)
    assert ids(casts) == on_disk(tmp_path) == [1, 4]
    casts.sweep(5 * DAY)
    assert ids(casts) == [1, 4]


def test_age_is_a_limit_too(tmp_path):
    casts = filled(tmp_path, RecordingRules(max_age_seconds=2 * DAY), 1, 2, 3, 4)
    os.close(casts.write(name(1), header(1)))
    casts.sweep(4.5 * DAY)
    assert ids(casts) == on_disk(tmp_path) == [1, 3, 4]


def test_without_limits_all_stay(tmp_path):
    casts = filled(tmp_path, RecordingRules(max_bytes=0, max_age_seconds=0), 1, 2)
    casts.sweep(1e12)
    assert ids(casts) == [1, 2]


def test_one_is_removed_when_it_is_over(tmp_path):
    casts = filled(tmp_path, RecordingRules(), 1, 2)
    os.close(casts.write(name(1), header(1)))
    with pytest.raises(ValueError, match="still being recorded"):
        casts.remove(name(1))
    casts.remove(name(2))
    assert ids(casts) == on_disk(tmp_path) == [1]


@pytest.mark.parametrize("wrong", ["", "../../etc/passwd", name(9), "x" * 1000, "\0", name(1).upper() + "F"])
def test_an_id_that_is_none(tmp_path, wrong):
    casts = filled(tmp_path, RecordingRules(), 1)
    for act in (casts.get, casts.read, casts.remove):
        with pytest.raises(NoSuchRecording):
            act(wrong)


def test_those_that_go_on_may_take_all_there_is(tmp_path):
    casts = filled(tmp_path, RecordingRules(max_bytes=1500), 1, 2)
    assert casts.without_room() == ""
    for number in (1, 2):
        os.close(casts.write(name(number), header(number)))
    assert "max_bytes" in casts.without_room()


def test_a_link_in_its_place_is_not_followed(tmp_path):
    casts = Casts(tmp_path / "recordings", RecordingRules())
    (tmp_path / "recordings").mkdir()
    (tmp_path / "recordings" / f"{name(1)}.cast").symlink_to(tmp_path / "somebodys")
    with pytest.raises(OSError, match="symbolic"):
        casts.write(name(1), header(1))
    assert not (tmp_path / "somebodys").exists()
