from __future__ import annotations

from types import SimpleNamespace

from rollout.config import load
from rollout.evidence import from_monitor
from rollout.gates import evaluate_all
from rollout.report import collect
from rollout.report.measures import metrics
from tests.support import summaries
from tests.support.gates import count

DRIFT = '      - {name: drift, metric: monitor.memory_drift, op: "<=", threshold: 0.0, severity: warning}\n'


def test_a_drift_is_shown_as_the_growth_that_was_judged(short_path):
    summaries.project(short_path)
    path = short_path / "rollout.yaml"
    stable = "      - {name: stable,"
    path.write_text(summaries.RULES.replace(stable, DRIFT + stable, 1))
    config = load(path)
    summaries.seed(config)
    record = summaries.fixed(config)
    ended = record.ended or 0.0
    log = summaries.day(ended, record.generation)
    evidence = from_monitor({"local": log}, ended, record.generation)
    criteria = evaluate_all(config.environment("dev").soak_gates, evidence)
    now = ended + summaries.DAY + 60
    data = collect(config, "dev", criteria=criteria, evidence=evidence, monitor={"local": log}, now=now)
    row = next(row for row in data["metrics"] if row["name"] == "monitor.memory_drift")
    judged = next(row for row in data["criteria"] if row["gate"] == "drift")
    assert row["value"] == judged["measured"]
    assert row["text"][0] in "+-" and row["text"].endswith(" %")
    assert row["basis"].startswith("from 7.") and "MB to 7." in row["basis"]
    assert row["basis"].endswith(" readings")
    assert any(
        "5 of 6 soak gates for leaving passed (1 of the others only warns)." in text
        for text in data["summary"]
    )


def test_what_is_known_of_one_host_alone_is_counted_with_the_whole_only():
    labels = {"part": "host", "host": "a"}
    evidence = [
        count(3, 90, metric="load.loops", id="whole"),
        count(3, 50, metric="load.loops", id="a", labels=labels),
        count(0, 40, metric="load.loops", id="b", labels={**labels, "host": "b"}),
    ]
    material = SimpleNamespace(evidence=evidence, record=SimpleNamespace(figures={}))
    (row,) = metrics(material, [])
    assert (row["value"], row["n"], row["evidence"]) == (3, 90, ["whole"])
