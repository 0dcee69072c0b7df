"""What the real engine of this machine tells of containers, and what gates make of it."""

from __future__ import annotations

import secrets
import time

import pytest

from rollout.build.hosts import LocalHost
from rollout.config import Gate
from rollout.engine.stats import host_stats
from rollout.evidence.docker import Readings
from rollout.gates import evaluate
from rollout.model import Verdict
from tests.support.docker import base, client
from tests.support.stack import until

pytestmark = pytest.mark.docker

EATER = "x = bytearray(300_000_000); print(len(x))"
SPINNER = "while True: pass"


@pytest.fixture
def project():
    """Starts Python programs in containers of one Compose project, which is gone afterwards."""
    name, image, engine = f"stats-{secrets.token_hex(4)}", base(), client()

    def start(program: str, **options):
        return engine.containers.run(
            image, ["python3", "-c", program], labels={"com.docker.compose.project": name}, detach=True,
            network_mode="none", mem_limit="64m", memswap_limit="64m", **options,
        )  # fmt: skip

    start.name = name
    yield start
    for container in engine.containers.list(
        all=True, filters={"label": f"com.docker.compose.project={name}"}
    ):
        container.remove(force=True)


def read(project, back=120):
    found = host_stats(LocalHost(), project.name, back=back)
    assert found is not None
    return found


def verdict(readings: Readings, metric: str, op: str, threshold: float, **more) -> Verdict:
    now = time.time()
    gate = Gate(metric=metric, op=op, threshold=threshold, **more)
    return evaluate(gate, readings.evidence([gate], (now - 300, now))).verdict


def test_a_busy_container_is_seen_to_be_busy(project):
    container = project(SPINNER, nano_cpus=200_000_000)
    idle = project("import signal; signal.pause()")
    readings = Readings("g1")

    def measured():
        stats = read(project)
        readings.add(time.time(), {"local": stats})
        return {one.id: one for one in stats.containers}

    found = until(lambda: (seen := measured())[container.id].cpu_share and seen, "use of CPU")
    # Of the fifth of a CPU that it may use: if it were of the machine, it would be at most a fifth.
    assert found[container.id].cpu_share > 0.4
    assert found[idle.id].cpu_share < found[container.id].cpu_share / 2
    assert 1 << 20 < found[container.id].memory_bytes < 64 << 20
    assert verdict(readings, "docker.memory_bytes", "<", 64 << 20) is Verdict.PASS
    assert verdict(readings, "docker.memory_bytes", "<", 1 << 20) is Verdict.FAIL
    assert verdict(readings, "docker.cpu_share", "<", 0.3, min_samples=1, percentile=99) is Verdict.FAIL
    assert verdict(readings, "docker.restarts", "==", 0) is Verdict.PASS
    assert verdict(readings, "docker.oom_kills", "==", 0) is Verdict.PASS


@pytest.mark.parametrize("program", [EATER, f"import time; time.sleep(1); {EATER}"], ids=["at-once", "later"])
def test_want_of_memory_and_restarts_are_counted(project, program):
    container = project(program, restart_policy={"Name": "on-failure", "MaximumRetryCount": 2})
    until(lambda: container.reload() or container.status == "exited", "the end of its restarts")
    readings, gate = Readings("g1"), Gate(metric="docker.oom_kills", op="==", threshold=0)

    def kills():
        stats = read(project)
        (one,) = stats.containers
        assert (one.restarts, one.memory_bytes, one.cpu_share) == (2, None, None)
        assert {event.container for event in stats.events} <= {container.id}
        readings.add(time.time(), {"local": stats})
        (evidence,) = readings.evidence([gate], (0, time.time()))
        return evidence.value

    # The engine shows the end of a container a moment before the event.
    until(lambda: kills() == 3, "three kills")
    assert kills() == 3, "read again, they are no more"
    assert verdict(readings, "docker.oom_kills", "==", 0) is Verdict.FAIL
    assert verdict(readings, "docker.restarts", "==", 0) is Verdict.FAIL
    assert verdict(readings, "docker.memory_bytes", "<", 64 << 20) is Verdict.INCONCLUSIVE


def test_who_is_stopped_was_not_killed_for_want_of_memory(project):
    container = project("import time; time.sleep(600)")  # as first process, it does not die of SIGTERM
    container.stop(timeout=1)
    container.reload()
    assert container.attrs["State"]["ExitCode"] == 137
    readings = Readings("g1")
    readings.add(time.time(), {"local": read(project)})
    assert verdict(readings, "docker.oom_kills", "==", 0) is Verdict.PASS


def test_of_nobody_s_containers_nothing_is_known():
    client()
    stats = host_stats(LocalHost(), "nobody-at-all", back=1)
    assert stats is not None and stats.containers == ()
    readings = Readings("g1")
    readings.add(time.time(), {"local": stats})
    for metric in ("docker.memory_bytes", "docker.restarts", "docker.oom_kills"):
        assert verdict(readings, metric, "==", 0) is Verdict.INCONCLUSIVE


def test_an_engine_that_does_not_answer_gives_none():
    nowhere = LocalHost("nowhere", before=["env", "DOCKER_HOST=unix:///nowhere.sock"])
    assert host_stats(nowhere, "x", back=1) is None
