"""What hosts' monitors are told, and what is read of what they left."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from terminals.monitor.config import MonitorConfig

from rollout.config import load
from rollout.config.model import Listen, Monitor, Notify, Tls
from rollout.engine.monitor import age_since, as_log, monitor_config
from rollout.model import MonitorLog

ROOT = Path(__file__).parents[3]
URLS = {"system": "ws://here:4001/", "claude": "ws://here:4002/"}


@pytest.fixture
def config(tmp_path):
    receivers = {
        "ops": Notify(url="json://ops.example/", severity="warning"),
        "pager": Notify(url_file=tmp_path / "pager", severity="critical"),
    }
    return load(ROOT / "rollout.yaml").model_copy(update={"notify": receivers})


def told(config, tmp_path, listen: Listen | None = None, *, secrets: str | None = None, **changes) -> dict:
    environment = config.environment("dev").model_copy(update={"notify": ("ops", "pager"), **changes})
    return monitor_config(
        config,
        environment,
        listen or environment.listen,
        "local",
        urls=URLS,
        directory=str(tmp_path / "monitor"),
        socket="run/manager.sock",
        token="run/token",
        mark="broken-glass.json",
        secrets=secrets,
    )


def test_the_monitor_understands_what_it_is_told(config, tmp_path):
    path = tmp_path / "monitor.json"
    path.write_text(json.dumps(told(config, tmp_path)))
    found = MonitorConfig.load(path)
    assert found.every == 60
    assert [(door.profile, door.shell) for door in found.doors] == [("system", True), ("claude", False)]
    assert [(one.name, one.severity, one.url) for one in found.notify] == [
        ("ops", "warning", "json://ops.example/"),
        ("pager", "critical", None),
    ]
    assert found.notify[1].url_file == tmp_path / "pager"
    assert len(found.alerts) == 4


def test_it_takes_builds_back_only_where_that_is_allowed(config, tmp_path):
    assert "mark" not in told(config, tmp_path)
    path = tmp_path / "monitor.json"
    path.write_text(json.dumps(told(config, tmp_path, takeback=True)))
    assert MonitorConfig.load(path).mark == Path("broken-glass.json")


def test_without_monitor_nothing_is_told(config, tmp_path):
    assert told(config, tmp_path, monitor=None) == {}


def test_only_the_profiles_that_are_named(config, tmp_path):
    assert list(told(config, tmp_path, monitor=Monitor(profiles=("claude",)))["profiles"]) == ["claude"]


def test_over_tls_the_certificates_to_trust_are_named(config, tmp_path):
    tls = Tls(certificate=tmp_path / "c", key=tmp_path / "k", ca=tmp_path / "ca")
    listen = Listen(system=1, claude=2, web=3, tls=tls)
    assert told(config, tmp_path, listen)["ca"] == str(tmp_path / "ca")


def test_on_a_host_of_its_own_secrets_are_where_they_were_brought_to(config, tmp_path):
    found = told(config, tmp_path, secrets="/var/lib/monitor/secrets")
    assert found["notify"][1]["url_file"] == "/var/lib/monitor/secrets/pager"


def test_log_is_what_was_printed():
    assert as_log({"records": [{"a": 1}], "alerts": [], "damaged": 2}) == MonitorLog(({"a": 1},), (), 2)
    found = {"records": [], "alerts": [], "judged": 5, "damaged": 0}
    assert as_log(found).judged == 5.0
    with pytest.raises(KeyError):
        as_log({"error": "no such directory"})


def test_a_moment_is_told_by_its_age():
    assert 59 < age_since(time.time() - 60) < 120
    assert age_since(time.time() + 60) == 0
