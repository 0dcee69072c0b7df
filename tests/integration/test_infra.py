"""The infra tests: a host as it was deployed passes all of them, and each is seen to fail once."""

from __future__ import annotations

import json

import pytest

from lab import faults
from rollout.config import load
from rollout.engine.docker import DockerEngine
from rollout.errors import ExitCode
from rollout.ledger import Ledger
from rollout.pipeline.infra import verify
from tests.support.docker import PROJECT
from tests.support.lab_host import LabHost

pytestmark = [
    pytest.mark.docker("lab 2"),
    pytest.mark.slow("a host with an engine of its own, changed in 25 ways"),
]

DEV = f"{PROJECT}-dev"
HOLDER, MANAGER = f"{DEV}-holder-1", f"{DEV}-manager-1"
WORKER, WEB = f"{DEV}-g2-worker-1", f"{DEV}-g2-web-1"
# What compose/generation.yaml says, but for the program, of which nobody needs to know whether it is well.
HARDENING = {
    "user": "--user 10001:10001",
    "capabilities": "--cap-drop ALL",
    "privileges": "--security-opt no-new-privileges:true",
    "root": "--read-only",
    "network": "--network none",
    "processes": "--pids-limit 64",
    "memory": "--memory 256m",
    "restart": "--restart unless-stopped",
}
FALSE_DATE = "printf '#!/bin/sh\\necho 1000000000.0\\n' >date; chmod 755 date"
# An impostor is not healthy, and the container whose name it has goes on under another.
BESIDES = {"healthy", "nothing else runs"}
ANOTHER_IMAGE = {"images are those of the ledger", "content is that of the ledger"}
SHELL_CLOCK = "shells have the time"
ENGINE = "engine answers"


@pytest.fixture(scope="module")
def host(built, the_lab, tmp_path_factory: pytest.TempPathFactory) -> LabHost:
    gates = [
        {"metric": "infra.pass_ratio", "op": ">=", "threshold": 1},
        {"metric": "smoke.pass_ratio", "op": ">=", "threshold": 1},
    ]
    folder = tmp_path_factory.mktemp("infra")
    host = LabHost(folder, the_lab.fresh(dev=1), built[0], checks=["infra", "smoke"], gates=gates,
                   limits={"manager_memory": "2GiB", "process_cpus": 1.5}, logs={"size": "5MB"})  # fmt: skip
    assert host.run("provision", "dev") == 0, host.said
    assert host.run("deploy", "dev") == 0, host.said
    return host


@pytest.fixture(scope="module")
def deployed(host: LabHost) -> LabHost:
    """The second generation serves, and the first is warm."""
    assert host.run("deploy", "dev") == 0, host.said
    assert "infra 25/25" in host.said
    return host


def failing(host: LabHost) -> dict[str, str]:
    """The checks that fail now, with what they say."""
    config = load(host.folder / "rollout.yaml")
    environment = config.environment("dev")
    with Ledger(config.ledger_url) as ledger:
        results = verify(config, environment, DockerEngine(config, environment), ledger)
    assert len(results) == 25
    return {result.name: result.detail for result in results if not result.ok}


def impostor(name: str, image: str, *more: str, without: str = "") -> tuple[str, str]:
    """Commands that put another container in the place of one that goes on aside, and that take it away."""
    project, service, _ = name.rsplit("-", 2)
    labels = f"--label com.docker.compose.project={project} --label com.docker.compose.service={service}"
    options = " ".join([*(text for key, text in HARDENING.items() if key != without), *more])
    options += " --detach --no-healthcheck --entrypoint sleep"
    run = f"docker run --name {name} {labels} {options} {image} 1d"
    back = f"docker rm --force {name}; docker rename aside {name}"
    return f"docker rename {name} aside && {run}", back


def test_a_deployment_passes_and_the_result_is_evidence(deployed):
    assert deployed.run("infra", "dev", "--output", "json") == 0, deployed.said
    results = json.loads(deployed.printed)
    assert len(results) == 25
    assert {(result["suite"], result["group"], result["ok"]) for result in results} == {
        ("infra", "dev-1", True)
    }
    # Of the second deployment, whatever was tried after it.
    assert deployed.run("report", "dev", "--rollout", "2", "--output", "json") == 0, deployed.said
    report = json.loads(deployed.printed)
    assert [gate["verdict"] for gate in report["gates"] if gate["gate"] == "infra.pass_ratio"] == ["pass"]
    # The check ran while both generations did: the one on trial, and the one before, to go back to.
    assert sum(check["suite"] == "infra" for check in report["checks"]) == 25


def test_limits_are_those_of_the_configuration_and_logs_end_somewhere(deployed):
    form = " ".join(
        f"{{{{.HostConfig.{key}}}}}" for key in ("Memory", "NanoCpus", "OomScoreAdj", "LogConfig.Config")
    )
    found = deployed.ssh(f"docker inspect --format '{form}' {HOLDER} {MANAGER} {WORKER} {WEB}").splitlines()
    log = "map[max-file:3 max-size:5000000]"
    generation = f"{256 << 20} 1500000000 500 {log}"
    assert found == [f"{2 << 30} 0 0 {log}", f"0 0 0 {log}", generation, generation]


def test_a_limit_of_everybody_s_shells_that_was_changed_is_found_and_told_how_to_mend(deployed):
    deployed.ssh(f"docker update --memory 3g --memory-swap 6g {HOLDER}")
    found = failing(deployed)
    assert set(found) == {"processes and memory are limited"}, found
    remedy = found["processes and memory are limited"].partition(": ")[2]
    assert remedy.startswith("docker update "), found
    deployed.ssh(remedy)
    assert failing(deployed) == {}


def test_old_builds_leave_the_engine_but_nothing_that_runs_or_is_somebody_elses(deployed):
    def tags() -> set[str]:
        return set(deployed.ssh(f"docker image ls --format '{{{{.Tag}}}}' {PROJECT}").split())

    before = tags()
    assert before == {deployed.build.id}
    for tag in ("0.0.1-aaaaaaaaaaaa", "0.0.2-bbbbbbbbbbbb", "mine"):
        deployed.ssh(f"docker tag {PROJECT}:{deployed.build.id} {PROJECT}:{tag}")
    config = load(deployed.folder / "rollout.yaml")
    engine = DockerEngine(config, config.environment("dev"))
    assert engine.tidy(keep={"0.0.2-bbbbbbbbbbbb"}) == ["0.0.1-aaaaaaaaaaaa"]
    assert tags() == before | {"0.0.2-bbbbbbbbbbbb", "mine"}
    assert engine.tidy(keep=()) == ["0.0.2-bbbbbbbbbbbb"]
    deployed.ssh(f"docker image rm {PROJECT}:mine")
    assert engine.tidy(keep=()) == []
    assert tags() == before


CONTAINERS = {
    "not root": ("user", ["--user 0:0"], set()),
    "no capabilities": ("", ["--cap-add NET_ADMIN"], set()),
    "no new privileges": ("privileges", [], set()),
    "no seccomp or apparmor taken off": ("", ["--security-opt seccomp=unconfined"], set()),
    "root file system is read only": ("root", [], set()),
    "only holder and monitor have a network": ("network", [], set()),
    "published ports are those declared": (
        "network",
        ["--publish 4999:4999"],
        {"only holder and monitor have a network"},
    ),
    "no access to the host": ("", ["--volume /etc:/mnt:ro"], set()),
    "processes and memory are limited": ("memory", ["--memory 64m"], set()),
    "come back after a reboot": ("restart", [], set()),
    "no secret in the environment": ("", ["--env TERMINALS_TOKEN=x"], set()),
}


@pytest.mark.parametrize("check", CONTAINERS)
def test_a_container_run_otherwise_is_found(deployed, check):
    without, more, besides = CONTAINERS[check]
    image = deployed.ssh(f"docker inspect --format '{{{{.Image}}}}' {WORKER}")
    there, back = impostor(WORKER, image, *more, without=without)
    deployed.ssh(there)
    try:
        found = failing(deployed)
    finally:
        deployed.ssh(back)
    assert set(found) == {check} | besides | BESIDES, found
    assert WORKER in found[check] or "4999" in found[check]


def test_an_impostor_without_fault_fails_nothing_more(deployed):
    image = deployed.ssh(f"docker inspect --format '{{{{.Image}}}}' {WORKER}")
    there, back = impostor(WORKER, image)
    deployed.ssh(there)
    try:
        found = failing(deployed)
    finally:
        deployed.ssh(back)
    assert set(found) == BESIDES, found


def test_another_image_is_found_by_its_id_and_its_content(deployed):
    # Not paused: a container that is, is not healthy for a while after.
    deployed.ssh(
        f"docker commit --pause=false --change 'LABEL rollout.digest=sha256:00' {WORKER} {PROJECT}:other"
    )
    there, back = impostor(WORKER, f"{PROJECT}:other")
    deployed.ssh(there)
    try:
        found = failing(deployed)
    finally:
        deployed.ssh(back)
        deployed.ssh(f"docker image rm {PROJECT}:other")
    assert set(found) == ANOTHER_IMAGE | BESIDES, found
    assert f"({PROJECT}:other), not" in found["images are those of the ledger"]


STEPS = {
    "all declared containers run": (f"docker stop {WEB}", f"docker start {WEB}", f"{WEB} exited"),
    "nothing else runs": (
        f"docker run --detach --name intruder --volume {DEV}_run:/stolen --entrypoint sleep $(docker inspect"
        f" --format '{{{{.Image}}}}' {WORKER}) 1d",
        "docker rm --force intruder",
        "not declared: intruder",
    ),
    "token is for the services only": (
        f"docker exec {MANAGER} chmod 644 /run/terminals/token",
        f"docker exec {MANAGER} chmod 600 /run/terminals/token",
        "644 10001:10001",
    ),
    "control socket is for the services only": (
        f"docker exec {MANAGER} chmod 777 /run/terminals/manager.sock",
        f"docker exec {MANAGER} chmod 600 /run/terminals/manager.sock",
        "777 10001:10001",
    ),
    "directories of the services are theirs": (
        f"docker exec {MANAGER} chmod 755 /var/lib/terminals",
        f"docker exec {MANAGER} chmod 700 /var/lib/terminals",
        "/var/lib/terminals 755",
    ),
    "nobody else writes the configuration": (
        "chmod 666 /srv/terminals/dev/conf/managers/*.json",
        "chmod 644 /srv/terminals/dev/conf/managers/*.json",
        ".json is 666",
    ),
    "engine is for its group only": (
        "sudo chmod 666 /var/run/docker.sock",
        "sudo chmod 660 /var/run/docker.sock",
        "666 root:docker",
    ),
    "containers outlive the engine": (
        "sudo sed -i s/true/false/ /etc/docker/daemon.json; sudo kill -HUP $(cat /var/run/docker.pid)",
        "sudo sed -i s/false/true/ /etc/docker/daemon.json; sudo kill -HUP $(cat /var/run/docker.pid)",
        "rollout provision",
    ),
    "clock is right": (
        f"{FALSE_DATE}; sudo mv date /usr/local/bin/date",
        "sudo rm /usr/local/bin/date",
        "s off from the control machine",
    ),
}


@pytest.mark.parametrize("check", STEPS)
def test_a_host_that_was_changed_is_found(deployed, check):
    wrong, right, text = STEPS[check]
    deployed.ssh(wrong)
    try:
        found = failing(deployed)
    finally:
        deployed.ssh(right)
    assert set(found) == {check}, found
    assert text in found[check]


def test_a_wrong_clock_in_the_shells_is_found(deployed):
    image = deployed.ssh(f"docker inspect --format '{{{{.Image}}}}' {HOLDER}")
    deployed.ssh(FALSE_DATE)
    there, back = impostor(HOLDER, image, "--volume $PWD/date:/usr/bin/date:ro")
    deployed.ssh(there)
    try:
        found = failing(deployed)
    finally:
        deployed.ssh(back)
    assert "s off from the control machine" in found[SHELL_CLOCK]


def test_ports_elsewhere_than_declared_are_found(deployed):
    deployed.configure(listen={"host": "127.0.0.1", "system": 4001, "claude": 4002, "web": 4110})
    try:
        found = failing(deployed)
    finally:
        deployed.configure()
    assert set(found) == {"published ports are those declared"}
    for text in ("127.0.0.1:4001 is missing", "0.0.0.0:4001 is not declared"):
        assert text in found["published ports are those declared"]


def test_an_engine_that_does_not_answer_is_found_and_containers_outlive_it(deployed):
    started = f"docker inspect --format '{{{{.State.StartedAt}}}}' {HOLDER} {MANAGER} {WORKER} {WEB}"
    before = deployed.ssh(started)
    faults.kill_engine(deployed.lab, deployed.host)
    try:
        found = failing(deployed)
    finally:
        faults.start_engine(deployed.lab, deployed.host)
    assert ENGINE in found
    assert "clock is right" not in found
    assert deployed.ssh(started) == before
    assert failing(deployed) == {}


def test_a_host_that_cannot_be_reached_is_said(deployed):
    name = deployed.host.name
    deployed.configure(hosts={name: {**deployed.environment["hosts"][name], "ssh": "nowhere.invalid"}})
    try:
        assert deployed.run("infra", "dev") == ExitCode.CHECKS_FAILED
        assert "25 of 25 failed" in deployed.said
        assert "not reachable over SSH" in deployed.said
    finally:
        deployed.configure()


def test_every_check_is_made_to_fail_by_one_of_these_tests(deployed):
    assert deployed.run("infra", "dev", "--output", "json") == 0, deployed.said
    made = {*CONTAINERS, *STEPS, *ANOTHER_IMAGE, SHELL_CLOCK, ENGINE, *BESIDES}
    assert {result["name"] for result in json.loads(deployed.printed)} == made


def test_a_promotion_onto_a_host_that_is_not_as_declared_is_taken_back(deployed):
    deployed.ssh(f"docker exec {MANAGER} chmod 644 /run/terminals/token")
    try:
        assert deployed.run("deploy", "dev") == ExitCode.GATE_FAILED, deployed.said
        assert "infra, token is for the services only: 644" in deployed.said
        assert "infra.pass_ratio" in deployed.said
        assert failing(deployed) == {"token is for the services only": "644 10001:10001 regular file"}, (
            "nothing of the generation that was taken back runs"
        )
    finally:
        deployed.ssh(f"docker exec {MANAGER} chmod 600 /run/terminals/token")
    assert deployed.run("infra", "dev") == 0, deployed.said
