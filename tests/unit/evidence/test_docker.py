"""Readings of containers: a host that is silent is a hole, and old readings are not of the window."""

from __future__ import annotations

import pytest

from rollout.config import Gate
from rollout.engine.stats import ContainerStats, Event, HostStats, parse
from rollout.evidence.docker import Readings
from rollout.gates import evaluate
from rollout.model import Verdict

ANSWER = """\
{"NCPU":4}
{"Type":"container","Action":"oom","Actor":{"ID":"aa","Attributes":{"image":"i"}},"timeNano":1}
{"Type":"container","Action":"die","Actor":{"ID":"bb","Attributes":{"exitCode":"137"}},"timeNano":2}
{"Type":"container","Action":"die","Actor":{"ID":"bb","Attributes":{"exitCode":"1"}},"timeNano":3}
{"Type":"container","Action":"kill","Actor":{"ID":"bb","Attributes":{"signal":"9"}},"timeNano":4}
{"Type":"container","Action":"kill","Actor":{"ID":"bb","Attributes":{"signal":"15"}},"timeNano":5}
{"Id":"aa","Name":"/p-worker-1","Running":true,"OOMKilled":false,"RestartCount":1,"NanoCpus":0}
{"Id":"bb","Name":"/p-web-1","Running":true,"OOMKilled":false,"RestartCount":0,"NanoCpus":500000000}
{"Id":"cc","Name":"/p-init-1","Running":false,"OOMKilled":true,"RestartCount":0,"NanoCpus":0}
{"BlockIO":"0B / 0B","CPUPerc":"200.00%","ID":"aa","MemUsage":"1.5GiB / 2GiB","Name":"p-worker-1"}
{"BlockIO":"0B / 0B","CPUPerc":"25.00%","ID":"bb","MemUsage":"12.3MiB / 256MiB","Name":"p-web-1"}
{"BlockIO":"--","CPUPerc":"--","ID":"cc","MemUsage":"--","Name":"--"}
"""


def container(**fields) -> ContainerStats:
    usual = {
        "id": "aa",
        "name": "w",
        "memory_bytes": 1000,
        "cpu_share": 0.1,
        "restarts": 0,
        "oom_killed": False,
    }
    return ContainerStats(**{**usual, **fields})


def judged(readings: Readings, metric: str, now: float = 100.0, op: str = "<", threshold: float = 1, **more):
    gate = Gate(metric=metric, op=op, threshold=threshold, **more)
    return evaluate(gate, readings.evidence([gate], (0.0, now)))


def test_the_answer_as_data():
    stats = parse(ANSWER)
    assert stats.events == {("aa", 1, "oom"), ("bb", 2, "killed"), ("bb", 4, "asked")}
    worker, web, ended = stats.containers
    assert (worker.name, worker.memory_bytes, worker.cpu_share, worker.restarts) == (
        "p-worker-1",
        3 << 29,
        0.5,
        1,
    )
    assert (web.memory_bytes, web.cpu_share) == (round(12.3 * (1 << 20)), 0.5)
    assert (ended.memory_bytes, ended.cpu_share, ended.oom_killed) == (None, None, True)


@pytest.mark.parametrize("text", ["", "Cannot connect to the Docker daemon", '{"NCPU":0}', '{"Id":"aa"}'])
def test_another_answer_is_none(text):
    with pytest.raises((ValueError, KeyError, TypeError)):
        parse(text)


def test_of_memory_the_most_that_was_seen_counts():
    readings = Readings("g1")
    for at, size in ((10.0, 500), (20.0, 900), (90.0, 300)):
        readings.add(at, {"a": HostStats((container(memory_bytes=size),))})
    assert judged(readings, "docker.memory_bytes", threshold=1000).measured == 900
    assert judged(readings, "docker.memory_bytes", threshold=1000, window=50).measured == 300


def test_restarts_are_those_of_every_host():
    readings = Readings("g1")
    readings.add(10.0, {"a": HostStats((container(restarts=1),)), "b": HostStats((container(restarts=2),))})
    readings.add(20.0, {"a": HostStats((container(restarts=1),)), "b": HostStats((container(restarts=3),))})
    assert judged(readings, "docker.restarts", op="==", threshold=4).verdict is Verdict.PASS


def test_a_silent_host_is_a_hole():
    readings = Readings("g1")
    readings.add(10.0, {"a": HostStats((container(),)), "b": None})
    for metric in ("docker.memory_bytes", "docker.restarts", "docker.oom_kills", "docker.cpu_share"):
        found = judged(readings, metric, min_samples=1)
        assert found.verdict is Verdict.INCONCLUSIVE, found
        assert "the engine of b does not answer" in found.reason
    readings.add(20.0, {"a": None, "b": HostStats((container(),))})
    assert judged(readings, "docker.restarts", op="==", threshold=0).verdict is Verdict.PASS
    late = judged(readings, "docker.restarts", op="==", threshold=0, max_age=85)
    assert late.verdict is Verdict.INCONCLUSIVE and "engine of a" in late.reason


def test_a_kill_is_counted_once_whoever_tells_it():
    readings = Readings("g1")
    event = frozenset({Event("aa", 1, "oom"), Event("aa", 2, "killed")})
    readings.add(10.0, {"a": HostStats((container(oom_killed=True),), event)})
    readings.add(
        20.0, {"a": HostStats((container(oom_killed=True), container(id="bb", oom_killed=True)), event)}
    )
    assert judged(readings, "docker.oom_kills", op="==", threshold=2).verdict is Verdict.PASS


@pytest.mark.parametrize(
    ("story", "kills"),
    [
        (["killed"], 1),  # the engine lost the event
        (["killed", "killed", "oom"], 2),
        (["oom", "oom", "killed"], 2),  # one of them was not the first process
        (["asked", "killed"], 0),
        (["asked", "asked", "killed"], 0),
        (["asked", "killed", "killed"], 1),
        (["killed", "asked", "killed"], 1),
        (["asked"], 0),
    ],
)
def test_an_end_by_sigkill_that_nobody_asked_for_is_a_kill(story, kills):
    readings = Readings("g1")
    events = [Event("aa", at, what) for at, what in enumerate(story)]
    for upto in range(len(events) + 1):
        readings.add(10.0 + upto, {"a": HostStats((container(),), frozenset(events[:upto]))})
    assert judged(readings, "docker.oom_kills", op="==", threshold=0).measured == kills
