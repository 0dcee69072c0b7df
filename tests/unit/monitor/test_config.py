"""A mistake is one line that names the place and the way out."""

from __future__ import annotations

import json

import pytest
from terminals.configfile import ConfigError
from terminals.monitor.config import MonitorConfig

GOOD = {"directory": "monitor", "profiles": {"system": {"url": "ws://127.0.0.1:4001/"}}}
RULE = {"name": "down", "severity": "critical", "metric": "up", "op": "==", "threshold": 0}


def load(tmp_path, **changes) -> MonitorConfig:
    path = tmp_path / "monitor.json"
    path.write_text(json.dumps({**GOOD, **changes}))
    return MonitorConfig.load(path)


def test_usual_values(tmp_path):
    config = load(tmp_path, profiles={"system": {"url": "ws://a:1/"}, "claude": {"url": "wss://a:2/"}})
    assert [(door.profile, door.shell) for door in config.doors] == [("system", True), ("claude", False)]
    assert (config.every, config.timeout, config.keep) == (60, 20, 14 * 86400)
    assert config.settle > 2, "a cut before that would count as a connection that did not last"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"evry": 1}, "unknown key 'evry'"),
        ({"every": 0}, "every must be 0.2 seconds or more"),
        ({"profiles": {}}, "profiles: at least one"),
        ({"profiles": {"system": {"url": "http://a"}}}, "profiles.system.url: ws://HOST:PORT/"),
        ({"profiles": {"system": {}}}, "missing key 'url'"),
        ({"alerts": [{**RULE, "metric": "upp"}]}, "alerts.down.metric: one of up, success_ratio"),
        ({"alerts": [{**RULE, "op": "!="}]}, "alerts.down.op: one of"),
        ({"alerts": [RULE, RULE]}, "the name 'down' is used twice"),
        ({"alerts": [{**RULE, "metric": "loops", "profile": "system"}]}, "by generation, not by profile"),
        ({"notify": [{"name": "ops"}]}, "notify.ops: either url or url_file"),
        ({"notify": [{"name": "ops", "url": "json://a", "severity": "bad"}]}, "notify.ops.severity"),
    ],
)
def test_mistakes(tmp_path, changes, words):
    with pytest.raises(ConfigError) as error:
        load(tmp_path, **changes)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_no_file_and_no_json(tmp_path):
    with pytest.raises(ConfigError, match="No such file"):
        MonitorConfig.load(tmp_path / "none.json")
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(ConfigError, match="not JSON"):
        MonitorConfig.load(tmp_path / "bad.json")


def test_what_the_toolkit_calls_usual_is_understood(tmp_path):
    from rollout.config.model import USUAL_ALERTS

    rules = [rule.model_dump(mode="json", by_alias=True) for rule in USUAL_ALERTS]
    config = load(tmp_path, alerts=rules)
    assert [(rule.name, rule.hold) for rule in config.alerts] == [
        (rule.name, rule.hold) for rule in USUAL_ALERTS
    ]
