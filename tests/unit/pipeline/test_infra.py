"""What may run on a host, by the ledger: the present generation, one on trial, and those kept warm."""

from __future__ import annotations

import dataclasses
import json
import time
from pathlib import Path

import pytest

from rollout.checks.infra import Declared
from rollout.config import load
from rollout.config.model import Monitor
from rollout.errors import Refused
from rollout.ledger import RolloutRecord, State
from rollout.pipeline.infra import declared_containers
from tests.support.rollouts import begun

ROOT = Path(__file__).parents[3]


@pytest.fixture
def config(tmp_path):
    return load(ROOT / "rollout.yaml").model_copy(update={"state": tmp_path})


def rollout(
    config, ledger, build: str, *, kind: str = "deploy", generation: str | None = None, plan=None
) -> RolloutRecord:
    """A rollout that has begun, of a build that has an image."""
    folder = config.builds_dir / build
    folder.mkdir(parents=True, exist_ok=True)
    image = {"id": f"sha256:{build}", "tag": build, "layers": [], "base": "", "recipe": "", "size": 1}
    manifest = {"id": build, "version": "1", "digest": f"digest-{build}", "revision": "", "created": 1}
    (folder / "manifest.json").write_text(json.dumps({**manifest, "image": image}))
    digest = f"digest-{build}"
    return begun(ledger, kind=kind, build=build, digest=digest, generation=generation, plan=plan or {})


def promoted(config, ledger, build: str, **fields) -> RolloutRecord:
    return ledger.transition(rollout(config, ledger, build, **fields).id, State.PROMOTED)


def declared(
    config, ledger, *, trial=None, later: float = 0.0, workers: int = 1, monitor: Monitor | None = None
) -> dict[str, Declared]:
    environment = config.environment("dev").model_copy(update={"workers": workers, "monitor": monitor})
    return declared_containers(config, environment, ledger, trial=trial, now=time.time() + later)


def required(found: dict[str, Declared]) -> set[str]:
    return {name for name, what in found.items() if what.runs}


def test_nothing_is_expected_where_nothing_was_deployed(config, ledger):
    with pytest.raises(Refused, match="nothing is deployed to dev"):
        declared(config, ledger)
    trial = rollout(config, ledger, "1-a")
    assert required(declared(config, ledger, trial=trial)) == {
        "holder-1",
        "manager-1",
        "g1-worker-1",
        "g1-web-1",
    }


def test_a_generation_runs_the_image_and_the_content_that_the_ledger_names(config, ledger):
    promoted(config, ledger, "1-a")
    found = declared(config, ledger, workers=2)
    lasting = Declared({"sha256:1-a": "digest-1-a"}, runs=True)
    one = dataclasses.replace(lasting, memory=256 << 20)
    assert found == {
        "holder-1": lasting,
        "manager-1": lasting,
        "g1-web-1": one,
        "g1-worker-1": one,
        "g1-worker-2": one,
    }


def test_both_have_to_run_while_one_is_on_trial(config, ledger):
    promoted(config, ledger, "1-a")
    found = declared(config, ledger, trial=rollout(config, ledger, "1-b"), workers=2)
    assert required(found) == {
        "holder-1", "manager-1", "g1-web-1", "g1-worker-1", "g2-web-1", "g2-worker-1", "g2-worker-2"
    }  # fmt: skip
    assert found["g1-worker-1"].images == {"sha256:1-a": "digest-1-a"}
    assert found["g2-worker-1"].images == {"sha256:1-b": "digest-1-b"}
    # It has as many workers, and as much memory, as were configured when it was started.
    assert not found["g1-worker-*"].runs
    assert (found["g1-worker-1"].memory, found["g2-worker-1"].memory) == (0, 256 << 20)
    assert "g2-worker-*" not in found
    assert set(found["manager-1"].images) == {"sha256:1-a", "sha256:1-b"}, "no release restarts it"


def test_looked_at_from_outside_a_generation_on_trial_may_run(config, ledger):
    promoted(config, ledger, "1-a")
    rollout(config, ledger, "1-b")
    found = declared(config, ledger)
    assert not found["g2-worker-1"].runs
    assert "g2-worker-1" in found
    assert required(found) == {"holder-1", "manager-1", "g1-web-1", "g1-worker-1"}


def test_an_earlier_generation_may_run_for_the_rollback_window(config, ledger):
    promoted(config, ledger, "1-a")
    promoted(config, ledger, "1-b")
    window = config.environment("dev").rollback_window
    assert not declared(config, ledger, later=window - 1)["g1-worker-1"].runs
    assert required(declared(config, ledger)) == {"holder-1", "manager-1", "g2-web-1", "g2-worker-1"}
    assert "g1-worker-1" not in declared(config, ledger, later=window + 1)


def test_a_generation_that_was_rolled_back_may_not(config, ledger):
    promoted(config, ledger, "1-a")
    promoted(config, ledger, "1-b")
    promoted(config, ledger, "1-a", kind="rollback", generation="g1")
    found = declared(config, ledger)
    assert required(found) == {"holder-1", "manager-1", "g1-web-1", "g1-worker-1"}
    assert not [name for name in found if name.startswith("g2")]


@pytest.mark.parametrize("state", [State.PROMOTED, State.ROLLED_BACK])
def test_one_that_was_left_with_the_glass_broken_may_until_its_time_is_up(config, ledger, state):
    promoted(config, ledger, "1-a")
    bad = rollout(config, ledger, "1-b")
    if state is State.ROLLED_BACK:
        ledger.transition(bad.id, State.ROLLING_BACK)
    ledger.transition(bad.id, state)
    promoted(config, ledger, "1-a", kind="rollback", generation="g1", plan={"forward": []})
    found = declared(config, ledger)
    assert required(found) == {"holder-1", "manager-1", "g1-web-1", "g1-worker-1"}
    assert "g2-worker-1" in found
    window = config.environment("dev").rollback_window
    assert "g2-worker-1" not in declared(config, ledger, later=window + 1)


def test_a_build_that_is_gone_may_still_be_the_managers(config, ledger):
    first = promoted(config, ledger, "1-a")
    promoted(config, ledger, "1-b")
    window = config.environment("dev").rollback_window
    (config.builds_dir / first.build / "manifest.json").unlink()
    found = declared(config, ledger, later=window + 1)
    assert set(found["manager-1"].images) == {"sha256:1-b"}


def test_a_monitor_runs_where_one_is_configured_and_no_release_restarts_it(config, ledger):
    promoted(config, ledger, "1-a")
    promoted(config, ledger, "1-b")
    found = declared(config, ledger, monitor=Monitor())
    assert found["monitor-1"] == found["manager-1"]
    assert "monitor-1" not in declared(config, ledger)


def test_expected_state_is_plain_data(config, ledger):
    promoted(config, ledger, "1-a")
    json.dumps({name: dataclasses.asdict(what) for name, what in declared(config, ledger).items()})
