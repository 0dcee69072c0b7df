"""Gates that ask Prometheus, JUnit results and the Docker engine: what they need, and what is refused."""

# ruff: noqa: E501 - one case a line

from __future__ import annotations

from pathlib import Path

import pytest

from rollout.config import Config, load
from rollout.config.sources import fill
from rollout.errors import ConfigError

FILE = """\
version: 1
project: terminals
source: services
state: .rollout
prometheus: http://127.0.0.1:9090/
environments:
  dev:
    engine: docker
    hosts: {a: {root: /srv/terminals}}
    listen: {system: 5001, claude: 5002, web: 5110}
    canary: [{weight: 100, hold: 5s}]
    soak_gates:
      - {name: week, metric: prometheus.value, op: "<", threshold: 3, query: 'sum(x)'}
    gates:
      - {name: queue, metric: prometheus.value, op: "<", threshold: -0.5, query: 'min(x{generation="$generation",p=~"/a$"})'}
      - {name: errors, metric: prometheus.rate, op: "<", threshold: 1%, query: 'sum(bad{env="${env}"})', total: "sum(all[$window])"}
      - {name: own, metric: junit.pass_ratio, op: ">=", threshold: 1, query: results/*.xml}
      - {metric: docker.restarts, op: "==", threshold: 0}
"""


def read(tmp_path: Path, old: str = "", new: str = "") -> Config:
    assert old in FILE
    path = tmp_path / "rollout.yaml"
    path.write_text(FILE.replace(old, new, 1) if old else FILE)
    return load(path)


def test_the_base_of_these_tests_is_sound(tmp_path: Path) -> None:
    config = read(tmp_path)
    assert config.prometheus is not None and config.prometheus.url == "http://127.0.0.1:9090"
    gates = config.environments["dev"].gates
    assert [gate.on for gate in gates] == ["shift", "shift", "checks", "shift"]


def test_a_prometheus_with_more_than_a_url(tmp_path: Path) -> None:
    config = read(
        tmp_path,
        "prometheus: http://127.0.0.1:9090/",
        "prometheus: {url: 'https://p.example', token_file: token, ca: ca.pem}",
    )
    assert config.prometheus is not None
    assert config.prometheus.token_file == tmp_path / "token"
    assert config.prometheus.ca == tmp_path / "ca.pem"


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "http://127.0.0.1:9090/",
            "http://ada:lovelace@p.example/",
            "prometheus.url: credentials do not belong here; put a user and a password into ~/.netrc",
        ),
        (
            "http://127.0.0.1:9090/",
            "p.example:9090",
            'prometheus.url: expected a URL such as http://127.0.0.1:9090, got "p.example:9090"',
        ),
        ("http://127.0.0.1:9090/", "'http://p.example/?a=b'", "expected a URL such as"),
        (
            "http://127.0.0.1:9090/",
            "{url: 'http://p', tokenfile: x}",
            'prometheus.tokenfile: unknown key; did you mean "token_file"?',
        ),
        (
            "prometheus: http://127.0.0.1:9090/\n",
            "",
            "soak_gates.0.metric: prometheus.value needs somebody to ask; add prometheus: URL to the file (and 2 more)",
        ),
        (", query: 'sum(x)'", "", "soak_gates.0: prometheus.value needs a query: PromQL; add query:"),
        ("query: 'sum(x)'", "query: ' '", "soak_gates.0: prometheus.value needs a query: PromQL; add query:"),
        (
            ', total: "sum(all[$window])"',
            "",
            "gates.1: prometheus.rate needs the number of all besides the successes; add total:",
        ),
        (
            "query: 'sum(x)'",
            "query: 'sum(x)', total: y",
            "soak_gates.0.total: prometheus.value has no total; remove it, or use metric: prometheus.rate",
        ),
        (
            "docker.restarts,",
            "docker.restarts, query: x,",
            "gates.3.query: docker.restarts is not asked for; remove it, or use metric: prometheus.value",
        ),
        (
            "name: queue, ",
            "",
            'gates.0: what prometheus.value measures depends on its query; add a name: such as "web errors"',
        ),
        (
            "$generation",
            "$generatoin",
            'gates.0.query: no placeholder "$generatoin"; did you mean "generation"? (a dollar sign is $$)',
        ),
        (
            "results/*.xml",
            "/etc/passwd",
            "gates.2.query: expected a path below the folder of this file, without ..",
        ),
        (
            "results/*.xml",
            "a/../../b.xml",
            "gates.2.query: expected a path below the folder of this file, without ..",
        ),
        (
            "query: results/*.xml",
            "query: results/*.xml, on: shift",
            "gates.2.on: a suite of your own is judged once the shift is done; use on: checks",
        ),
        (
            "engine: docker",
            "engine: process",
            "gates.3.metric: docker.restarts looks at containers; use engine: docker, or leave it out",
        ),
        (
            "query: 'sum(x)'",
            "query: 'sum(x)', compare: baseline",
            "soak_gates.0.query: the generation before would be asked the same; use $generation in it",
        ),
        (
            "docker.restarts,",
            "docker.restarts, compare: baseline,",
            "gates.3.compare: docker.restarts has no baseline; use compare: threshold",
        ),
        (
            'op: "<", threshold: 1%',
            'op: "==", threshold: 1%',
            'gates.1.op: prometheus.rate is estimated, never exactly equal; use ">="',
        ),
        ("threshold: -0.5", "threshold: .nan", "gates.0.threshold: expected a number of 0 or more"),
    ],
)
def test_what_could_never_see_evidence_is_refused(tmp_path: Path, old: str, new: str, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, old, new)
    assert expected in caught.value.message


@pytest.mark.parametrize(
    ("query", "filled"),
    [
        ('a{generation="$generation"}[$window]', 'a{generation="g2"}[60s]'),
        ('sum by (le) (a{x=~"(b|c)$",y="${env}x"})', 'sum by (le) (a{x=~"(b|c)$",y="devx"})'),
        ("$$env $env", "$env dev"),
    ],
)
def test_placeholders_and_what_is_none(query: str, filled: str) -> None:
    assert fill(query, {"generation": "g2", "window": "60s", "env": "dev"}) == filled


def test_a_placeholder_without_value_is_an_error() -> None:
    with pytest.raises(KeyError, match="previous"):
        fill("$previous", {"generation": "g2"})
