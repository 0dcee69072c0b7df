"""A host that watches its own soak takes a bad build back over night, and the ledger learns of it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rollout.errors import ExitCode
from tests.support import docker
from tests.support.docker import PROJECT
from tests.support.lab_host import LabHost
from tests.support.project import source_of
from tests.support.stack import until

pytestmark = [
    pytest.mark.docker("lab 2"),
    pytest.mark.slow("a host with an engine of its own, and three releases"),
]

DEV = f"{PROJECT}-dev"
GATES = [{"metric": f"{suite}.pass_ratio", "op": ">=", "threshold": 1} for suite in ("infra", "smoke")]


def test_a_host_takes_a_bad_build_back_when_nobody_else_is_there(the_lab, tmp_path):
    first, _ = docker.make_image(tmp_path)
    deployed = LabHost(tmp_path, the_lab.fresh(dev=1), first, checks=["infra", "smoke"], gates=GATES)
    assert deployed.run("provision", "dev") == 0, deployed.said
    assert deployed.run("deploy", "dev") == 0, deployed.said
    assert deployed.run("infra", "dev") == 0, deployed.said
    down = {"name": "down", "severity": "critical", "metric": "up", "op": "==", "threshold": 0, "for": "1s"}
    watched = {
        "soak": "1h",
        "monitor": {"every": "1s", "timeout": "2s", "alerts": [down]},
        "soak_gates": [{"metric": "monitor.critical_alerts", "op": "==", "threshold": 0}],
    }
    deployed.configure(**watched, takeback=True)
    # Another build: nobody goes back by himself to the one that is to be left.
    _, image = docker.make_image(tmp_path, source_of("0.2.0", tmp_path / "source"))
    docker.remove_after_the_run(image)
    assert deployed.run("deploy", "dev") == 0, deployed.said
    assert "infra 25/25" in deployed.said, "the monitor is as it should be, too"

    def status() -> dict[str, Any]:
        assert deployed.run("status", "dev", "--output", "json") == 0, deployed.said
        (entry,) = json.loads(deployed.printed)
        return dict(entry)

    until(lambda: (status()["soaked"] or 0) > 2, "what the monitor saw, over SSH")
    bad = status()["current"]
    deployed.ssh(f"docker pause $(docker ps -q --filter name=^{DEV}-{bad['generation']}-worker-)")
    try:
        until(lambda: status()["marks"], "the host going back by itself", timeout=120)
        (mark,) = status()["marks"].values()
        assert (mark["from_generation"], mark["to_generation"]) == (
            bad["generation"],
            bad["previous_generation"],
        )
    finally:
        deployed.ssh("docker unpause $(docker ps -q --filter status=paused)")
    until(
        lambda: not deployed.ssh("docker ps -q --filter health=unhealthy"),
        "another look at their health",
        120,
    )
    deployed.configure(**watched)  # that it may not do so any more does not undo it
    assert deployed.run("deploy", "dev") == ExitCode.REFUSED
    assert deployed.run("adopt", "dev") == 0, deployed.said
    assert not status()["marks"]
    assert deployed.run("infra", "dev") == 0, deployed.said
