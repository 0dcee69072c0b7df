"""What counts as seen, what counters grew by, and the summaries made of both."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from terminals.monitor.clock import Gap
from terminals.monitor.history import History, within
from terminals.monitor.summary import hourly, metrics, percentiles, results

from tests.support.monitor import Maker, reading, schema

DAY = 86400.0


def history(records, now) -> History:
    made = History()
    made.add(records, now)
    return made


def test_an_hour_of_rounds_is_an_hour_seen():
    make = Maker()
    seen = history([make.check(at) for at in range(0, 3601, 60)], reading(3600))
    assert seen.observed(0, 3600) == 3600
    assert seen.observed(1800, 3600) == 1800
    assert seen.observed(0, 3660) == 3660, "the last round vouches for the time since"
    assert seen.observed(0, 4000) == 3600, "but not for longer than until the next was due"


def test_a_gap_is_never_uptime():
    make = Maker()
    rounds = [at for at in range(0, 3601, 60) if not 600 < at < 1200]
    seen = history([make.check(at) for at in rounds], reading(3600))
    assert seen.observed(0, 3600) == 3000


def test_rounds_that_were_seen_but_not_kept_were_not_seen():
    """A disk that was full from 600 to 1200 s: the monitor went on, its records are lost."""
    make = Maker()
    records = [make.check(at) for at in range(0, 3601, 60)]
    records.append(make.writer.gap(Gap(600, "disk"), reading(1200)))
    assert history(records, reading(3600)).observed(0, 3600) == 3000


def test_stall_between_two_rounds_is_taken_off():
    make = Maker()
    records = [make.check(0), make.writer.gap(Gap(40, "late"), reading(50)), make.check(60)]
    assert history(records, reading(60)).observed(0, 60) == 20


@pytest.mark.parametrize("wall", [DAY, -DAY])
def test_a_clock_that_jumped_a_day_invents_no_time_and_hides_none(wall):
    make = Maker()
    before = [make.check(at) for at in range(0, 600, 60)]
    after = [make.check(at, reading=reading(at, wall=wall)) for at in range(600, 1201, 60)]
    seen = history([*before, *after], reading(1200, wall=wall))
    assert seen.observed(0, 1200) == 1200
    assert len(within(seen.checks, 900, 1200)) == 5


def test_records_of_another_boot_lie_before_this_one():
    make = Maker()
    old = [make.check(at, reading=reading(at, boot="b0")) for at in (900.0, 960.0)]
    new = [make.check(at, reading=reading(at, wall=1000, boot="b1")) for at in (30.0, 90.0)]
    seen = history([*old, *new], reading(90, wall=1000, boot="b1"))
    assert [check.when for check in seen.checks] == [-100, -40, 30, 90]
    assert seen.observed(-1000, 90) == 60 + 70 + 60, "70 s between the boots: within the patience for a round"


@given(st.lists(st.tuples(st.floats(0.1, 500), st.booleans()), max_size=40), st.floats(0, 5000))
def test_seen_time_is_never_more_than_time(steps, begin):
    make, at, records = Maker(), 0.0, []
    for step, gap in steps:
        at += step
        records.append(make.writer.gap(Gap(step, "late"), reading(at)) if gap else make.check(at))
    end = at + 30
    seen = history(records, reading(end)).observed(begin, end)
    assert 0 <= seen <= max(0.0, end - begin) + 1e-6


def test_a_counter_that_began_anew_began_at_0():
    make = Maker()
    values = [5, 7, 2, 3]
    seen = history(
        [make.services(60 * n, g1={"loops": value}) for n, value in enumerate(values)], reading(180)
    )
    assert seen.grown("loops", -1, 180) == {"g1": 2 + 2 + 1}, "what came before the first answer is unknown"
    assert seen.grown("loops", 60, 180) == {"g1": 3}


def test_a_new_generation_began_at_0_and_silence_is_no_growth():
    make = Maker()
    records = [
        make.services(0, g1={"loops": 1}),
        make.services(60, silent=True),
        make.services(120, g1={"loops": 1}, g2={"loops": 4}),
    ]
    assert history(records, reading(120)).grown("loops", 0, 120) == {"g1": 0, "g2": 4}


def test_only_a_day_is_remembered():
    make = Maker(3600)
    seen = history([make.check(3600 * hour) for hour in range(40)], reading(39 * 3600))
    assert seen.checks[0].when > 39 * 3600 - DAY


def test_record_of_another_make_is_skipped():
    make = Maker()
    odd = {key: value for key, value in make.check(0).items() if key != "profile"}
    assert len(history([odd, make.check(60)], reading(60)).checks) == 1


def test_percentiles_are_measured_values():
    assert percentiles([]) is None
    assert percentiles([3.0]) == {"count": 1, "p50": 3.0, "p95": 3.0, "p99": 3.0, "max": 3.0}
    hundred = percentiles([float(n) for n in range(1, 101)])
    assert (hundred["p50"], hundred["p95"], hundred["p99"], hundred["max"]) == (50, 95, 99, 100)


def test_no_checks_are_no_success():
    assert results([])["success_ratio"] is None


def test_metrics_and_reports_say_what_was_seen_and_are_as_the_schemas_say():
    make = Maker()
    records = []
    for at in range(0, 3601, 60):
        records.append(make.check(at, ok=at not in (600, 660)))
        records.append(make.check(at, "claude", command_ms=None))
        records.append(make.services(at, g1={"attaches": at // 30, "breaker_opened": int(at > 600)}))
    records.insert(0, make.writer.gap(Gap(12, "restarted"), reading(0)))
    now = reading(3600)
    seen = history(records, now)
    told = metrics(seen, ["system", "claude"], now, host="here", run="0000000a", every=60, damaged=2)
    schema("deployment-metrics").validate(told)
    hour = told["profiles"]["system"]["windows"]["1h"]
    assert (hour["checks"], hour["succeeded"], hour["success_ratio"]) == (60, 58, round(58 / 60, 6))
    assert told["profiles"]["claude"]["windows"]["1h"]["latency_ms"]["command"] is None
    assert told["counters"]["1h"]["breaker_opened"] == 1
    assert told["observed_seconds"]["1h"] == 3600
    assert told["errors"][0]["count"] == 2
    assert told["gaps"][0]["reason"] == "restarted"
    report = hourly(seen, ["system", "claude"], now.wall - 3600, now, host="here")
    schema("hourly-report").validate(report)
    started = report["started"]
    assert started <= now.wall - 3600 < started + 3600
    inside = [at for at in range(0, 3601, 60) if started < 1_700_000_000 + at <= started + 3600]
    assert report["profiles"]["system"]["checks"] == len(inside)


def test_metrics_of_nothing_are_as_the_schema_says():
    told = metrics(History(), ["system"], reading(5), host="here", run="0000000a", every=60, damaged=0)
    schema("deployment-metrics").validate(told)
    assert told["profiles"]["system"]["windows"]["24h"]["success_ratio"] is None
    assert told["services"] is None
