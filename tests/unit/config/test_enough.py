"""A gate that could never have enough evidence is refused, with what it needs and what there would be."""

# ruff: noqa: E501 - one case a line

from __future__ import annotations

from pathlib import Path

import pytest

from rollout.config import load
from rollout.errors import ConfigError

BASE = """\
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
    load: {users: 60, cut_every: 3s}
    monitor: {every: 60s}
    soak: 36h
    gates:
      - {metric: load.reconnect_rate, op: ">", threshold: 0.99}
      - {metric: load.connect_ms, op: "<", threshold: 100}
      - {metric: load.connect_ms, op: "<", threshold: 1.25, compare: baseline}
    soak_gates:
      - {metric: monitor.success_rate, op: ">", threshold: 0.99, window: 24h}
      - {metric: monitor.memory_drift, op: "<=", threshold: 0.1}
    max_hold: 2m
"""


def written(tmp_path: Path, old: str = "", new: str = "") -> Path:
    assert old in BASE
    path = tmp_path / "rollout.yaml"
    path.write_text(BASE.replace(old, new, 1))
    return path


def test_the_base_of_these_tests_is_sound(tmp_path: Path) -> None:
    gates = load(written(tmp_path)).environment("staging").gates
    assert [gate.name for gate in gates][1:] == ["load.connect_ms p95", "load.connect_ms p95 to baseline"]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        # What the issue names: 24 h of checks do not prove 99.9 %.
        ("threshold: 0.99, window: 24h", "threshold: 0.999, window: 24h", "staging.soak_gates.0.threshold: 24 h at every 1 min and 2 profiles give 2880 checks; 99.9 % at 95 % confidence needs 2995 without a failure"),
        ("threshold: 0.99, window: 24h", "threshold: 0.99, window: 2h", "2 h at every 1 min and 2 profiles give 240 checks; 99 % at 95 % confidence needs 299"),
        ("threshold: 0.99, window: 24h", "threshold: 0.99, window: 24h, min_samples: 5000", "min_samples needs 5000"),
        ("every: 60s", "every: 60s, profiles: [system]", None),
        ("every: 60s", "every: 5m, profiles: [system]", "24 h at every 5 min and 1 profile give 288 checks; 99 % at 95 % confidence needs 299"),
        ("window: 24h", "window: 48h", "staging.soak_gates.0.window: 48 h is longer than the soak of 36 h"),
        ("every: 60s", "every: 6m", "soak_gates.0.max_age: 5 min is shorter than a check every 6 min"),
        ("threshold: 0.1}", "threshold: 0.1, window: 10m}", "staging.soak_gates.1: 10 min at every 1 min gives 10 readings, a trend needs 13"),
        ("    monitor: {every: 60s}\n", "", "staging.soak_gates.0.metric: monitor.success_rate needs the monitor; add monitor:"),
        ("metric: validate.pass_ratio, op", "severity: warning, metric: validate.pass_ratio, op", "dev.gates: all of them only warn"),
        ("metric: validate.pass_ratio, op", "window: 1m, metric: validate.pass_ratio, op", "dev.gates.0.window: validate.pass_ratio has no window"),
        ("load.reconnect_rate, op: \">\", threshold: 0.99", "monitor.success_rate, op: \">\", threshold: 0.99", "gates.0.metric: monitor.success_rate is known when a build leaves; move it to soak_gates:"),
        ("max_hold: 2m", "max_hold: 20s", "99 % at 95 % confidence over 3 looks takes 408 reconnections without a failure, and 60 users make about 315"),
        ("threshold: 0.99}", "threshold: 0.99, window: 10s}", "make about 158 in a window of 10 s"),
        # At the first step only some of the users are there: a good build would be taken back.
        ("weight: 50", "weight: 10", "staging.gates.0.threshold: 99 % at 95 % confidence takes 299 reconnections without a failure, and 6 users of 60 at 10 % make about 189 in max_hold; raise load.users or max_hold, or the first weight"),
        ("metric: load.reconnect_rate, op: \">\", threshold: 0.99}\n      - {metric: load.connect_ms, op: \"<\", threshold: 100}", "metric: load.connect_ms, op: \"<\", threshold: 100}", None),
        ("load: {users: 60", "load: {users: 8", "staging.gates.0.threshold: 99 %"),
        ("load.reconnect_rate, op: \">\", threshold: 0.99}", "load.command_ms, op: \"<\", threshold: 100, percentile: 99.99}", "p99.99 at 95 % confidence over 6 looks takes 47873 commands without a failure, and 60 users make about 14400"),
        ("load.reconnect_rate, op: \">\", threshold: 0.99}", "load.success_rate, op: \">\", threshold: 0.9999}", "47873 reconnections and commands"),
        ("threshold: 100}", "threshold: 100, percentile: 99.9}", "p99.9 at 95 % confidence over 6 looks takes 4786 reconnections"),
        ("threshold: 100}", "threshold: 100, min_samples: 9999}", "min_samples takes 9999 reconnections"),
        ("threshold: 100}", "threshold: 100, on: checks}", None),
        ("canary: [{weight: 50, hold: 5s}, {weight: 100, hold: 5s}]", "canary: [{weight: 100, hold: 5s}]", "gates.2.compare: both never serve at the same time"),
        ("op: \"<\", threshold: 1.25", "op: \"==\", threshold: 1.25", "gates.2.op: with compare: baseline the threshold is how many times worse"),
        ("threshold: 1.25", "threshold: 0", "gates.2.threshold: expected the ratio to the baseline that is still good"),
        ("threshold: 1.25", "threshold: 1.25, on: checks", "gates.2.on: a comparison is made while both serve"),
        ("threshold: 1.25", "threshold: 1.25, window: 1m", "gates.2.window: a comparison is of the time while both serve"),
        ("load.connect_ms, op: \"<\", threshold: 1.25", "load.bytes_lost, op: \"<\", threshold: 1.25", "nobody measures load.bytes_lost on the generation before"),
        ("load.connect_ms, op: \"<\", threshold: 1.25", "generation.memory_bytes, op: \"<\", threshold: 1.25", "nobody measures generation.memory_bytes on the generation before"),
        ("load.connect_ms, op: \"<\", threshold: 1.25", "load.success_rate, op: \"<\", threshold: 1.25", None),
    ],
)  # fmt: skip
def test_relations_between_need_and_time(tmp_path: Path, old: str, new: str, expected: str | None) -> None:
    path = written(tmp_path, old, new)
    if expected is None:
        load(path)
        return
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert expected in caught.value.message


def test_where_each_host_is_judged_it_has_its_share_of_the_users_only(tmp_path: Path) -> None:
    two = "{a: {root: /tmp/r/a}, b: {root: /tmp/r/b, listen: {system: 7001, claude: 7002, web: 7110}}}"
    text = written(tmp_path, "{local: {root: /tmp/r/staging}}", two).read_text()
    path = tmp_path / "rollout.yaml"
    text = text.replace(
        'load.reconnect_rate, op: ">", threshold: 0.99',
        'load.reconnect_rate, op: ">", threshold: 0.98, each: host',
    )
    path.write_text(text)
    load(path)
    path.write_text(text.replace("users: 60", "users: 12"))
    with pytest.raises(ConfigError, match="and 6 users of 12 at 50 % at one host make about 189"):
        load(path)
    path.write_text(text.replace("each: host", "each: region"))
    with pytest.raises(ConfigError, match="some hosts have no region; give each one: region"):
        load(path)
    regions = two.replace("r/a}", "r/a, region: eu}").replace("r/b,", "r/b, region: us,")
    path.write_text(text.replace(two, regions).replace("each: host", "each: region"))
    load(path)


def test_too_few_users_for_a_percentile_at_the_first_step_are_told_before_anything_starts(
    tmp_path: Path,
) -> None:
    """Eight users, a tenth of them, two minutes: 36 samples came, of which p95 takes 59."""
    path = written(tmp_path, "weight: 50", "weight: 10")
    text = (
        path.read_text().replace("users: 60", "users: 8").replace("load.reconnect_rate", "load.reconnect_ms")
    )
    text = text.replace(
        'load.reconnect_ms, op: ">", threshold: 0.99', 'load.reconnect_ms, op: "<", threshold: 500'
    )
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"p95 .* takes 59 reconnections .* 1 users of 8 at 10 %"):
        load(path)
