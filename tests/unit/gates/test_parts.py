"""Gates that are judged host by host, or region by region, and where one that fails was not met."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rollout.checks.load import LoadRun
from rollout.checks.runner import CheckResult
from rollout.evidence import from_checks, from_load
from rollout.gates import evaluate, evaluate_all
from rollout.gates.condition import Look
from rollout.model import Evidence, Verdict
from tests.support.gates import Gate, count, rate, samples

PASS, FAIL, INCONCLUSIVE = Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE
RATE = Gate(op=">", threshold=0.9)
EACH = Gate(op=">", threshold=0.9, each="host")


def at(host: str, piece: Evidence, by: str = "host") -> Evidence:
    return Evidence(**{**{name: getattr(piece, name) for name in piece.__slots__}, "id": f"{by}-{host}",
                       "labels": {**piece.labels, "part": by, by: host}})  # fmt: skip


GOOD, BAD = rate(400, 400), rate(60, 100)
WHOLE = rate(460, 500, id="whole")
PARTS = [at("eu-1", GOOD), at("eu-2", BAD)]


def test_one_bad_host_is_watered_down_in_the_whole_and_not_where_each_counts() -> None:
    assert evaluate(RATE, [rate(980, 1000, id="whole"), *PARTS]).verdict is PASS
    found = evaluate(EACH, [rate(980, 1000, id="whole"), *PARTS])
    assert found.verdict is FAIL
    assert "gate > 0.9: at eu-2: 60 of 100 (60 %)" in found.reason
    assert found.evidence == ("host-eu-1", "host-eu-2"), "the whole was not judged"
    assert (found.measured, found.n) == (0.6, 100)


def test_all_have_to_pass_and_the_worst_is_named() -> None:
    found = evaluate(EACH, [at("a", rate(99, 100)), at("b", rate(97, 100)), at("c", rate(100, 100))])
    assert found.verdict is PASS
    assert found.reason.startswith("gate > 0.9: at each of 3 hosts, the worst of them b: 97 of 100")


def test_one_that_nothing_was_observed_of_keeps_it_from_passing() -> None:
    found = evaluate(EACH, [at("a", rate(100, 100)), at("b", rate(0, 0))])
    assert found.verdict is INCONCLUSIVE
    assert "at b: 0 observations, at least 1 are needed" in found.reason
    assert evaluate(EACH, [rate(1000, 1000)]).verdict is INCONCLUSIVE, "the whole speaks for no host"


def test_several_that_fail_are_named() -> None:
    found = evaluate(EACH, [at("a", BAD), at("b", GOOD), at("c", BAD), at("d", BAD)])
    assert "at a (as at c, d): 60 of 100" in found.reason


def test_regions_are_parts_like_hosts() -> None:
    gate = Gate(op="<", threshold=100, percentile=50, each="region")
    pieces = [at("eu", samples(*[50.0] * 40), "region"), at("us", samples(*[150.0] * 40), "region")]
    found = evaluate(gate, [*pieces, *PARTS])
    assert (found.verdict, "at us: p50 150 of 40 samples" in found.reason) == (FAIL, True)


@pytest.mark.parametrize(
    ("gate", "whole", "parts", "said"),
    [
        (RATE, rate(300, 500), [GOOD, BAD], "at eu-2: 60 of 100 (60 %); not at eu-1"),
        (RATE, rate(100, 200), [BAD, BAD], "at each of 2 hosts, the worst of them eu-1: 60 of 100 (60 %)"),
        (Gate(op="==", threshold=0), count(3, 90), [count(0, 40), count(3, 50)], "at eu-2: 3; not at eu-1"),
        (
            Gate(op="<", threshold=100, percentile=50, unit="ms"),
            samples(*[200.0] * 60, *[50.0] * 30),
            [samples(*[50.0] * 30), samples(*[200.0] * 60)],
            "at eu-2: p50 200 ms of 60 samples; not at eu-1",
        ),
        (RATE, rate(300, 500), [GOOD], ""),
        (RATE, rate(300, 500), [GOOD, rate(0, 0)], ""),
    ],
    ids=["a rate", "everywhere", "a count", "samples", "one host", "nobody at one"],
)
def test_where_the_whole_fails_it_is_said_at_which_hosts(gate, whole, parts, said) -> None:
    named = [at(f"eu-{number}", part) for number, part in enumerate(parts, 1)]
    found = evaluate(gate, [whole, *named])
    assert found.verdict is FAIL
    assert found.evidence == (whole.id,), "they are not what was judged"
    assert found.reason.endswith(said) if said else "eu-" not in found.reason


def test_hosts_are_asked_for_where_a_gate_fails_and_then_once() -> None:
    asked: list[int] = []

    def of_hosts() -> list[Evidence]:
        asked.append(1)
        return PARTS

    good, bad = rate(460, 460, id="good"), rate(300, 500, id="bad")
    assert evaluate_all([RATE], [good], of_hosts=of_hosts)[0].verdict is PASS
    assert asked == []
    for result in evaluate_all([RATE, RATE], [bad], of_hosts=of_hosts):
        assert result.reason.endswith("at eu-2: 60 of 100 (60 %); not at eu-1")
    assert asked == [1]


def test_parts_of_another_window_are_not_spoken_of() -> None:
    gate = Gate(op=">", threshold=0.9, window=60.0)
    whole = rate(60, 100, labels={"window": "60"})
    old = [at("a", rate(1, 100)), at("b", rate(100, 100))]
    assert "at a" not in evaluate(gate, [whole, *old]).reason
    new = [at("a", rate(1, 100, labels={"window": "60"})), at("b", rate(99, 100, labels={"window": "60"}))]
    assert "at a: 1 of 100 (1 %); not at b" in evaluate(gate, [whole, *old, *new]).reason


@pytest.mark.parametrize("hosts", range(1, 7))
def test_the_error_rate_of_a_wrong_fail_is_shared(hosts: int) -> None:
    """A host that fails among several fails alone at the level that all of them share."""
    good = [at(f"h{number}", rate(10**6, 10**6)) for number in range(hosts - 1)]
    matters = 0
    for n in range(40, 61):
        for bad in range(41):
            one = rate(n - bad, n)
            among = evaluate(EACH, [*good, at("x", one)], look=Look(0.0, 1.0)).verdict
            alone = evaluate(RATE, [one], look=Look(0.0, 1.0 / hosts)).verdict
            assert (among is FAIL) == (alone is FAIL)
            matters += (evaluate(RATE, [one], look=Look(0.0, 1.0)).verdict is FAIL) != (alone is FAIL)
    assert (matters > 0) == (hosts > 1), "it makes a difference somewhere, or nothing is shown"


# --- where parts come from ------------------------------------------------------------------------


def of_load(tmp_path: Path, lines: list[dict]) -> LoadRun:
    run = LoadRun([], users=1, spawn_rate=1, cut_every=1, directory=tmp_path)
    run.samples_path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return run


def command(host: str, t: float, generation: str = "g2", ms: float = 1.0) -> dict:
    return {
        "kind": "command",
        "user": 1,
        "host": host,
        "t": t,
        "generation": generation,
        "ok": True,
        "ms": ms,
    }


def test_load_is_told_apart_by_the_host_whose_door_it_came_to(tmp_path: Path) -> None:
    lines = [command("a", 1), command("a", 5), command("b", 5), command("c", 5), command("a", 6, "g1")]
    run = of_load(tmp_path, lines)
    of_hosts = run.parts({"a": "a", "b": "b", "d": "d"}, 2.0, "g2")
    assert {host: part.commands for host, part in of_hosts.items()} == {"a": 1, "b": 1, "d": 0}
    of_regions = run.parts({"a": "eu", "b": "eu", "c": "us"})
    assert {region: part.commands for region, part in of_regions.items()} == {"eu": 4, "us": 1}
    pieces = from_load(of_hosts["a"], of_hosts["a"], (2.0, 9.0), "g2", only=60, part=("host", "a"))
    assert {(piece.part, piece.labels["host"], piece.labels["window"]) for piece in pieces} == {
        ("host", "a", "60")
    }


def test_a_check_that_fails_is_named_in_the_reason() -> None:
    results = [
        CheckResult("smoke", "g", name, ok, 1.0, 1.0, detail)
        for name, ok, detail in (("one", True, ""), ("two", False, "eu-2: no answer"), ("three", False, "x"))
    ]
    (piece,) = from_checks("smoke", results)
    gate = Gate(metric="smoke.pass_ratio", op=">=", threshold=1.0, unit="share")
    assert evaluate(gate, [piece]).reason.endswith("1 of 3 (33.3 %); two: eu-2: no answer (and 1 more)")
