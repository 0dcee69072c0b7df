from __future__ import annotations

import json
import random
import re
import warnings

import pytest

from rollout.report.draw import legend, style, svg
from rollout.report.material import read
from rollout.report.monitoring import observe
from rollout.report.plotted import plots
from rollout.report.series import binned, load_series, mean, percentile, read_samples
from tests.support import summaries


def test_bins_bound_a_series_and_keep_its_gaps():
    points = [(float(at), 1.0) for at in range(100_000) if not 40_000 <= at < 60_000]
    series = binned("x", points, (0.0, 100_000.0), 100, mean)
    assert len(series["t"]) == len(series["v"]) == 100
    assert [series["v"][index] for index in (39, 40, 59, 60)] == [1.0, None, None, 1.0]
    assert series["n"] == 80_000


def test_percentiles_are_values_that_were_measured():
    values = [random.Random(3).random() for _ in range(99)]
    assert percentile(95)(values) in values
    assert percentile(95)([1.0]) == 1.0


def test_samples_are_read_in_order_and_what_was_cut_short_is_left_out(tmp_path):
    for run, times in (("load-2", (5, 6)), ("load-1", (7, 1))):
        (tmp_path / run).mkdir()
        lines = [json.dumps({"t": at, "user": 1, "kind": "command", "ok": True}) for at in times]
        (tmp_path / run / "samples.jsonl").write_text("\n".join([*lines, "[]", '{"t": NaN}', '{"t": 9, "us']))
    assert [sample["t"] for sample in read_samples(tmp_path)] == [1, 5, 6, 7]
    assert read_samples(tmp_path / "none") == []


def test_sessions_move_between_generations_and_end():
    common = {"kind": "command", "ok": True, "ms": 1.0}
    samples = [
        {"t": float(at), "user": user, "generation": "g1" if at < 50 else "g2", **common}
        for at in range(100)
        for user in range(4)
    ]
    samples += [{"t": 99.5, "user": 0, "kind": "final", "ok": True, "generation": "g2"}]
    old, new = load_series(samples, (0.0, 100.0))["sessions"]
    assert (old["v"][10], new["v"][10]) == (4, 0)
    assert (old["v"][80], new["v"][80]) == (0, 4)
    assert new["v"][-1] == 3


def test_failures_count_in_the_share_of_success():
    samples = [
        {"t": 1.0, "user": 1, "kind": kind, "ok": kind == "command", "ms": 1.0}
        for kind in ("command", "attempt")
    ]
    (success,) = load_series(samples, (0.0, 2.0))["success"]
    assert [value for value in success["v"] if value is not None] == [50.0]


def test_what_is_missing_is_said_to_be_missing(short_path):
    config = summaries.project(short_path)
    summaries.seed(config)
    material = read(
        config, "dev", 1, criteria=None, evidence=(), monitor=None, samples=None, now=summaries.BEGAN
    )
    assert [(plot["series"], bool(plot["missing"])) for plot in plots(material)] == [([], True)] * 4


def test_steps_of_the_shift_are_marked(short_path):
    config = summaries.project(short_path)
    summaries.seed(config)
    material = read(
        config, "dev", None, criteria=None, evidence=(), monitor=None, samples=None, now=summaries.BEGAN
    )
    memory = next(plot for plot in plots(material) if plot["id"] == "shift-memory")
    assert [mark["label"] for mark in memory["marks"]] == ["10 %", "100 %", "back"]
    assert "7.47 to 7.47 MB" in memory["alt"]


def test_a_clock_that_jumps_invents_no_time():
    log = summaries.day(1000.0, "g1", rounds=10)
    assert observe(log.records) == (540.0, [])
    jumped = [{**record, "at": record["at"] + 86400 * (record["boottime"] > 300)} for record in log.records]
    assert observe(jumped)[0] == 540.0
    restarted = [{**record, "boot": "b1"} if record["boottime"] > 300 else record for record in log.records]
    seen, gaps = observe(restarted)
    assert seen == 480.0 and [gap["seconds"] for gap in gaps] == [60.0]


def test_lines_differ_without_colours():
    names = ["connect p50", "connect p95", "reconnect p50", "reconnect p95"]
    plot = {"series": [{"name": name, "n": 1} for name in names]}
    assert [style(plot, index)[0] for index in range(4)] == [0, 0, 1, 1]
    assert style(plot, 0)[1] != style(plot, 1)[1]
    other = {"series": [{"name": f"worker of g{n}", "n": 1} for n in range(6)]}
    assert len({style(other, index)[1] for index in range(6)}) == 6
    assert [one["colour"] for one in legend(other)] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("seconds", [5, 40, 90, 175, 240, 700, 3600, 10500, 14400, 108000, 250000, 1209600])
def test_any_time_has_ticks_and_no_warning(seconds):
    window = {"from": 1.785e9, "to": 1.785e9 + seconds}
    series = binned("\u4f60", [(window["from"] + 1, 2.0)], (window["from"], window["to"]), 10, mean)
    plot = {
        "id": "shift-x",
        "title": "T",
        "alt": "A",
        "unit": "ms",
        "marks": [],
        "gaps": [],
        "series": [series],
    }
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        drawn = svg(plot | window | {"marks": [{"at": 1.785e9, "label": "\u4f60"}]})
    assert 2 <= len(re.findall(r'-xtick_\d+"', drawn)) <= 9
    # What another test has left open may be collected here, and is nothing of this one's.
    assert [one for one in caught if not issubclass(one.category, ResourceWarning)] == []


def test_two_plots_share_no_names():
    plot = {
        "title": "T", "alt": "A", "unit": "ms", "from": 0.0, "to": 10.0, "marks": [], "gaps": [],
        "series": [{"name": "x", "t": [1.0, 5.0, 9.0], "v": [1.0, None, 3.0], "n": 2}],
    }  # fmt: skip
    drawn = [svg({**plot, "id": name}) for name in ("shift-latency", "soak-latency")]
    names = [set(re.findall(r'\bid="([^"]+)"', one)) for one in drawn]
    assert names[0] and not names[0] & names[1]
    for one, own in zip(drawn, names, strict=True):
        assert set(re.findall(r'(?:href="#|url\(#)([^")]+)', one)) <= own
        assert "#0" not in re.sub(r"url\(#[^)]*\)|href=\"#[^\"]*\"", "", one)
