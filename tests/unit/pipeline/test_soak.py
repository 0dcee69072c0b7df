"""A soak counts what was seen: not what a clock, a sleep or a dead monitor would make of it."""

from __future__ import annotations

import time

import pytest

from rollout.evidence import from_monitor
from tests.unit.pipeline.records import Days

DAY = 1440
START = 1_700_000_000.0


def figure(days, name, *, since=START, generation="g1", **options):
    found = [
        item
        for item in from_monitor({"local": days.log}, since, generation, **options)
        if item.metric == name
    ]
    assert len(found) == 1
    return found[0]


def test_a_day_of_checks_is_a_day():
    days = Days(START).minutes(DAY)
    assert figure(days, "monitor.observed_seconds").value == DAY * 60
    rate = figure(days, "monitor.success_rate")
    assert (rate.successes, rate.n) == (2 * DAY, 2 * DAY)
    assert figure(days, "monitor.longest_gap").value == 0
    assert figure(days, "monitor.critical_alerts").value == 0


def test_ten_blind_minutes_are_a_gap_and_no_uptime():
    days = Days(START).minutes(100).pass_time(600).restart().minutes(100)
    seen = figure(days, "monitor.observed_seconds").value
    assert seen == 199 * 60
    assert figure(days, "monitor.longest_gap").value == 660


def test_short_gaps_that_the_monitor_tells_of_were_not_seen_either():
    days = Days(START)
    for _ in range(100):
        days.minutes(1).blind(25.0)
    assert figure(days, "monitor.observed_seconds").value == 100 * 60 + 60
    assert figure(days, "monitor.longest_gap").value == 25
    killed = Days(START)
    for _ in range(100):
        killed.minutes(1).restart().blind(25.0, "down")
    assert figure(killed, "monitor.observed_seconds").value == 100 * 60 + 60


def test_a_monitor_that_hangs_in_between_was_blind_too():
    days = Days(START).minutes(10).pass_time(600).minutes(10)
    assert figure(days, "monitor.observed_seconds").value == 19 * 60
    assert figure(days, "monitor.longest_gap").value == 660


@pytest.mark.parametrize("jump", [86400, -86400])
def test_a_clock_that_jumps_a_day_adds_and_takes_nothing(jump):
    days = Days(START).minutes(30).set_clock(jump).minutes(31)
    assert figure(days, "monitor.observed_seconds").value == 61 * 60
    assert figure(days, "monitor.longest_gap").value == 0
    assert figure(days, "monitor.success_rate").n == 122


def test_a_machine_that_sleeps_is_not_up():
    days = Days(START).minutes(30).sleep(8 * 3600).minutes(31)
    assert figure(days, "monitor.observed_seconds").value == 60 * 60
    assert figure(days, "monitor.longest_gap").value == 8 * 3600 + 60


def test_a_reboot_is_a_gap_of_what_the_wall_clock_says():
    days = Days(START).minutes(30).pass_time(240).reboot().minutes(31)
    assert figure(days, "monitor.observed_seconds").value == 60 * 60
    assert figure(days, "monitor.longest_gap").value == 300


def test_another_generations_time_counts_for_nothing():
    days = Days(START, generation="g0").minutes(600)
    days.generation = "g1"
    promoted = days.wall
    days.minutes(11)
    assert figure(days, "monitor.observed_seconds", since=promoted).value == 11 * 60
    # A clock that is a day ahead makes the old generation's records look as if they came after.
    assert figure(days, "monitor.observed_seconds", since=START - 86400).value == 11 * 60


@pytest.mark.parametrize("silent", [False, True], ids=["nobody is served", "nobody answers"])
def test_a_build_that_has_never_served_anybody_is_judged_by_that(silent):
    """It broke before the first check after its promotion: no record bears its name, and none ever will."""
    days = Days(START - 120, generation="g0").minutes(2)
    days.generation = "g1"
    nothing = {"connect_ms": None, "attach_ms": None, "command_ms": None, "reconnect_ms": None}
    days.minutes(5, generation=None, ok=False, acknowledged=False, resumed=False, **nothing)
    if silent:
        for record in days.records[6:]:
            if record["kind"] == "services":
                record["generations"] = None
    days.alerts = [{"severity": "critical", "since": START, "until": None}]
    alerts = figure(days, "monitor.critical_alerts")
    assert (alerts.value, alerts.n) == (1, 5)
    assert alerts.ended == START + 240
    rate = figure(days, "monitor.success_rate")
    assert (rate.successes, rate.n) == (0, 10)
    # Those of the one before are not its own, also where a clock that is ahead makes them look so.
    ahead = figure(days, "monitor.success_rate", since=START - 86400)
    assert (ahead.successes, ahead.n) == (0, 10)


def test_the_host_that_was_seen_least_counts():
    logs = {"a": Days(START).minutes(61).log, "b": Days(START).minutes(11).log}
    found = {item.metric: item for item in from_monitor(logs, START, "g1") if not item.labels}
    assert found["monitor.observed_seconds"].value == 660
    found = {item.metric: item for item in from_monitor({**logs, "c": None}, START, "g1") if not item.labels}
    assert found["monitor.observed_seconds"].value == 0
    assert found["monitor.longest_gap"].n == 0
    assert found["monitor.critical_alerts"].n == 0


def test_only_the_window_counts():
    days = Days(START).minutes(100, ok=False, resumed=False).minutes(61)
    rate = figure(days, "monitor.success_rate", window=3600.0)
    assert rate.successes == rate.n == 120
    assert figure(days, "monitor.success_rate").successes == 122


def test_alerts_that_ended_before_do_not_count_and_lasting_ones_do():
    days = Days(START).minutes(5)
    days.alerts = [
        {"severity": "critical", "since": START - 900, "until": START - 300},
        {"severity": "critical", "since": START - 60, "until": START + 60},
        {"severity": "critical", "since": START + 120, "until": None},
        {"severity": "warning", "since": START + 120, "until": None},
    ]
    assert figure(days, "monitor.critical_alerts").value == 2


def test_an_alert_that_the_build_has_cured_is_not_its_own():
    days = Days(START).minutes(5)
    # The first check of the new build ends it; it began under the one before.
    days.alerts = [{"severity": "critical", "since": START - 900, "until": START + 4}]
    assert figure(days, "monitor.critical_alerts").value == 0
    days.alerts = [{"severity": "critical", "since": START + 1, "until": START + 4}]
    assert figure(days, "monitor.critical_alerts").value == 1


def test_no_alert_is_none_raised_only_as_far_as_alerts_were_judged():
    """A disk may take the records, which are appended to, and not the file of alerts, which is made anew."""
    days = Days(START).minutes(61)
    days.judging = False
    days.minutes(100)
    alerts = figure(days, "monitor.critical_alerts")
    assert (alerts.n, alerts.value, alerts.ended) == (61, 0, START + 60 * 60)
    assert figure(days, "monitor.critical_alerts", window=3600.0).n == 0
    days.judged = None
    assert figure(days, "monitor.critical_alerts").n == 0
    logs = {"a": Days(START).minutes(161).log, "b": days.log}
    found = {item.metric: item for item in from_monitor(logs, START, "g1") if not item.labels}
    assert found["monitor.critical_alerts"].n == 0, "the other host's do not speak for it"


def test_a_clock_that_was_set_back_hides_no_judged_round():
    days = Days(START).minutes(30).set_clock(-86400).minutes(31)
    assert figure(days, "monitor.critical_alerts").n == 61


def test_what_was_seen_while_another_one_was_on_trial_counts_for_nothing():
    days = on_trial(Days(START).minutes(61), 30).minutes(61)
    rate = figure(days, "monitor.success_rate")
    assert rate.successes == rate.n == 2 * 122
    assert figure(days, "monitor.observed_seconds").value == 2 * 60 * 60 + 60
    assert figure(days, "monitor.longest_gap").value == 0


def on_trial(days, rounds):
    """Another build has half of the people for some rounds, and serves nobody well."""
    days.minutes(rounds, ok=False, resumed=False)
    for record in days.records[-3 * rounds :]:
        if record["kind"] == "services":
            mine = record["generations"][0]
            record["generations"] = [{**mine, "weight": 50}, {**mine, "name": "g2", "weight": 50}]
    return days


@pytest.mark.parametrize("blamed", ["g2", None, "g1"])
def test_alerts_that_came_and_went_while_another_one_was_on_trial_are_not_its_own(blamed):
    days = Days(START).minutes(61)
    since = days.wall
    on_trial(days, 10)
    until = days.wall + 4
    days.minutes(61)
    alert = {"severity": "critical", "generation": blamed, "since": since, "until": until}
    days.alerts = [alert]
    assert figure(days, "monitor.critical_alerts").value == 0
    for mine in ({"since": START}, {"until": until + 120}, {"until": None}):
        days.alerts = [alert | mine]
        assert figure(days, "monitor.critical_alerts").value == 1, mine


def test_checks_that_could_not_be_made_are_nobodys_failure_and_were_not_seen():
    """The monitor had no token to present; the services said all the while how they were."""
    days = Days(START).minutes(61)
    nothing = {"connect_ms": None, "attach_ms": None, "command_ms": None, "reconnect_ms": None}
    since = days.wall
    days.minutes(30, generation="", ok=False, acknowledged=False, resumed=False, **nothing)
    days.alerts = [{"severity": "critical", "generation": "", "since": since, "until": days.wall + 4}]
    days.minutes(61)
    rate = figure(days, "monitor.success_rate")
    assert rate.successes == rate.n == 2 * 122
    assert figure(days, "monitor.critical_alerts").value == 0
    # A rule with a window may hold longer than what it is about.
    days.alerts[0]["until"] = None
    assert figure(days, "monitor.critical_alerts").value == 0
    assert figure(days, "monitor.observed_seconds").value == 2 * 61 * 60
    assert figure(days, "monitor.longest_gap").value == 30 * 60


def test_rounds_without_a_check_are_blind_however_much_else_was_recorded():
    """On a machine that thrashes, what stood still was the monitor: it has no check to tell of."""
    days = Days(START).minutes(61)
    last = days.wall - 60
    for _ in range(240):
        days.minutes(1, stalled=2.5)
    assert figure(days, "monitor.observed_seconds").value == 61 * 60
    assert figure(days, "monitor.longest_gap").value == 239 * 60
    alerts = figure(days, "monitor.critical_alerts")
    assert (alerts.n, alerts.ended) == (61, last)
    assert figure(days, "monitor.success_rate").ended == last, "which is stale"
    days.minutes(1)
    assert figure(days, "monitor.longest_gap").value == 240 * 60
    assert figure(days, "monitor.observed_seconds").value == 62 * 60


def test_a_check_that_another_one_served_is_not_its_own_where_nobody_says_who_serves():
    days = Days(START).minutes(61)
    days.minutes(2, generation="g2", ok=False)
    for record in days.records[-6:]:
        if record["kind"] == "services":
            record["generations"] = None
    rate = figure(days, "monitor.success_rate")
    assert rate.successes == rate.n == 122
    assert figure(days, "monitor.longest_gap").value == 0, "the monitor was not blind"


def test_a_counter_that_begins_anew_is_still_counted():
    days = Days(START)
    for loops in (0, 2, 1, 1):
        days.minutes(1)
        days.records[-1]["generations"][0]["loops"] = loops
    assert figure(days, "monitor.loops").value == 3


def test_a_day_is_judged_in_far_less_than_its_minute():
    days = Days(START).minutes(DAY)
    started = time.process_time()
    figure(days, "monitor.observed_seconds")
    ours = time.process_time() - started
    started = time.process_time()
    Days(START).minutes(DAY)
    assert ours < 20 * (time.process_time() - started)


def test_a_nap_between_two_checks_is_no_gap_and_was_not_seen_either():
    days = Days(START).minutes(10).sleep(30).minutes(10)
    assert figure(days, "monitor.observed_seconds").value == 20 * 60
    assert figure(days, "monitor.longest_gap").value == 0
