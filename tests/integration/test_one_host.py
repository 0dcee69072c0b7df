"""One real Docker host over SSH, from nothing to a second release and back, under somebody at work."""

from __future__ import annotations

import json

import pytest
from terminals.client.errors import ClientError

from lab.engine import docker
from rollout.config import load
from rollout.engine.docker import DockerEngine
from rollout.errors import ExitCode
from tests.support.docker import PROJECT
from tests.support.lab_host import LabHost
from tests.support.resident import Resident
from tests.support.stack import until

pytestmark = [pytest.mark.docker("lab"), pytest.mark.in_order]

SMOKE = {"metric": "smoke.pass_ratio", "op": ">=", "threshold": 1}


@pytest.fixture(scope="module")
def provisioned(built, the_lab, tmp_path_factory: pytest.TempPathFactory) -> LabHost:
    folder = tmp_path_factory.mktemp("one")
    host = LabHost(folder, the_lab.fresh(dev=1), built[0], checks=["smoke"], gates=[SMOKE])
    assert host.run("provision", "dev") == 0, host.said
    return host


@pytest.fixture(scope="module")
def deployed(provisioned: LabHost) -> LabHost:
    assert provisioned.run("deploy", "dev") == 0, provisioned.said
    return provisioned


def weights(host: LabHost) -> dict[str, int]:
    status = json.loads(host.ssh(f"docker exec {PROJECT}-dev-manager-1 terminals ctl status"))
    return {entry["name"]: entry["weight"] for entry in status["generations"] if entry["workers"]}


def test_a_host_is_set_up_for_deployments(provisioned):
    assert provisioned.ssh("docker info --format '{{.LiveRestoreEnabled}}'") == "true"
    assert provisioned.run("provision", "dev", "--check", "--output", "json") == 0, provisioned.said
    assert json.loads(provisioned.printed)[0]["changed"] == []


@pytest.mark.slow("two commands more to a host; what is asked before is in the first tier")
def test_a_port_that_somebody_else_has_there_is_said_before_anything_is_touched(provisioned):
    port = load(provisioned.folder / "rollout.yaml").environment("dev").listen.web
    provisioned.ssh(f"setsid python3 -m http.server {port} >/dev/null 2>&1 </dev/null & echo $! > /tmp/taker")
    try:
        until(lambda: f":{port}" in provisioned.ssh("ss -ltn"), "somebody listening")
        assert provisioned.run("deploy", "dev") == ExitCode.REFUSED, provisioned.said
        assert f"port {port}: somebody else listens on it" in provisioned.said
        assert provisioned.run("deploy", "dev", "--plan", "--output", "json") == ExitCode.REFUSED
        (obstacle,) = json.loads(provisioned.printed)["obstacles"]
        assert f"port {port}" in obstacle["text"]
        assert provisioned.ssh("docker ps -aq") == ""
    finally:
        provisioned.ssh("kill $(cat /tmp/taker)")


def test_a_build_is_deployed_to_it(deployed):
    assert weights(deployed) == {"g1": 100}


def test_a_second_release_and_the_way_back_cost_nobody_a_shell(deployed):
    config = load(deployed.folder / "rollout.yaml")
    (target,) = DockerEngine(config, config.environment("dev")).targets()
    somebody = Resident(target.terminal())
    assert deployed.run("deploy", "dev") == 0, deployed.said
    assert weights(deployed) == {"g1": 0, "g2": 100}
    assert deployed.run("rollback", "dev", "--reason", "people complain") == 0, deployed.said
    assert weights(deployed)["g1"] == 100
    somebody.leave()
    assert deployed.run("status", "dev", "--output", "json") == 0, deployed.said
    (entry,) = json.loads(deployed.printed)
    assert (entry["current"]["generation"], entry["current"]["kind"]) == ("g1", "rollback")


@pytest.mark.slow("two applies to a host; the process engine's are in the first tier")
def test_changed_settings_are_in_force_under_live_shells(deployed):
    config = load(deployed.configure(defaults={"max_sessions": 77}))
    engine = DockerEngine(config, config.environment("dev"))
    somebody = Resident(engine.targets()[0].terminal())
    before = engine.status()[deployed.host.name]
    assert deployed.run("apply", "dev") == 0, deployed.said
    after = engine.status()[deployed.host.name]
    assert after["manager"]["configured"]["max_sessions"] == 77
    assert after["manager"]["started"] > before["manager"]["started"]
    assert after["holder"]["number"] == before["holder"]["number"] + 1
    somebody.leave()
    # Without its program no shell answers: smoke fails, and the old ones are back.
    deployed.configure(profiles={"system": {"command": ["/no/such/shell"]}})
    assert deployed.run("apply", "dev") == ExitCode.ENGINE, deployed.said
    assert engine.status()[deployed.host.name]["manager"]["settings"] == after["manager"]["settings"]


@pytest.mark.slow("starts the engine of a host anew")
def test_after_a_reboot_all_are_back_by_themselves(deployed):
    config = load(deployed.folder / "rollout.yaml")
    engine = DockerEngine(config, config.environment("dev"))
    docker("restart", "--time", "60", deployed.lab.container(deployed.host))
    until(lambda: any(engine.status().values()), "the session manager")
    (target,) = engine.targets()

    def opens() -> bool:
        try:
            with target.terminal() as terminal:
                terminal.send(b"echo back-$((1+1))\n")
                terminal.expect(rb"back-2", timeout=10)
        except (ClientError, TimeoutError):  # its worker is about to come
            return False
        return True

    until(opens, "a new shell")
    running = f"docker ps --filter label=com.docker.compose.project={PROJECT}-dev --format '{{{{.Names}}}}'"
    names = {f"{PROJECT}-dev-{name}-1" for name in ("holder", "manager")}
    assert names <= set(deployed.ssh(running).split())
