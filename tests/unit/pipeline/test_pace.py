"""What is known of the time that a rollout takes, by earlier ones; and how it counts its steps."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rollout.config import Config
from rollout.engine import HostFacts
from rollout.engine.process import ProcessEngine
from rollout.errors import EngineError
from rollout.ledger import JournalEntry, Lease, Ledger, RolloutRecord, State
from rollout.model import BuildRef
from rollout.observer import Ahead, NullObserver
from rollout.pipeline.interrupts import Interrupts
from rollout.pipeline.pace import Pace, durations, idle
from rollout.pipeline.plan import Plan, make_plan
from rollout.pipeline.runner import Runner
from rollout.pipeline.trial import Trial
from tests.support import summaries
from tests.support.rollouts import begun

BUILD = BuildRef("2-def", "2", "def", "", 0.0, "/nowhere")


@pytest.fixture
def config(short_path: Path) -> Config:
    return summaries.project(short_path)


@pytest.fixture
def ledger(config: Config) -> Iterator[Ledger]:
    with Ledger(config.ledger_url) as ledger:
        yield ledger


def entry(step: str, phase: str, at: float, fence: int = 1) -> JournalEntry:
    return JournalEntry(1, 0, step, phase, at, fence, {})


def begin(config: Config, ledger: Ledger) -> tuple[Plan, RolloutRecord]:
    environment = config.environment("dev")
    plan = make_plan(environment, BUILD, "g2", [HostFacts("local", (), None)], None, {}, kind="deploy")
    return plan, begun(ledger, generation="g2", plan=plan.as_dict())


def test_a_step_takes_what_it_took_the_last_times(config: Config, ledger: Ledger) -> None:
    for seconds in (10.0, 12.0, 50.0):
        with summaries.clock() as told:
            record = begun(ledger)
            for step in ("install", "start"):
                ledger.write(record.id, 0, step, "begin", fence=1)
                told.advance(seconds)
                ledger.write(record.id, 0, step, "end", fence=1)
            ledger.transition(record.id, State.PROMOTED)
    begun(ledger, kind="rollback")  # is no measure of a deployment
    plan, record = begin(config, ledger)
    pace = Pace(ledger, record)
    steps = {step.name: step for step in plan.forward}
    assert pace.of(steps["start"]) == 12.0
    assert pace.of(steps["watch-100"]) == 30.0, "as long as it holds, at least"
    assert pace.of(steps["gate"]) is None
    assert pace.ahead([steps["install"], steps["start"], steps["watch-100"]]) == Ahead(12.0, 42.0, True)
    assert pace.ahead([steps["install"], steps["start"], steps["gate"]]) == Ahead(12.0, 12.0, False)


def test_of_a_step_that_was_begun_twice_the_last_time_counts() -> None:
    journal = [entry("start", "begin", 0), entry("start", "begin", 100, 2), entry("start", "end", 107, 2)]
    assert durations([*journal, entry("watch-100", "begin", 107, 2)]) == {"start": 7}


def test_what_a_rollout_lay_is_no_work() -> None:
    journal = [entry("install", "begin", 0), entry("install", "end", 5), entry("start", "begin", 5)]
    assert idle(journal) == 0
    assert idle([*journal, entry("start", "begin", 564, 2), entry("start", "end", 570, 2)]) == 559


class Counts(NullObserver):
    """Notes how steps are counted."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, int, int]] = []

    def step_started(self, index: int, total: int, kind: str, summary: str, ahead: Ahead) -> None:
        self.seen.append((kind, index, total))


def test_the_way_back_counts_by_itself(config: Config, ledger: Ledger) -> None:
    plan, record = begin(config, ledger)  # of a build that is not there, so that its first step fails
    counts, environment = Counts(), config.environment("dev")
    with Lease(ledger, "dev") as lease:
        engine = ProcessEngine(config, environment)
        trial = Trial(config, environment, engine, lease, counts, record, Interrupts(print))
        with pytest.raises(EngineError, match=r"dev is back on nothing \(there was no earlier build\)"):
            Runner(trial).run()
    # Nothing has come to a host: there is an incident to be filed, and nothing else to be done.
    assert counts.seen == [("install", 0, len(plan.forward)), ("rollback-record", 0, 1)]
