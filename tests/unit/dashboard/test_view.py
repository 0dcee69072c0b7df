"""What the dashboard shows of a rollout that goes on, and of those that are over."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rollout.config import Config, load
from rollout.dashboard import monitors, view
from rollout.dashboard.curves import Curves, figure
from rollout.dashboard.monitors import EVERY, Monitors
from rollout.dashboard.view import Memory, look
from rollout.engine import HostFacts
from rollout.errors import EngineError
from rollout.ledger import Ledger, RolloutRecord, State
from rollout.model import BuildRef, Evidence, GateResult, MonitorLog, Verdict
from rollout.pipeline import EnvironmentStatus
from rollout.pipeline.plan import make_plan
from rollout.report.render import fill
from tests.support.rollouts import begun

HOSTILE = '<img src=x onerror="alert(1)">\x1b[31m'


@pytest.fixture
def config(tmp_path: Path) -> Config:
    path = tmp_path / "rollout.yaml"
    listen = {"system": 4001, "claude": 4002, "web": 4110}
    gates = [{"metric": "load.loops", "op": "==", "threshold": 0}]
    profiles = {name: {"command": ["bash"]} for name in ("system", "claude")}
    usual = {
        "load": {"users": 60},
        "gates": gates,
        "profiles": profiles,
        "canary": [{"weight": 25, "hold": "1s"}, {"weight": 100, "hold": "1s"}],
    }
    environments = {
        "dev": {**usual, "hosts": {"local": {"root": "dev"}}, "listen": listen},
        "staging": {
            **usual,
            "after": "dev",
            "hosts": {"local": {"root": "staging"}},
            "listen": {name: port + 100 for name, port in listen.items()},
            "approvals": 1,
        },
    }
    path.write_text(
        json.dumps(
            {"version": 1, "project": "p", "source": "s", "state": "state", "environments": environments}
        )
    )
    (tmp_path / "state").mkdir()
    return load(path)


@pytest.fixture
def record(config: Config) -> RolloutRecord:
    """One that goes on: two steps are done, the third began, and a gate has judged."""
    environment = config.environment("staging")
    build = BuildRef("2-def", "2", "def", "", 0.0, Path("2-def"))
    facts = [HostFacts("local", (), None)]
    with Ledger(config.ledger_url) as ledger:
        before = begun(ledger, env="staging", generation="g1")
        before = ledger.transition(before.id, State.PROMOTED)
        plan = make_plan(environment, build, "g2", facts, before, {}, kind="promote")
        record = begun(
            ledger, env="staging", kind="promote", build="2-def", generation="g2", previous=before,
            plan=plan.as_dict(), operator=HOSTILE,
        )  # fmt: skip
        names = [step.name for step in plan.forward]
        for index in (0, 1):
            ledger.write(record.id, index, names[index], "begin", fence=1)
            ledger.write(record.id, index, names[index], "end", fence=1, detail=HOSTILE)
        ledger.write(record.id, 2, names[2], "begin", fence=1)
        result = GateResult("load.loops", Verdict.FAIL, 3.0, None, 9, "load.loops == 0: 3 in 9", ("e1",))
        piece = Evidence("e1", "load.loops", "count", "load", 1.0, 2.0, 9, value=3.0)
        ledger.record_verdicts(record.id, "watch-25", [result], [piece])
        return record


def seen(config: Config, monkeypatch: pytest.MonkeyPatch, **fields: Any) -> dict[str, Any]:
    """What is shown where the hosts say so much."""
    generation = {
        "name": "g1", "build": "1-abc", "weight": 75, "workers": 2, "connections": 5, "attached": 4,
        "loops": 0, "breaker_opened": 1, "memory_bytes": 25_000_000,
    }  # fmt: skip
    pool = {"waiting": 3, "room": 4096, "accepted": 1300, "passed": 1200, "dropped": 0, "waited": 0.6}
    manager = {"generations": [generation], "sessions": {"live": 6, "attached": 4}, "pool": pool}
    usual: dict[str, Any] = {
        "after": "dev",
        "current": None,
        "unfinished": None,
        "hosts": {"local": manager},
        "marks": {},
    }
    entry = EnvironmentStatus("staging", **{**usual, **fields})
    monkeypatch.setattr(view, "status", lambda config: [entry])
    return look(config, Memory())


def shown(data: dict[str, Any], name: str) -> str:
    return fill(f"dashboard/{name}.html.j2", **data, anchors={}, plots=[])


def test_a_rollout_is_shown_step_by_step_with_its_gates(config, record, monkeypatch):
    data = seen(config, monkeypatch, unfinished=record, held_by="ada@desk")
    (one,) = data["ongoing"]
    states = [step["state"] for step in one["steps"]]
    assert states[:4] == ["done", "done", "running", "waiting"]
    assert not any(step["back"] for step in one["steps"])
    (gate,) = one["gates"]
    assert (gate["gate"], gate["verdict"], gate["actual"]) == ("load.loops", "fail", "3")
    text = shown(data, "ongoing")
    assert "by ada@desk" in text
    assert text.count('<li class="done">') == 2
    assert 'class="verdict fail"' in text


def test_a_rollout_that_is_taken_back_shows_the_way_back(config, record, monkeypatch):
    with Ledger(config.ledger_url) as ledger:
        turned = ledger.transition(record.id, State.ROLLING_BACK, reason="load.loops == 0: 3 in 9")
    (one,) = seen(config, monkeypatch, unfinished=turned)["ongoing"]
    back = [step for step in one["steps"] if step["back"]]
    assert back and {step["state"] for step in back} == {"waiting"}
    assert len(one["steps"]) - len(back) == 3, "of the way forward what was begun"
    text = fill("dashboard/ongoing.html.j2", ongoing=[one], anchors={}, plots=[])
    assert "is taken back" in text and "rollout resume staging" in text


@pytest.mark.parametrize("name", ["ongoing", "history", "environments"])
def test_nothing_that_anybody_wrote_is_markup(config, record, monkeypatch, name):
    with Ledger(config.ledger_url) as ledger:
        record = ledger.transition(record.id, State.ROLLING_BACK, reason=HOSTILE)
    data = seen(config, monkeypatch, unfinished=record, held_by=HOSTILE)
    text = shown(data, name)
    assert "<img" not in text and "\x1b" not in text
    assert "&lt;img" in text


def test_what_may_be_done(config, record, monkeypatch):
    def actions(**fields: Any) -> list[str]:
        (environment,) = seen(config, monkeypatch, **fields)["environments"]
        return environment["actions"]

    assert actions(unfinished=record) == ["cancel"]
    assert actions() == ["approve", "promote"]
    with Ledger(config.ledger_url) as ledger:
        first, _ = reversed(ledger.rollouts("staging"))
        assert actions(current=first) == ["approve", "promote"], "there is nothing to go back to"
        assert actions(current=ledger.transition(record.id, State.PROMOTED))[-1] == "rollback"


def test_the_environment_is_shown_with_its_shares_and_its_past(config, record, monkeypatch):
    folder = config.state / "runs" / "staging" / str(record.number)
    folder.mkdir(parents=True)
    (folder / "incident.md").write_text("it was so")
    data = seen(config, monkeypatch)
    text = shown(data, "environments")
    assert "75 %" in text and "25.0 MB" in text and "6 sessions live, 4 attached" in text
    past, _ = data["history"]
    assert (past["state"], past["incident"]) == ("running", True)
    assert re.search(r'href="incident/staging/2"', shown(data, "history"))


def test_curves_are_drawn_from_two_looks_on():
    curves = Curves()

    def entry(**counts: int) -> EnvironmentStatus:
        generations = [
            {"name": name, "attached": count, "memory_bytes": 10e6 * count} for name, count in counts.items()
        ]
        return EnvironmentStatus("dev", None, None, None, {"a": {"generations": generations}, "b": None}, {})

    curves.add([entry(g1=4)], 100.0)
    assert curves.of("dev") == []
    curves.add([entry(g1=2, g2=2)], 110.0)
    curves.add([entry(g1=0, g2=4)], 120.0)
    sessions, memory = curves.of("dev")
    assert [(line["name"], line["now"]) for line in sessions["lines"]] == [("g1", "0"), ("g2", "4")]
    first, second = (line["parts"] for line in sessions["lines"])
    assert first == [[(0.0, 1.0), (0.5, 0.5), (1.0, 0.0)]]
    assert second == [[(0.5, 0.5), (1.0, 1.0)]], "before it was there, there is nothing to be seen of it"
    assert (memory["most"], memory["unit"]) == ("40", "MB")
    assert curves.of("staging") == []


def test_a_host_that_falls_silent_does_not_look_like_sessions_that_are_gone():
    curves = Curves()
    answer = {"generations": [{"name": "g1", "attached": 4, "memory_bytes": 10e6}]}
    for at, second in enumerate((answer, None, answer)):
        hosts = {"a": answer, "b": second, "never started": None}
        curves.add([EnvironmentStatus("dev", None, None, None, hosts, {})], 100.0 + at)
    sessions, memory = curves.of("dev")
    assert [line["parts"] for line in sessions["lines"]] == [[[(0.0, 1.0)] * 2, [(1.0, 1.0)] * 2]]
    assert (sessions["most"], memory["most"]) == ("8", "10")


def test_a_line_is_broken_where_nothing_was_seen():
    values = {0.0: None, 10.0: 5.0, 20.0: None, 30.0: 2.5, 32.0: None, 34.0: 5.0, 38.0: 10.0}
    series = [{"name": "p50", "t": list(values), "v": list(values.values())}]
    drawn = figure("Latency", "ms", series, (0.0, 40.0), [{"at": 20.0, "label": "50 %"}])
    (line,) = drawn["lines"]
    alone, rest = line["parts"]
    assert alone == [(0.25, 0.5), (0.25, 0.5)], "a point alone is drawn, too"
    assert rest == [(0.75, 0.25), (0.85, 0.5), (0.95, 1.0)], "a bin that nothing fell into breaks none"
    assert drawn["marks"] == [{"x": 0.5, "label": "50 %"}]
    nothing = figure("Latency", "ms", [{"name": "p50", "t": [1.0], "v": [None]}], (0.0, 0.0))
    assert (nothing["lines"][0]["now"], nothing["lines"][0]["parts"], nothing["most"]) == ("none", [], "0")


def test_a_shift_that_goes_on_is_plotted_as_far_as_it_has_come(config, record, monkeypatch):
    samples = config.runs("staging", record.number) / "load-1" / "samples.jsonl"
    samples.parent.mkdir(parents=True)
    lines = [{"t": float(at), "kind": "connect", "ok": True, "ms": 2.0 + at, "user": "u"} for at in range(9)]
    samples.write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"t": 9.0, "kind"')
    data = seen(config, monkeypatch, unfinished=record)
    titles = [one["title"] for one in data["ongoing"][0]["figures"]]
    assert "Time to connect and to reconnect across the shift" in titles
    assert "<polyline" in shown(data, "ongoing")


def test_what_waits_for_a_worker_is_told(config, record, monkeypatch):
    text = shown(seen(config, monkeypatch), "environments")
    assert "1 200 connections passed on, after 0.5 ms on average" in text
    assert "3 of 4 096 wait" in text


def test_who_has_approved_what_may_come(config, record, monkeypatch):
    def coming() -> Any:
        (environment,) = seen(config, monkeypatch)["environments"]
        return environment["coming"]

    assert coming() is None, "nothing is there to come"
    with Ledger(config.ledger_url) as ledger:
        before = begun(ledger, env="dev", build="2-def", digest="d2", generation="g1")
        ledger.transition(before.id, State.PROMOTED)
    assert coming() == {"build": "2-def", "by": [], "missing": 1}
    assert "nobody has approved it; 1 more wanted" in shown(seen(config, monkeypatch), "environments")
    with Ledger(config.ledger_url) as ledger:
        ledger.add_event("staging", "approval", by=HOSTILE, build="2-def", digest="d2", note="")
        ledger.add_event("staging", "approval", by="ada@desk", build="1-abc", digest="another", note="")
    assert coming() == {"build": "2-def", "by": [HOSTILE], "missing": 0}
    text = shown(seen(config, monkeypatch), "environments")
    assert "approved by &lt;img" in text and "wanted" not in text


class Told:
    """An engine whose monitors have left this."""

    def __init__(self) -> None:
        self.asked = 0
        self.logs: dict[str, MonitorLog | None] = {}

    def monitor(self, since: float) -> dict[str, MonitorLog | None]:
        self.asked += 1
        return self.logs


@pytest.fixture
def monitored(config: Config, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Config, Told]]:
    path = config.path
    whole = json.loads(path.read_text())
    whole["environments"]["staging"]["monitor"] = {"every": "30s"}
    path.write_text(json.dumps(whole))
    told = Told()
    monkeypatch.setattr(monitors, "engine_of", lambda config, environment: told)
    yield load(path), told


def test_alerts_that_are_on_and_latency_are_what_the_monitors_say(monitored, monkeypatch):
    config, told = monitored
    now = time.time()
    checks = tuple(
        {"kind": "check", "at": now - 60 * age, "ok": age != 3, "connect_ms": 4.0, "reconnect_ms": 9.0}
        for age in (5, 4, 3, 2, 1)
    )
    alert = {"rule": "slow", "severity": "warning", "since": now - 90, "text": HOSTILE}
    over = {"rule": "gone", "severity": "critical", "since": now - 900, "until": now - 800, "text": "it was"}
    broken = {"rule": "when", "severity": "critical", "since": "yesterday", "text": "no time"}
    told.logs = {"eu-1": MonitorLog(checks, (alert, over, broken)), "eu-2": None}
    data = seen(config, monkeypatch)
    (one,) = data["alerts"]
    assert (one["environment"], one["host"], one["rule"]) == ("staging", "eu-1", "slow")
    text = shown(data, "alerts")
    assert "&lt;img" in text and "<img" not in text
    (environment,) = data["environments"]
    assert environment["monitored"] == (
        "4 of 5 checks in an hour succeeded (80 %); the monitor of eu-2 does not answer"
    )
    latency = environment["figures"][-1]
    assert latency["title"] == "Latency, as the monitors see it"
    assert {line["name"]: line["now"] for line in latency["lines"]}["connect p50"] == "4"


def test_monitors_are_asked_now_and_then_only(monitored):
    config, told = monitored
    known, environment = Monitors(), config.environment("staging")
    told.logs = {"eu-1": MonitorLog((), ())}
    for at in (0.0, 2.0, EVERY - 0.1, EVERY, EVERY + 2.0):
        assert known.of(config, environment, 1000.0 + at)["said"] == "no check in an hour"
    assert told.asked == 2
    assert known.of(config, config.environment("dev"), 1000.0)["said"] == ""


def test_a_monitor_that_cannot_be_asked_takes_nothing_else_away(monitored, monkeypatch):
    config, told = monitored

    def refuse(since: float) -> dict[str, MonitorLog | None]:
        raise EngineError("eu-1: no route")

    told.monitor = refuse
    (environment,) = seen(config, monkeypatch)["environments"]
    assert environment["monitored"] == "eu-1: no route"
    assert environment["hosts"][0]["generations"]
