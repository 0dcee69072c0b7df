"""The monitor's place in an environment of containers, by the playbooks, on this machine's own engine."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from docker.errors import NotFound

from rollout.build.hosts import LocalHost
from rollout.config import load
from rollout.config.model import Monitor, Notify
from rollout.engine.docker import DockerEngine
from rollout.engine.playbooks import run_playbook
from rollout.pipeline.parts import as_params, from_params, replacements
from tests.support.docker import client
from tests.support.ports import free_ports
from tests.support.stack import until

pytestmark = [
    pytest.mark.docker,
    pytest.mark.slow("an environment of containers, by Ansible, five times over"),
]

ROOT = Path(__file__).parents[2]
PROJECT = "terminals-monitored"
START = "Start the monitor, in the place of the one that runs"
NAME = f"{PROJECT}-dev"


class Here(DockerEngine):
    """The engine for a host that is this machine: no SSH, and Compose is a program, not a plugin."""

    changes: list[str]

    def host(self, name: str, limit: float | None = None) -> Any:
        return LocalHost(name, limit=limit)

    def _run(self, playbook: str, hosts: Any, *, check: bool = False, **variables: Any) -> Any:
        self.changes = []
        compose = Path(sys.executable).with_name("docker-compose")
        variables["terminals_docker_compose"] = [str(compose), "--ansi", "never", "--progress", "quiet"]
        return super()._run(playbook, hosts, check=check, **variables)


@pytest.fixture(scope="module")
def bring(built, tmp_path_factory):
    """Starts generation g1 with a monitor, or without; gives the engine, with what changed."""
    build, image = built
    client().images.get(image.id).tag(PROJECT, build.id)  # as an image of this project would be called
    folder = tmp_path_factory.mktemp("monitored")
    folder.chmod(0o755)
    pager = folder / "pager"
    pager.write_text("json://127.0.0.1:9/secret-of-the-pager\n")
    pager.chmod(0o600)
    system, claude, web = free_ports(3)
    base = load(ROOT / "rollout.yaml")
    dev = base.environment("dev")
    engines: list[Here] = []

    def run(monitor: Monitor | None) -> Here:
        listen = dev.listen.model_copy(update={"system": system, "claude": claude, "web": web})
        host = dev.hosts["local"].model_copy(update={"root": folder / "root", "listen": None})
        environment = dev.model_copy(
            update={
                "engine": "docker",
                "hosts": {"local": host},
                "listen": listen,
                "monitor": monitor,
                "notify": ("pager",),
            }
        )
        config = base.model_copy(
            update={
                "project": PROJECT,
                "state": folder / "state",
                "environments": {"dev": environment},
                "notify": {"pager": Notify(url_file=pager)},
            }
        )
        engine = Here(
            config,
            environment,
            on_event=lambda event: engine.changes.append(event.task) if event.status == "changed" else None,
        )
        if not engines:
            engine._run(
                "install",
                ["local"],
                terminals_docker_compose_source=str(ROOT / "compose"),
                terminals_docker_image=image.tag,
                terminals_docker_image_id=image.id,
            )
        engines.append(engine)
        changes: list[str] = []
        if len(engines) > 1 and (instead := replacements(engine.facts(), engine.wanted(build))):
            engine.manage(from_params(as_params(instead, 1), ["local"]), fence=1)
            changes = engine.changes
        engine.start(build, "g1", fence=1, hosts=["local"])
        engine.changes = changes + engine.changes
        return engine

    yield run
    engines[-1].teardown()
    client().images.remove(f"{PROJECT}:{build.id}")
    assert not [volume.name for volume in client().volumes.list() if volume.name.startswith(PROJECT)]


@pytest.fixture(autouse=True, scope="module")
def local(monkeypatch_module):
    """Ansible's way to this machine."""
    import rollout.engine.docker as module

    def here(playbook: str, *, hosts: dict[str, dict[str, Any]], **options: Any) -> Any:
        for values in hosts.values():
            values |= {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
            del values["ansible_host"]
        return run_playbook(playbook, hosts=hosts, **options)

    monkeypatch_module.setattr(module, "run_playbook", here)


@pytest.fixture(scope="module")
def monkeypatch_module():
    with pytest.MonkeyPatch.context() as patch:
        yield patch


def monitor() -> Any:
    return client().containers.get(f"{NAME}-monitor-1")


def test_a_monitor_comes_with_a_deployment_stays_changes_and_goes(bring):
    it_sees_and_is_asked(bring)
    a_second_run_changes_nothing_and_another_configuration_only_the_monitor(bring)
    with_null_it_is_gone(bring)


def it_sees_and_is_asked(bring):
    engine = bring(Monitor(every=2, timeout=5))
    assert START in engine.changes
    began = time.time()
    engine.shift({"g1": 100}, to="g1", share=100, fence=1, hosts=["local"])

    def checks() -> list[dict]:
        log = engine.monitor(began)["local"]
        return [record for record in log.records if record["kind"] == "check"] if log else []

    found = until(checks, "its first check", 60)
    assert all(check["ok"] for check in found), found
    assert {check["generation"] for check in found} == {"g1"}
    secret = monitor().exec_run("cat /var/lib/monitor/secrets/pager").output.strip()
    assert secret == b"json://127.0.0.1:9/secret-of-the-pager"
    mode = monitor().exec_run("stat -c %a%u /var/lib/monitor/secrets/pager").output
    assert mode == b"60010001\n"
    assert "secret-of-the-pager" not in json.dumps(monitor().attrs)


def a_second_run_changes_nothing_and_another_configuration_only_the_monitor(bring):
    def lasting() -> list[str]:
        return [client().containers.get(f"{NAME}-{name}-1").id for name in ("holder", "manager")]

    before, others = monitor().id, lasting()
    assert bring(Monitor(every=2, timeout=5)).changes == []
    assert monitor().id == before
    assert bring(Monitor(every=1, timeout=5)).changes == ["Write its settings", START]
    assert monitor().id != before
    assert lasting() == others


def with_null_it_is_gone(bring):
    engine = bring(None)
    assert engine.changes == ["Remove the monitor; what it has seen stays in its volume"]
    with pytest.raises(NotFound):
        monitor()
    assert engine.monitor(0) == {"local": None}
    assert bring(None).changes == []
