"""What a monitor goes on from: alerts of rounds that reached the disk when the alerts did not."""

from __future__ import annotations

import pytest
from terminals.monitor.alerts import Alerts, judge
from terminals.monitor.config import Door, MonitorConfig
from terminals.monitor.files import ALERTS, write_json
from terminals.monitor.history import History
from terminals.monitor.past import recall

from tests.support.monitor import Maker, reading
from tests.unit.monitor.test_alerts import DOWN

PLAYED = {0: True, 60: False, 120: False, 180: False, 240: True, 300: True}
"""At which second the terminal was up. It is down for a minute at 120, and up again at 240."""


@pytest.fixture
def config(tmp_path) -> MonitorConfig:
    return MonitorConfig(tmp_path, (Door("system", "ws://a:1/", True),), host="here", alerts=(DOWN,))


@pytest.fixture
def rounds() -> dict[int, list[dict]]:
    make = Maker(60.0)
    return {at: [make.check(at, ok=ok), make.services(at)] for at, ok in PLAYED.items()}


def alerts_until(config, rounds, last: int) -> Alerts:
    """Those of a monitor that lived until then, and left them on its disk."""
    history, found = History(), Alerts()
    for at in (at for at in rounds if at <= last):
        history.add(rounds[at], reading(at))
        found = judge([DOWN], ["system"], history, found, at=reading(at).wall, host="here")
    left = {"updated": reading(last).wall, "active": list(found.active), "history": list(found.history)}
    write_json(config.directory / ALERTS, left)
    return found


@pytest.mark.parametrize("judged", [None, *PLAYED])
def test_whenever_the_disk_took_no_alerts_any_more_they_are_what_they_had_been(config, rounds, judged):
    everything = alerts_until(config, rounds, 300)
    assert [(one["since"], one["until"]) for one in everything.history] == [
        (reading(60).wall, reading(240).wall)
    ]
    if judged is None:
        (config.directory / ALERTS).unlink()
    else:
        alerts_until(config, rounds, judged)
    records = [record for one in rounds.values() for record in one]
    history, alerts = recall(config, records, reading(330))
    assert (alerts.active, alerts.history) == (everything.active, everything.history)
    assert len(history.checks) == len(PLAYED)
    _, alerts = recall(config, records[: 2 * 4], reading(200))
    if judged in (None, 0, 60):
        assert [one["since"] for one in alerts.active] == [reading(60).wall], "it lasts, and is to be told"
        assert alerts.raised == ()


@pytest.mark.parametrize("left", ["", "[]", "{}", '{"updated": "soon", "active": 7}', '{"updated": null}'])
def test_a_file_that_makes_no_sense_is_none(config, rounds, left):
    everything = alerts_until(config, rounds, 300)
    (config.directory / ALERTS).write_text(left)
    _, alerts = recall(config, [record for one in rounds.values() for record in one], reading(330))
    assert alerts.history == everything.history


def test_a_clock_that_was_set_back_has_nothing_judged_twice(config, rounds):
    everything = alerts_until(config, rounds, 300)
    records = [record for one in rounds.values() for record in one]
    for record in records[:6]:
        record["at"] += 86400
    _, alerts = recall(config, records, reading(330))
    assert alerts.history == everything.history


def test_without_records_there_is_nothing_to_go_on_from(config):
    assert recall(config, [], reading(0)) == (History(), Alerts())
