"""A real rollout whose gates ask a real Prometheus and read somebody's JUnit results."""

from __future__ import annotations

import tempfile
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
import yaml

from rollout.errors import ExitCode
from tests.support.monitoring import Exporter, Monitoring, serving
from tests.support.project import TwoStages

pytestmark = [pytest.mark.rollout, pytest.mark.slow("a Prometheus server, and two rollouts that ask it")]

GATES = [
    {"name": "own errors", "metric": "prometheus.value", "op": "<", "threshold": 5,
     "query": 'errors{env="$env",generation="$generation"}'},
    {"name": "own suite", "metric": "junit.pass_ratio", "op": ">=", "threshold": 1, "query": "results/*.xml",
     "max_age": "1h"},
]  # fmt: skip


@pytest.fixture
def exporter():
    return Exporter()


@pytest.fixture
def project(exporter, tmp_path):
    with serving(exporter.handler) as shown, tempfile.TemporaryDirectory(prefix="rollout-") as folder:
        monitoring = Monitoring(tmp_path, web="127.0.0.1:1", token="t", exporter=shown, webhook="127.0.0.1:1")
        project = TwoStages(Path(folder))
        path = project.folder / "rollout.yaml"
        config = yaml.safe_load(path.read_text())
        config["prometheus"] = monitoring.url
        config["environments"]["dev"]["gates"] += GATES
        path.write_text(yaml.safe_dump(config))
        try:
            monitoring.start()
            yield project
        finally:
            project.close()
            monitoring.close()


def results(project: TwoStages, *cases: str) -> None:
    path = project.folder / "results" / "a.xml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"<testsuite>{''.join(cases)}</testsuite>")


def test_a_rollout_is_decided_by_what_its_sources_say(project, exporter):
    results(project, '<testcase name="a"/>', '<testcase name="slow"><skipped/></testcase>')
    exporter.show('errors{env="dev",generation="g1"} 1', 'errors{env="dev",generation="g2"} 9')
    assert project.run("build") == 0, project.said
    assert project.run("deploy", "dev") == 0, project.said
    gates = {gate["gate"]: gate for gate in project.json("report", "dev")["gates"] if gate["step"] == "gate"}
    assert (gates["own errors"]["verdict"], gates["own errors"]["measured"]) == ("pass", 1.0)
    assert gates["own suite"]["reason"].endswith("1 of 1 (100 %); skipped: slow")
    runs = project.folder / "state" / "runs" / "dev"
    suite = ET.parse(runs / "1" / "junit-smoke.xml").getroot().find("testsuite")
    assert suite is not None and suite.attrib["tests"] == "8"
    about = {entry.attrib["name"]: entry.attrib["value"] for entry in suite.iter("property")}
    assert (about["environment"], about["rollout"]) == ("dev", "1")

    assert project.run("smoke", "dev", "--junit", "out/smoke.xml") == 0, project.said
    assert len(list(ET.parse(project.folder / "out" / "smoke.xml").iter("testcase"))) == 8
    assert project.run("smoke", "dev", "--junit", "/proc/smoke.xml") == ExitCode.USAGE
    assert "name a file that can be written" in project.said

    # The same build again: only what Prometheus says of the new generation is different.
    assert project.run("deploy", "dev") == ExitCode.GATE_FAILED, project.said
    assert "own errors < 5: 9" in project.said
    assert project.weights("dev") == {"g1": 100}
    assert (runs / "2" / "junit-smoke-after-rollback.xml").is_file()
