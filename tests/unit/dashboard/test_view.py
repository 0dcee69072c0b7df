"""What the dashboard shows of a rollout that goes on, and of those that are over."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from rollout.config import Config, load
from rollout.dashboard import view
from rollout.dashboard.view import Curves, look
from rollout.engine import HostFacts
from rollout.ledger import Ledger, RolloutRecord, State
from rollout.model import BuildRef, Evidence, GateResult, Verdict
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
    manager = {"generations": [generation], "sessions": {"live": 6, "attached": 4}}
    usual: dict[str, Any] = {
        "after": "dev",
        "current": None,
        "unfinished": None,
        "hosts": {"local": manager},
        "marks": {},
    }
    entry = EnvironmentStatus("staging", **{**usual, **fields})
    monkeypatch.setattr(view, "status", lambda config: [entry])
    return look(config, Curves())


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


def test_curves_are_drawn_from_two_looks_on(config):
    curves = Curves()

    def entry(g1: int, g2: int) -> EnvironmentStatus:
        generations = [{"name": name, "attached": count} for name, count in (("g1", g1), ("g2", g2))]
        return EnvironmentStatus("dev", None, None, None, {"a": {"generations": generations}, "b": None}, {})

    curves.add([entry(4, 0)], 100.0)
    assert curves.of("dev") == []
    curves.add([entry(2, 2)], 110.0)
    curves.add([entry(0, 4)], 120.0)
    assert curves.of("dev") == [
        {"name": "g1", "now": 0, "points": [(0.0, 1.0), (0.5, 0.5), (1.0, 0.0)]},
        {"name": "g2", "now": 4, "points": [(0.0, 0.0), (0.5, 0.5), (1.0, 1.0)]},
    ]
    assert curves.of("staging") == []
