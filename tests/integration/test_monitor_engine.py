"""The monitor's place in an environment of the process engine: there, steady, changed, gone."""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path

import pytest

from rollout.build import build
from rollout.config import load
from rollout.config.model import Monitor, Notify
from rollout.engine.process import ProcessEngine
from rollout.pipeline.parts import as_params, from_params, replacements
from tests.integration.test_engine import processes
from tests.support.monitor import validate
from tests.support.project import ROOT, TwoStages
from tests.support.stack import until

START = "Start the monitor, in the place of the one that runs"

pytestmark = [pytest.mark.rollout, pytest.mark.slow("an environment by Ansible, seven times over")]


@pytest.fixture
def folder():
    with tempfile.TemporaryDirectory(prefix="rollout-") as folder:
        yield Path(folder)


@pytest.fixture
def config(folder):
    TwoStages(folder)
    config = load(folder / "rollout.yaml")
    return config.model_copy(update={"notify": {"ops": Notify(url="json://127.0.0.1:9/")}})


@pytest.fixture
def made(config):
    return build(config.source, config.builds_dir, lock_root=ROOT)


@pytest.fixture
def deploy(config, made, folder):
    """Starts g1, with or without a monitor; gives the engine and the tasks that changed anything."""
    engines = []

    def run(monitor: Monitor | None):
        changes: list[str] = []
        environment = config.environment("dev").model_copy(update={"monitor": monitor, "notify": ("ops",)})
        engine = ProcessEngine(
            config,
            environment,
            on_event=lambda event: (
                changes.append(event.task.rpartition(" : ")[2]) if event.status == "changed" else None
            ),
        )
        engines.append(engine)
        if len(engines) == 1:
            engine.install(made, hosts=["local"])
        if len(engines) > 1 and (instead := replacements(engine.facts(), engine.wanted(made))):
            engine.manage(from_params(as_params(instead, 1), ["local"]), fence=1)
        engine.start(made, "g1", fence=1, hosts=["local"])
        if len(engines) == 1:
            engine.shift({"g1": 100}, to="g1", share=100, fence=1, hosts=["local"])
        return engine, changes

    yield run
    engines[-1].teardown()
    assert processes(folder / "dev") == []
    assert not (folder / "dev").exists()


def monitors(folder: Path) -> list[str]:
    return [line for line in processes(folder / "dev") if "terminals monitor" in line]


def others(folder: Path) -> set[str]:
    """All that is neither a monitor nor the keeper of screens, who comes with the first sessions."""
    theirs = ("terminals monitor", "terminals.screens.keeper")
    return {line for line in processes(folder / "dev") if not any(words in line for words in theirs)}


def managers(folder: Path) -> list[int]:
    return [
        int(path.parent.name)
        for path in Path("/proc").glob("[0-9]*/cmdline")
        if f"terminals manager --config {folder / 'dev'}" in _words(path)
    ]


def _words(path: Path) -> str:
    try:
        return path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def test_a_monitor_comes_stays_changes_and_goes_and_nobody_else_notices(deploy, folder):
    an_environment_without_one_has_none(deploy, folder)
    the_next_deployment_brings_one_and_the_manager_stays(deploy, folder)
    a_second_run_changes_nothing(deploy, folder)
    a_changed_configuration_restarts_only_the_monitor(deploy, folder)
    with_null_it_is_stopped_and_what_it_saw_stays(deploy, folder)


def an_environment_without_one_has_none(deploy, folder):
    engine, _ = deploy(None)
    assert monitors(folder) == []
    assert engine.monitor(0) == {"local": None}


def the_next_deployment_brings_one_and_the_manager_stays(deploy, folder):
    manager = managers(folder)
    began = time.time()
    engine, changes = deploy(Monitor(every=2, timeout=5))
    assert START in changes
    assert len(monitors(folder)) == 1
    assert managers(folder) == manager
    seen = until(
        lambda: [r for r in engine.monitor(began)["local"].records if r["kind"] == "check"], "its first check"
    )
    assert (seen[0]["ok"], seen[0]["generation"]) == (True, "g1"), seen[0]
    assert {record["profile"] for record in seen} == {"system", "claude"}
    validate(folder / "dev" / "monitor")
    assert (folder / "dev" / "monitor").stat().st_mode & 0o077 == 0
    settings = engine.status()["local"]["monitor"]["settings"]
    written = json.loads((folder / "dev" / "conf" / "monitors" / f"{settings}.json").read_text())
    assert [alert["name"] for alert in written["alerts"]] == [
        "system-terminal-down", "success-rate-low", "memory-high", "breaker-activated"
    ]  # fmt: skip
    assert written["notify"] == [{"name": "ops", "severity": "info", "url": "json://127.0.0.1:9/"}]


def a_second_run_changes_nothing(deploy, folder):
    before = json.loads((folder / "dev" / "monitor" / "deployment-metrics.json").read_text())["run"]
    _, changes = deploy(Monitor(every=2, timeout=5))
    assert changes == []
    metrics = folder / "dev" / "monitor" / "deployment-metrics.json"
    assert json.loads(metrics.read_text())["run"] == before


def a_changed_configuration_restarts_only_the_monitor(deploy, folder):
    before_it = others(folder)
    manager = managers(folder)
    path = folder / "dev" / "monitor" / "deployment-metrics.json"
    before = json.loads(path.read_text())["run"]
    began = time.time()
    engine, changes = deploy(Monitor(every=1, timeout=5))
    assert changes == ["Write its settings", "Describe the monitor", START]
    until(lambda: json.loads(path.read_text())["run"] != before, "a new monitor")
    assert managers(folder) == manager
    assert others(folder) == before_it
    gap = until(
        lambda: [r for r in engine.monitor(began)["local"].records if r["kind"] == "gap"], "the restart's gap"
    )
    assert gap[0]["reason"] == "restarted"
    assert engine.monitor(time.time() + 3600)["local"].records == ()


def with_null_it_is_stopped_and_what_it_saw_stays(deploy, folder):
    engine, changes = deploy(None)
    assert monitors(folder) == []
    assert changes == ["Remove the monitor's program", "Stop the monitor"]
    assert engine.status()["local"]["monitor"] is None
    assert engine.monitor(0)["local"].records
    _, changes = deploy(None)
    assert changes == []
