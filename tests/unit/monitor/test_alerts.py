"""Rules: for how long, once, over again; and what is not known changes nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from terminals.monitor import alerts
from terminals.monitor.alerts import MOST_HISTORY, Alerts, _newest, judge
from terminals.monitor.config import Rule
from terminals.monitor.history import History

from tests.support.monitor import Maker, reading, schema

DOWN = Rule("system-terminal-down", "critical", "up", "==", 0, "system", 300, 60)
LOW = Rule("success-rate-low", "warning", "success_ratio", "<", 0.95)
MEMORY = Rule("memory-high", "warning", "memory_bytes", ">", 100e6, None, 300, 60)
BREAKER = Rule("breaker-activated", "info", "breaker_opened", ">", 0)
USUAL = (DOWN, LOW, MEMORY, BREAKER)


class Play:
    """Judges after each round, as the monitor does."""

    def __init__(self, *rules: Rule, interval: float = 60.0) -> None:
        self.rules = rules
        self.make = Maker(interval)
        self.history = History()
        self.alerts = Alerts()
        self.raised: list[dict] = []
        self.resolved: list[dict] = []

    def round(self, at: float, *, ok: bool | None = True, claude: bool | None = None, **services) -> None:
        now = reading(at)
        records = []
        if ok is not None:
            records.append(self.make.check(at, ok=ok))
        if claude is not None:
            records.append(self.make.check(at, "claude", ok=claude))
        if services:
            records.append(self.make.services(at, **services))
        self.history.add(records, now)
        profiles = ("system", "claude")
        self.alerts = judge(self.rules, profiles, self.history, self.alerts, at=now.wall, host="here")
        self.raised += self.alerts.raised
        self.resolved += self.alerts.resolved
        schema("deployment-alerts").validate(
            {
                "version": 1,
                "updated": now.wall,
                "active": list(self.alerts.active),
                "history": list(self.alerts.history),
            }
        )

    @property
    def active(self) -> list[str]:
        return [alert["rule"] for alert in self.alerts.active]


def test_down_is_raised_after_its_time_once_and_resolved_once():
    play = Play(DOWN)
    play.round(0)
    play.round(60, ok=False)
    assert play.active == []
    play.round(120, ok=False)
    assert play.active == ["system-terminal-down"]
    for at in (180, 240):
        play.round(at, ok=False)
    assert len(play.raised) == 1
    play.round(300)
    assert (play.active, len(play.resolved)) == ([], 1)
    alert = play.alerts.history[0]
    assert alert["since"] == reading(60).wall, "since it was first seen, not since it was told"
    assert alert["until"] == reading(300).wall
    assert alert["generation"] == "g1"
    assert "not attached" in alert["text"]


def test_rounds_a_little_early_do_not_cost_a_whole_round():
    play = Play(DOWN)
    play.round(60.02, ok=False)
    play.round(120.0, ok=False)
    assert play.active == ["system-terminal-down"]


def test_one_failure_that_heals_is_not_raised():
    play = Play(DOWN)
    for at, ok in ((0, True), (60, False), (120, True), (180, False), (240, True)):
        play.round(at, ok=ok)
    assert play.raised == []


def test_what_was_not_seen_has_not_held():
    play = Play(DOWN)
    play.round(60, ok=False)
    play.round(660, ok=False)  # blind for ten minutes
    assert play.active == []
    play.round(720, ok=False)
    assert play.alerts.active[0]["since"] == reading(660).wall


def test_a_gap_neither_resolves_nor_raises_again():
    play = Play(DOWN)
    for at in (0, 60, 660):
        play.round(at, ok=False)
    assert play.active == ["system-terminal-down"]
    play.round(720, ok=None)
    assert play.active == ["system-terminal-down"]
    assert len(play.raised) == 1


def test_rule_of_one_profile_ignores_the_other():
    play = Play(DOWN)
    for at in (0, 60, 120):
        play.round(at, ok=True, claude=False)
    assert play.raised == []


def test_rule_without_profile_holds_for_each_by_itself():
    play = Play(LOW)
    for at in range(0, 600, 60):
        play.round(at, ok=True, claude=at % 120 == 0)
    assert [(alert["profile"], alert["value"]) for alert in play.alerts.active] == [("claude", 0.4)]


def test_success_is_that_of_its_window():
    play = Play(LOW)
    play.round(0, ok=False)
    assert play.active == ["success-rate-low"]
    for at in range(60, 300, 60):
        play.round(at)
        assert play.active == ["success-rate-low"]
    play.round(300)
    assert play.active == []


def test_memory_of_each_generation_and_one_that_is_gone_is_over():
    play = Play(MEMORY)
    play.round(0, g1={"memory_bytes": 120_000_000}, g2={})
    play.round(60, g1={"memory_bytes": 130_000_000}, g2={})
    assert [(alert["generation"], alert["value"]) for alert in play.alerts.active] == [("g1", 130e6)]
    play.round(120, silent=True)
    assert play.active == ["memory-high"], "who does not answer has not less memory"
    play.round(180, g2={})
    assert play.active == []


def test_breaker_is_counted_over_the_window():
    play = Play(BREAKER)
    play.round(0, g1={"breaker_opened": 5})
    assert play.active == [], "what was before is not known"
    play.round(60, g1={"breaker_opened": 6})
    assert [alert["value"] for alert in play.alerts.active] == [1]
    for at in range(120, 360, 60):
        play.round(at, g1={"breaker_opened": 6})
        assert play.active == ["breaker-activated"]
    play.round(360, g1={"breaker_opened": 6})
    assert play.active == []


def test_slow_reconnections_are_averaged():
    play = Play(Rule("slow", "warning", "reconnect_ms", ">", 100, "system", 120))
    play.history.add(
        [play.make.check(0, reconnect_ms=50), play.make.check(60, reconnect_ms=170)], reading(60)
    )
    play.round(120, ok=None)
    assert [alert["value"] for alert in play.alerts.active] == [110]
    play.history.add([play.make.check(180, ok=False, reconnect_ms=None)], reading(180))
    play.round(240, ok=None)
    assert play.active == ["slow"], "none came back in the window: how long it takes is not known"
    play.history.add([play.make.check(300, reconnect_ms=20)], reading(300))
    play.round(300, ok=None)
    assert play.active == []


def test_rule_that_is_gone_is_over():
    play = Play(DOWN)
    play.round(0, ok=False)
    play.round(60, ok=False)
    play.rules = ()
    play.round(120, ok=False)
    assert (play.active, len(play.alerts.history)) == ([], 1)


def test_history_is_bounded(monkeypatch):
    monkeypatch.setattr(alerts, "MOST_HISTORY", 20)
    play = Play(Rule("down", "info", "up", "==", 0))
    for number in range(50):
        play.round(60 * number, ok=bool(number % 2))
    assert len(play.alerts.history) == 20
    assert play.alerts.history[-1]["until"] == max(alert["until"] for alert in play.alerts.history)


def test_known_alert_is_not_raised_again_by_a_new_monitor():
    play = Play(DOWN)
    play.round(0, ok=False)
    play.round(60, ok=False)
    again = Play(DOWN)
    again.alerts = Alerts(active=play.alerts.active)
    again.round(120, ok=False)
    assert (again.raised, again.active) == ([], ["system-terminal-down"])


@given(
    st.lists(
        st.tuples(st.sampled_from([60.0, 60.5, 59.5, 300.0]), st.sampled_from([True, False, None])),
        max_size=40,
    )
)
def test_active_is_at_most_one_of_a_kind_and_all_raised_are_active_or_over(rounds):
    play, at = Play(*USUAL), 0.0
    for step, ok in rounds:
        at += step
        play.round(at, ok=ok, claude=ok, g1={"memory_bytes": 120_000_000 if ok else 1})
        kinds = [(alert["rule"], alert["profile"], alert["generation"]) for alert in play.alerts.active]
        assert len(kinds) == len(set(kinds))
        assert len(play.raised) == len(play.alerts.active) + len(play.resolved)
        for alert in play.resolved:
            assert alert["until"] >= alert["since"]


@pytest.mark.parametrize("ok", [True, False])
def test_down_is_active_exactly_while_the_last_two_rounds_failed(ok):
    """Against a plain model, over every history of seven rounds."""
    import itertools

    for rest in itertools.product([True, False], repeat=6):
        play, model = Play(DOWN), False
        before = True
        for number, this in enumerate((ok, *rest)):
            play.round(60 * number, ok=this)
            model = not this and (model or not before)
            before = this
            assert bool(play.active) is model


def test_unimportant_alerts_push_out_no_critical_one():
    critical = {"severity": "critical", "until": 1.0}
    others = [{"severity": "warning", "until": 2.0 + number} for number in range(2 * MOST_HISTORY)]
    kept = _newest([critical, *others])
    assert kept[0] == critical
    assert kept[-1] == others[-1]
    assert len(kept) == MOST_HISTORY + 1
