"""The figures that this project began with, and the day after everything was fixed."""

from __future__ import annotations

import dataclasses
import json
import shutil

import pytest

from rollout.errors import Refused
from rollout.ledger import Ledger, State
from rollout.model import MonitorLog, Verdict
from rollout.report import collect, html, markdown
from tests.support import summaries
from tests.support.summaries import BEGAN, DAY


@pytest.fixture
def config(short_path):
    return summaries.project(short_path)


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """A project whose build with everything fixed was promoted a day ago: to be copied."""
    config = summaries.project(tmp_path_factory.mktemp("template"))
    summaries.seed(config)
    return config.state, summaries.fixed(config)


@pytest.fixture
def promoted(config, template):
    """The build with everything fixed, promoted a day ago, and what the monitor has left."""
    state, record = template
    shutil.copytree(state, config.state, dirs_exist_ok=True)
    return record, summaries.day(record.ended, record.generation)


def reasons(data: dict) -> str:
    return "\n".join(reason["text"] for reason in data["recommendation"]["reasons"])


def report(config, promoted, *, now: float | None = None, log: MonitorLog | None = None, **fields) -> dict:
    record, records = promoted
    at = now or record.ended + DAY + 60
    return collect(config, "dev", **{**summaries.live(config, log or records, record, at), **fields})


def test_the_seeds_own_figures_are_no_go_with_every_reason(config):
    summaries.seed(config)
    data = collect(config, "dev", now=BEGAN + DAY)
    assert data["recommendation"]["verdict"] == "no-go"
    assert data["decision"] == "no-go: rolled back"
    why = reasons(data)
    for expected in (
        "validate.pass_ratio > 95 %: 14 of 15 (93.3 %)",
        "smoke.pass_ratio > 95 %: 6 of 8 (75 %)",
        "Session reuse: server acknowledgment missing",
        "API health: /health/live answered 401 without a token",
        "Circuit breaker: the threshold is 5, not 3",
        "soak has 0 s of 24 h",
        "soak gate observed: not judged yet",
    ):
        assert expected in why
    # What passed then passes now, and is no reason.
    verdicts = {row["gate"]: (row["verdict"], row["actual"]) for row in data["gates"]}
    assert verdicts == {
        "validate.pass_ratio": ("fail", "93.3 %"),
        "smoke.pass_ratio": ("fail", "75 %"),
        "load.connect_ms p95": ("pass", "2.4 ms"),
        "load.reconnect_rate": ("pass", "100 %"),
        "generation.memory_bytes": ("pass", "7.47 MB"),
        "load.loops": ("pass", "0"),
    }


def test_the_suites_are_grouped_as_the_seed_had_them(config):
    summaries.seed(config)
    validate, smoke = collect(config, "dev", now=BEGAN + DAY)["suites"]
    groups = {group["group"]: (group["passed"], group["total"]) for group in validate["groups"]}
    assert groups == {
        "Session ID Validation": (8, 8),
        "Circuit Breaker": (2, 2),
        "Performance": (1, 1),
        "Integration": (3, 3),
        "Session Reuse": (0, 1),
    }
    assert (validate["text"], smoke["text"]) == ("14/15 (93.3 %)", "6/8 (75 %)")
    (reuse,) = validate["failed"]
    # No criterion on validation is declared: the one gate is all that it fails.
    assert reuse["impact"] == ["gate validate.pass_ratio > 95 %: fail (93.3 %)"]


def test_with_everything_fixed_and_a_day_of_records_it_is_go(config, promoted):
    data = report(config, promoted)
    assert (data["decision"], data["recommendation"]["reasons"]) == ("go", [])
    assert data["recommendation"]["next"] == ["rollout promote staging"]
    assert {row["verdict"] for row in data["criteria"]} == {"pass"}
    assert [item["done"] for item in data["checklist"]["items"][:7]] == [True] * 7
    resolved = {risk["name"] for risk in data["risks"]["resolved"]}
    assert {"validate.pass_ratio", "smoke: API health", "validate: Session reuse"} <= resolved
    assert data["risks"]["remaining"] == []


def test_before_its_time_it_is_not_yet(config, promoted):
    record, records = promoted
    early = MonitorLog(tuple(one for one in records.records if one["at"] < record.ended + 3.2 * 3600), ())
    data = report(config, promoted, now=record.ended + 3.2 * 3600 + 1, log=early)
    assert data["recommendation"]["verdict"] == "no-go"  # observed for 3.2 h is a fail of that criterion
    assert "soak has 3.1 h of 24 h" in reasons(data)
    without = collect(config, "dev", now=record.ended + 3.2 * 3600 + 1)
    assert without["decision"] == "no-go (yet): soak has 3.2 h of 24 h, and 5 more"


def test_a_day_without_records_is_not_a_soak(config, promoted):
    record, _ = promoted
    data = collect(config, "dev", now=record.ended + DAY + 60)
    assert data["recommendation"]["verdict"] == "not-yet"
    assert "soak gate success: not judged yet" in reasons(data)
    silent = report(config, promoted, log=MonitorLog((), ()))
    assert silent["recommendation"]["verdict"] != "go"


def test_failing_checks_of_the_monitor_are_no_go(config, promoted):
    record, _ = promoted
    log = summaries.day(record.ended, record.generation, bad=lambda number: number % 20 == 0)
    data = report(config, promoted, log=log)
    assert data["recommendation"]["verdict"] == "no-go"
    assert "soak gate fail: success > 99 %: 2736 of 2880" in reasons(data)
    # The checklist says the same.
    assert not next(item for item in data["checklist"]["items"] if item["text"].startswith("success"))["done"]


def test_blind_time_is_a_remaining_risk(config, promoted):
    record, _ = promoted
    log = summaries.day(record.ended, record.generation, blind=range(600, 610))
    data = report(config, promoted, log=log)
    (host,) = data["monitoring"]["hosts"]
    assert [gap["seconds"] for gap in host["gaps"]] == [660.0]
    assert "blind on local" in {risk["name"] for risk in data["risks"]["remaining"]}
    gaps = next(plot for plot in data["plots"] if plot["id"] == "soak-latency")["gaps"]
    assert [gap["to"] - gap["from"] for gap in gaps] == [660.0]


def test_a_host_that_does_not_answer_is_said_so(config, promoted):
    data = report(config, promoted, monitor={"local": None})
    assert "No answer from: local" in data["monitoring"]["text"]
    assert "monitor of local" in {risk["name"] for risk in data["risks"]["remaining"]}


def test_broken_records_are_counted_and_break_no_report(config, promoted):
    record, log = promoted
    broken = (
        {"kind": "check"},
        {"at": "x"},
        {"at": 1e999, "kind": "gap"},
        {**log.records[5], "boottime": []},
    )
    alerts = (
        {"rule": "r", "since": "never"},
        {"rule": "r", "since": record.ended + 1, "until": None, "text": "t"},
    )
    data = report(config, promoted, monitor={"local": MonitorLog((*broken, *log.records), alerts, 2)})
    (host,) = data["monitoring"]["hosts"]
    assert (host["checks"], host["damaged"]) == (2880, 7)
    assert [alert["rule"] for alert in data["monitoring"]["alerts"]] == ["r"]


def test_an_override_is_marked_for_ever_and_changes_no_evidence(config, promoted):
    record, _ = promoted
    with Ledger(config.ledger_url) as ledger:
        ledger.add_event(
            "dev",
            "override",
            by="grace",
            rollout=record.id,
            reason="the demo is at noon",
            refused=["soak has 1 h"],
        )
    for data in (collect(config, "dev", now=record.ended + 60), report(config, promoted)):
        text = markdown(data)
        assert text.index("OVERRIDDEN** by grace") < text.index("## Summary")
        assert "override" in {risk["name"] for risk in data["risks"]["remaining"]}
    assert collect(config, "dev", now=record.ended + 60)["recommendation"]["verdict"] == "not-yet"


def test_approvals_for_the_next_environment_are_on_the_checklist(config, promoted):
    record, _ = promoted
    assert not report(config, promoted)["checklist"]["items"][-1]["done"]
    with Ledger(config.ledger_url) as ledger:
        ledger.add_event("staging", "approval", by="grace", build=record.build, digest=record.digest, note="")
        ledger.add_event("staging", "approval", by="mallory", build="other", digest="other", note="")
    item = report(config, promoted)["checklist"]["items"][-1]
    assert (item["done"], item["actual"]) == (True, "grace")


def test_criteria_recorded_when_the_build_left_are_read_back(config, promoted):
    record, log = promoted
    now = record.ended + DAY + 60
    live = summaries.live(config, log, record, now)
    with Ledger(config.ledger_url) as ledger, summaries.clock(now):
        onward = summaries.begin(ledger, config, "1.0.1", env="staging")
        ledger.record_verdicts(onward.id, "criteria", live["criteria"], live["evidence"])
    data = collect(config, "dev", now=now)
    assert (data["decision"], data["checklist"]["source"]) == ("go", "as recorded in the ledger")
    ids = {item["id"] for item in data["evidence"]}
    assert all(set(row["evidence"]) <= ids for row in data["criteria"])
    # And they are no gates of the rollout they were recorded with.
    assert collect(config, "staging", now=now)["gates"] == []


def test_what_the_watch_judged_during_the_soak_counts(config, promoted):
    record, log = promoted
    live = summaries.live(config, log, record, record.ended + DAY)
    bad = dataclasses.replace(live["criteria"][1], verdict=Verdict.FAIL, reason="success > 0.99: 2 of 9")
    with Ledger(config.ledger_url) as ledger:
        ledger.record_verdicts(record.id, "soak", [bad], [])
    data = collect(config, "dev", now=record.ended + DAY)
    assert "soak gate fail: success > 0.99: 2 of 9" in reasons(data)


def test_a_rollback_hours_later_takes_the_go_away(config, promoted):
    record, _ = promoted
    with Ledger(config.ledger_url) as ledger, summaries.clock(record.ended + DAY + 3600) as told:
        back = summaries.begin(ledger, config, "0.9.0", kind="rollback")
        told.advance(3)
        ledger.transition(back.id, State.PROMOTED, reason="success fell")
    data = report(config, promoted, now=told.now + 60, number=record.number)
    assert data["recommendation"]["verdict"] == "no-go"
    assert f"taken back by rollback #{back.number} to 0.9.0" in reasons(data)
    assert "success fell" in reasons(data)


def test_every_figure_leads_to_its_evidence(config, promoted):
    data = report(config, promoted)
    ids = {item["id"] for item in data["evidence"]}
    assert data["metrics"]
    for row in [*data["metrics"], *data["gates"], *data["criteria"], *data["checklist"]["items"][2:7]]:
        assert row["evidence"], row
        assert set(row["evidence"]) <= ids
    page, text = html(data), markdown(data)
    for item in data["evidence"]:
        assert f'id="{item["anchor"]}"' in page
        assert f'<a id="{item["anchor"]}">' in text


def test_the_way_back_has_each_step_with_time_and_outcome(config):
    summaries.seed(config)
    data = collect(config, "dev", now=BEGAN + DAY)
    assert [step["state"] for step in data["rollback"]["steps"]] == ["done"] * 6
    assert [step["seconds"] for step in data["rollback"]["steps"]] == [1.5] * 6
    steps = [step["step"] for step in data["rollback"]["executed"]]
    assert steps == ["stop", "revert", "preserve", "verify", "communicate", "dashboard", "incident"]


def test_smoke_after_a_rollback_is_not_the_builds(config):
    from rollout.checks.smoke import CHECKS

    record = summaries.seed(config)
    with Ledger(config.ledger_url) as ledger:
        verify = next(e.at for e in ledger.journal(record.id) if e.step == "rollback-verify")
        ledger.record_checks("dev", record.id, summaries.suite(CHECKS, "smoke", verify + 0.1))
    data = collect(config, "dev", now=BEGAN + DAY)
    assert [suite["text"] for suite in data["suites"]] == ["14/15 (93.3 %)", "6/8 (75 %)"]
    assert [suite["text"] for suite in data["suites_after"]] == ["8/8 (100 %)"]


def test_a_suite_that_was_run_again_counts_once(config):
    from rollout.checks.validate import CHECKS

    record = summaries.seed(config)
    with Ledger(config.ledger_url) as ledger:
        begun = next(e.at for e in ledger.journal(record.id) if e.step == "gate")
        ledger.record_checks("dev", record.id, summaries.suite(CHECKS, "validate", begun + 0.1))
    validate = collect(config, "dev", now=BEGAN + DAY)["suites"][0]
    assert validate["text"] == "15/15 (100 %)"


def test_an_old_rehearsal_is_a_risk(config, promoted):
    record, _ = promoted
    late = report(config, promoted, now=record.ended + 31 * DAY)
    assert "rehearsal" in {risk["name"] for risk in late["risks"]["remaining"]}


def test_the_document_is_json_and_small(config, promoted):
    data = report(config, promoted)
    assert json.loads(json.dumps(data, allow_nan=False)) == data
    assert len(json.dumps(data)) < 500_000
    assert len(html(data)) < 1_500_000


def test_there_is_no_such_rollout(config):
    with pytest.raises(Refused, match="dev has no rollout yet"):
        collect(config, "dev")
    summaries.seed(config)
    with pytest.raises(Refused, match="dev has no rollout #7"):
        collect(config, "dev", 7)
