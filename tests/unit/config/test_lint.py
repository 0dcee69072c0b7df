"""Relations between keys that could never work are refused, with the place to change."""

# ruff: noqa: E501 - one case a line

from __future__ import annotations

from pathlib import Path

import pytest

from rollout.config import load
from rollout.errors import ConfigError

TWO = """\
version: 1
project: terminals
source: services
state: .rollout
environments:
  dev:
    hosts: {local: {root: /tmp/r/dev}}
    listen: {system: 5001, claude: 5002, web: 5110}
    checks: [validate]
    gates:
      - {metric: validate.pass_ratio, op: ">", threshold: 0.95}
  staging:
    after: dev
    hosts: {local: {root: /tmp/r/staging}}
    listen: {system: 6001, claude: 6002, web: 6110}
    canary: [{weight: 50, hold: 5s}, {weight: 100, hold: 5s}]
    move: {interval: 200ms, deadline: 30s}
    load: {users: 60, cut_every: 3s}
    gates:
      - {metric: load.reconnect_rate, op: ">", threshold: 0.99}
      - {metric: load.connect_ms, op: "<", threshold: 100}
    max_hold: 2m
"""


def refusal(tmp_path: Path, old: str, new: str) -> str:
    assert old in TWO
    path = tmp_path / "rollout.yaml"
    path.write_text(TWO.replace(old, new, 1))
    with pytest.raises(ConfigError) as caught:
        load(path)
    return caught.value.message


def test_the_base_of_these_tests_is_sound(tmp_path: Path) -> None:
    path = tmp_path / "rollout.yaml"
    path.write_text(TWO)
    assert set(load(path).environments) == {"dev", "staging"}


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("checks: [validate]", "checks: [validate, infra]", "dev.checks.1: infra looks at containers; use engine: docker, or leave it out"),
        ("checks: [validate]", "checks: [validate]\n    monitor: {profiles: []}", "dev.monitor.profiles: nothing would be checked"),
        ("checks: [validate]", "checks: [validate]\n    profiles: {system: {command: [sh]}}\n    monitor: {profiles: [claude]}", "dev.monitor.profiles.0: claude is not among the profiles"),
        ("checks: [validate]", "checks: [validate]\n    monitor: {alerts: [{name: a, severity: info, metric: loops, op: '>', threshold: 0, profile: system}]}", "alerts.0.profile: loops is counted by generation"),
        ("checks: [validate]", "checks: [validate]\n    monitor: {alerts: [{name: a, severity: info, metric: up, op: ==, threshold: 0}, {name: a, severity: info, metric: up, op: ==, threshold: 0}]}", 'another alert is called "a" too'),
        ("checks: [validate]", "checks: [validate]\n    notify: [ops]", 'dev.notify.0: nobody is called "ops"; add them to notify'),
        ("checks: [validate]", "checks: [validate]\n    limits: {process_memory: 128MiB}", "dev.limits: the engine process has no containers to limit; use engine: docker"),
        ("checks: [validate]", "checks: [validate]\n    logs: {format: json}", "dev.logs: the engine process has no containers with logs; use engine: docker"),
        ("checks: [validate]", "checks: [validate]\n    firewall: true", "dev.firewall: the engine process sets no host up; use engine: docker"),
        ("dev:\n    hosts: {local: {root: /tmp/r/dev}}", "dev:\n    hosts: {a: {root: /tmp/r/a, tag: aaaa}, b: {root: /tmp/r/b}}", "dev.hosts.b: has no tag, and others have; give each host one, or none"),
        ("dev:\n    hosts: {local: {root: /tmp/r/dev}}", "dev:\n    hosts: {a: {root: /tmp/r/a, tag: aaaa}, b: {root: /tmp/r/b, tag: aaaa}}", "dev.hosts.b.tag: is that of a, too; each host has its own"),
        ("dev:\n    hosts: {local: {root: /tmp/r/dev}}", "dev:\n    hosts: {a: {root: /tmp/r/a, tag: aaaa}, b: {root: /tmp/r/b, tag: bbbb}}", "dev.hosts: with tags, a client goes from host to host with the same credentials"),
        ("dev:\n    hosts: {local: {root: /tmp/r/dev}}", "dev:\n    hosts: {a: {root: /tmp/r/a, tag: AAAA}}", "dev.hosts.a.tag:"),
        ("dev:\n    hosts: {local: {root: /tmp/r/dev}}", "dev:\n    authority: {certificate: a.pem, key: a.key}\n    hosts: {local: {root: /tmp/r/dev}}", "dev.authority: no host asks another one; say at which port: listen.peers"),
        ("dev:\n    hosts: {local: {root: /tmp/r/dev}}", "dev:\n    hosts: {local: {root: /tmp/r/dev, region: Europe}}", "dev.hosts.local.region:"),
        ("metric: load.connect_ms, op: \"<\", threshold: 100", "metric: generation.loops, op: ==, threshold: 0, each: host", "staging.gates.1.each: generation.loops is not measured by host, or always is; leave it out"),
        ("threshold: 100", "threshold: 1.5, compare: baseline, each: host", "staging.gates.1.each: a comparison is of all hosts together; leave it out"),
        ("    max_hold: 2m", "    soak_gates: [{metric: monitor.success_rate, op: '>', threshold: 0.9, each: host}]\n    monitor: {}\n    max_hold: 2m", "staging.soak_gates.0.each: monitor.success_rate is not measured by host, or always is; leave it out"),
        ("threshold: 100", "threshold: 100, each: rack", "staging.gates.1.each:"),
        ("after: dev", "after: dve", 'rollout.yaml:13:12: environments.staging.after: no environment "dve"; did you mean "dev"?'),
        ("after: dev", "after: staging", "a circle: staging after staging"),
        ("system: 6001", "system: 5001", "staging.listen.system: port 5001 is taken by environments.dev.listen.system"),
        ("web: 6110", "web: 6001", "port 6001 is taken by environments.staging.listen.system"),
        ("/tmp/r/staging", "/tmp/r/dev", "is the root of environments.dev.hosts.local already"),
        ("/tmp/r/staging", "/tmp/" + "x" * 80, "characters long; sockets below it leave room for 80"),
        ("{weight: 100, hold: 5s}]", "{weight: 50, hold: 5s}]", "canary.1.weight: 50 after 50"),
        ("{weight: 100, hold: 5s}]", "{weight: 90, hold: 5s}]", "canary.1.weight: the last step ends at 90"),
        ("weight: 50, hold: 5s", "weight: 50, hold: 0s", "canary.0: nothing is held here"),
        ("gates:\n      - {metric: load.reconnect_rate, op: \">\", threshold: 0.99}\n      - {metric: load.connect_ms, op: \"<\", threshold: 100}\n    max_hold: 2m", "gates: [{metric: load.loops, op: ==, threshold: 0}]\n    max_hold: 4s", "max_hold: 4 s is shorter than a hold of 5 s"),
        ("interval: 200ms", "interval: 40s", "move.interval: longer than the deadline"),
        ("cut_every: 3s", "cut_every: 0s", "60 users make about 0 in max_hold"),
        ("    load: {users: 60, cut_every: 3s}\n", "", "gates.0.metric: load.reconnect_rate needs users; add load:"),
        ("checks: [validate]", "checks: [smoke]", "needs the suite; add validate to checks:"),
        ("threshold: 0.95}", "threshold: 0.95, on: shift}", "gates.0.on: checks run once the shift is done"),
        ('load.reconnect_rate, op: ">"', 'load.reconnect_rate, op: "=="', 'is estimated, never exactly equal; use ">="'),
        ('load.reconnect_rate, op: ">"', 'load.reconnect_rate, op: "<"', '"<" asks for a bad load.reconnect_rate'),
        ("threshold: 0.99", "threshold: 1.0", "nothing is more than all of them"),
        ("max_hold: 2m", "max_hold: 5s", "takes 299 reconnections without a failure, and 60 users make about 79"),
        ('load.connect_ms, op: "<", threshold: 100', 'load.reconnect_rate, op: ">=", threshold: 0.9', "another gate is called"),
    ],
)  # fmt: skip
def test_what_could_never_work_is_refused(tmp_path: Path, old: str, new: str, expected: str) -> None:
    assert expected in refusal(tmp_path, old, new)


def test_a_longer_circle_of_environments_is_refused(tmp_path: Path) -> None:
    message = refusal(tmp_path, "  dev:\n", "  dev:\n    after: staging\n")
    assert "environments.dev.after: a circle: dev after staging after dev" in message
