"""The files of ``compose/monitoring`` in real programs: Prometheus, Alertmanager, Compose; not Grafana's."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from rollout.config import Gate, Prometheus
from rollout.evidence import Trial, from_prometheus
from rollout.evidence.promql import Client
from rollout.model import Evidence
from tests.integration.test_metrics import scrape
from tests.support.monitoring import (
    FOLDER,
    URL_FILE,
    Exporter,
    Monitoring,
    Receiver,
    alertmanager_version,
    change,
    program,
    run,
    serving,
    url_in_place_of_file,
)
from tests.support.stack import TOKEN, running, until

pytestmark = pytest.mark.slow("the Prometheus stack, with alerts that take their time")

METRIC = re.compile(r"\bterminals_\w+")
RECORDED = re.compile(r"\b\w+:terminals_\w+:\w+")
DASHBOARD = json.loads((FOLDER / "grafana" / "dashboards" / "terminals.json").read_text())
RULES = yaml.safe_load((FOLDER / "rules.yml").read_text())


def panels() -> dict[str, str]:
    """Everything that the dashboard asks, by where it asks."""
    asked = {
        f"{panel['title']} {target['refId']}": target["expr"]
        for panel in DASHBOARD["panels"]
        for target in panel.get("targets", ())
    }
    notes = {
        f"annotation {note['name']}": note["target"]["expr"] for note in DASHBOARD["annotations"]["list"]
    }
    return asked | notes


def rules() -> dict[str, str]:
    found = [rule for group in RULES["groups"] for rule in group["rules"]]
    return {rule.get("record") or rule["alert"]: rule["expr"] for rule in found}


@pytest.fixture(scope="module")
def served():
    with running(web=True) as stack:
        yield stack


@pytest.fixture(scope="module")
def receiver():
    return Receiver()


@pytest.fixture(scope="module")
def monitoring(served, receiver, tmp_path_factory):
    exporter = Exporter()
    with serving(exporter.handler) as shown, serving(receiver.handler) as webhook:
        started = Monitoring(
            tmp_path_factory.mktemp("monitoring"),
            web=served.url("web").removeprefix("http://").rstrip("/"),
            token=TOKEN,
            exporter=shown,
            webhook=webhook,
        )
        try:
            started.start()
            yield started
        finally:
            started.close()


@pytest.fixture(scope="module")
def client(monitoring):
    client = Client(Prometheus(url=monitoring.url))
    until(lambda: ask(client, 'up{job="terminals"} == 1'), "a scrape with the token")
    return client


def ask(client: Client, query: str) -> list:
    return client.instant(query, client.now())


@pytest.fixture
def checked(tmp_path):
    """The folder, with the secrets that are not in the repository."""
    folder = tmp_path / "monitoring"
    shutil.copytree(FOLDER, folder, ignore=shutil.ignore_patterns("tokens", "notify"))
    for name in ("tokens/dev", "tokens/staging", "tokens/production", "notify/webhook"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("http://127.0.0.1:9/a-secret\n")
    return folder


def test_promtool_takes_configuration_and_rules(checked):
    said = run(program("promtool"), "check", "config", "--lint-fatal", "prometheus.yml", cwd=checked)
    assert f"{len(rules())} rules found" in said


def test_the_rules_do_what_their_tests_say(checked):
    run(program("promtool"), "test", "rules", "rules_test.yml", cwd=checked)


@pytest.mark.parametrize(
    ("old", "new"),
    [("> 100e6", "> 200e6"), ("< 0.95", "< 0.85"), ("unless on (environment, instance)", "unless on (job)")],
)
def test_the_tests_of_the_rules_can_fail(checked, old, new):
    text = (checked / "rules.yml").read_text()
    assert text.count(old) == 1
    (checked / "rules.yml").write_text(text.replace(old, new))
    done = subprocess.run([program("promtool"), "test", "rules", "rules_test.yml"], cwd=checked, check=False)
    assert done.returncode != 0


def test_every_alert_has_a_test_a_severity_and_the_way_out():
    tests = yaml.safe_load((FOLDER / "rules_test.yml").read_text())["tests"]
    tested = {
        alert["alertname"]
        for test in tests
        for alert in test.get("alert_rule_test", ())
        if alert["exp_alerts"]
    }
    alerts = [rule for group in RULES["groups"] for rule in group["rules"] if "alert" in rule]
    for alert in alerts:
        assert alert["labels"]["severity"] in ("critical", "warning", "info"), alert
        assert set(alert["annotations"]) == {"summary", "description", "action"}, alert
    assert {alert["alert"] for alert in alerts} == tested


def test_amtool_takes_the_configuration_and_routes_by_severity(checked):
    if alertmanager_version() < URL_FILE:
        change(checked / "alertmanager.yml", lambda config: url_in_place_of_file(config, checked))
    amtool = program("amtool")
    run(amtool, "check-config", "alertmanager.yml", cwd=checked)
    for severity, receiver in (("critical", "webhook"), ("warning", "webhook"), ("info", "quiet")):
        found = run(amtool, "config", "routes", "test", "--config.file=alertmanager.yml",
                    f"--verify.receivers={receiver}", f"severity={severity}", cwd=checked)  # fmt: skip
        assert found.splitlines()[0] == receiver


def test_every_name_that_is_asked_for_exists(served):
    with served.terminal() as terminal:
        terminal.send(b"echo [$((6 * 7))]\n")
        terminal.expect(rb"\[42\]")
        known = set(scrape(served))
    recorded = {name for name in rules() if ":" in name}
    for where, expr in {**panels(), **rules()}.items():
        for name in RECORDED.findall(expr):
            assert name in recorded, f"{where}: {name}"
        for name in METRIC.findall(RECORDED.sub("", expr)):
            assert name in known, f"{where}: {name}"
    asked = {name for expr in {**panels(), **rules()}.values() for name in METRIC.findall(expr)}
    assert len(asked) > 20


def test_prometheus_understands_every_panel(client):
    for where, expr in panels().items():
        query = expr.replace("$environment", "dev").replace("$__rate_interval", "1m")
        assert "$" not in query, where
        client.over(query, client.now() - 10, client.now(), 1.0)
        if "terminals_memory" in query or ("weight" in query and "changes" not in query):
            assert ask(client, query), f"{where}: nothing to see"


def test_the_dashboard_is_one_that_grafana_takes():
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    source = yaml.safe_load((FOLDER / "grafana/provisioning/datasources/prometheus.yml").read_text())
    provider = yaml.safe_load((FOLDER / "grafana/provisioning/dashboards/terminals.yml").read_text())
    uid = source["datasources"][0]["uid"]
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken and max(x for x, _ in cells) < 24, panel["title"]
        taken |= cells
        for target in panel.get("targets", ()):
            assert target["datasource"] == {"type": "prometheus", "uid": uid}
    mounted = yaml.safe_load((FOLDER / "compose.yaml").read_text())["services"]["grafana"]["volumes"]
    folder = provider["providers"][0]["options"]["path"]
    assert f"./grafana/dashboards:{folder}:ro" in mounted


def test_compose_takes_the_file_and_hardens_every_service():
    command = [str(Path(sys.executable).with_name("docker-compose")), "-f", str(FOLDER / "compose.yaml")]
    done = subprocess.run(
        [*command, "config", "--format", "json"],
        env={"PATH": "/usr/bin:/bin", "GRAFANA_PASSWORD": "x"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    services = json.loads(done.stdout)["services"]
    assert set(services) == {"prometheus", "alertmanager", "grafana"}
    for name, service in services.items():
        assert service["read_only"] and service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert re.fullmatch(r"[\w/]+:v?\d+\.\d+\.\d+", service["image"]), name
        for mount in service["volumes"]:
            assert mount.get("read_only") or mount["type"] == "volume", (name, mount)
        if name != "grafana":
            assert any("listen-address=127.0.0.1:" in word for word in service["command"]), name
    refused = subprocess.run(
        [*command, "config"], env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True
    )
    assert refused.returncode != 0 and "choose a password" in refused.stderr


def test_the_gates_of_the_how_to_see_what_they_ask_for(served, monitoring, client):
    text = (FOLDER.parents[1] / "docs" / "how-to" / "prometheus.md").read_text()
    example = yaml.safe_load(re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)[0])
    gates = [Gate.model_validate(gate) for gate in example["environments"]["staging"]["gates"]]
    own = [gate for gate in gates if "shop" not in gate.name]
    with served.terminal() as terminal:

        def seen() -> dict[str, Evidence]:
            terminal.cut()
            terminal.open()
            trial = Trial("dev", "g1", None, time.time() - 10)
            found = from_prometheus(gates, Prometheus(url=monitoring.url), trial)
            for piece in found:
                assert "error" not in piece.labels, piece.labels
            return {piece.labels["gate"]: piece for piece in found}

        # Their own queries, and a sample of each: the figures are those of these reconnections.
        found = until(lambda: (now := seen()) and all(now[gate.name].n for gate in own) and now, "samples")
    assert found["nobody waits"].value == 0
    assert max(found["users' reconnect gap"].samples) <= 30


def test_an_alert_reaches_the_webhook_when_the_system_terminal_is_down(served, client, receiver):
    assert not ask(client, 'ALERTS{alertname="SystemTerminalDown"}')
    served.kill("worker-g1")
    try:
        alert = until(lambda: receiver.told("SystemTerminalDown", "firing"), "the alert")
        assert alert["labels"]["severity"] == "critical"
        assert alert["labels"]["environment"] == "dev"
        assert alert["annotations"]["action"].startswith("rollout status dev")
    finally:
        served.start("worker", "g1")
    until(lambda: receiver.told("SystemTerminalDown", "resolved"), "its end")
