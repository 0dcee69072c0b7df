"""Which builds stay on hosts: by what each environment has served."""

from __future__ import annotations

from pathlib import Path

import pytest

from rollout.config import load
from rollout.ledger import Ledger, RolloutRecord, State
from rollout.pipeline.retention import builds_to_keep
from tests.support.rollouts import begun

ROOT = Path(__file__).parents[3]


@pytest.fixture
def config():
    return load(ROOT / "rollout.yaml")


def rollout(ledger: Ledger, env: str, build: str, state: State | None = State.PROMOTED) -> RolloutRecord:
    """A rollout that ended in ``state``, or, with ``None``, is about to."""
    record = begun(ledger, env=env, build=build, digest=build)
    return ledger.transition(record.id, state) if state else record


def test_the_last_different_ones_that_served(config, ledger):
    for build in "abacbd":
        rollout(ledger, "dev", build)
    rollout(ledger, "dev", "bad", State.ROLLING_BACK)
    assert config.environment("dev").keep == 3
    assert builds_to_keep(config, ledger, rollout(ledger, "dev", "e", None)) == {"e", "d", "b"}


def test_what_another_environment_goes_back_to_stays(config, ledger):
    rollout(ledger, "staging", "a")
    for build in "abcd":
        rollout(ledger, "dev", build)
    assert builds_to_keep(config, ledger, rollout(ledger, "dev", "e", None)) == {"e", "d", "c", "a"}
