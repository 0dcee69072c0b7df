"""Signing in by a provider where the web process is a container: network, secret, certificates."""

from __future__ import annotations

import socket
from pathlib import Path

import psutil
import pytest

from rollout.config import load
from rollout.config.model import Oidc
from tests.integration.test_monitor_docker import ROOT, Here, local, monkeypatch_module
from tests.support.authority import Authority
from tests.support.docker import client
from tests.support.ports import free_ports
from tests.support.provider import CLIENT, SECRET, Person, Provider
from tests.support.stack import until

__all__ = ["local", "monkeypatch_module"]
pytestmark = [pytest.mark.docker, pytest.mark.slow("an environment of containers, by Ansible")]
PROJECT = "terminals-openid"
NAME = f"{PROJECT}-dev"


@pytest.fixture
def there(built, tmp_path):
    """An environment that is up, a provider that containers reach by the engine's bridge, and the page."""
    build, image = built
    client().images.get(image.id).tag(PROJECT, build.id)
    # A new engine does not say it until its next start (moby#26799).
    bridge = client().networks.get("bridge").attrs["Options"]["com.docker.network.bridge.name"]
    gateway = next(one.address for one in psutil.net_if_addrs()[bridge] if one.family == socket.AF_INET)
    system, claude, web = free_ports(3)
    page = f"http://127.0.0.1:{web}/terminals/"
    (tmp_path / "tls").mkdir()
    authority = Authority(tmp_path / "tls", gateway)
    provider = Provider(tmp_path, [page], {"ada": {"groups": ["staff"]}}, host=gateway, authority=authority)
    secret = tmp_path / "secret"
    secret.write_text(SECRET)
    secret.chmod(0o600)
    tmp_path.chmod(0o755)
    base = load(ROOT / "rollout.yaml")
    dev = base.environment("dev")
    environment = dev.model_copy(
        update={
            "engine": "docker",
            "hosts": {
                "local": dev.hosts["local"].model_copy(update={"root": tmp_path / "root", "listen": None})
            },
            "listen": dev.listen.model_copy(update={"system": system, "claude": claude, "web": web}),
            "monitor": None,
            "oidc": Oidc(
                issuer=provider.issuer,
                client_id=CLIENT,
                client_secret_file=secret,
                ca=Path(authority.ca),
                public_urls=[page],
                roles={"user": ["staff"]},
            ),
        }
    )
    state = {"project": PROJECT, "state": tmp_path / "state", "environments": {"dev": environment}}
    engine = Here(base.model_copy(update=state), environment, on_event=lambda event: engine.tell(event))
    engine.tell = lambda event: engine.changes.append(event.task) if event.status == "changed" else None
    source = {"terminals_docker_compose_source": str(ROOT / "compose")}
    names = {"terminals_docker_image": image.tag, "terminals_docker_image_id": image.id}
    try:
        engine._run("install", ["local"], **source, **names)
        engine.start(build, "g1", fence=1, hosts=["local"])
        engine.shift({"g1": 100}, to="g1", share=100, fence=1, hosts=["local"])
        yield engine, build, Person(page, ca=authority.ca)
    finally:
        engine.teardown()
        provider.close()
        client().images.remove(f"{PROJECT}:{build.id}")


def test_the_web_container_asks_the_provider_and_nothing_else_has_a_network(there):
    engine, build, person = there
    modes = {
        container.name.removeprefix(f"{NAME}-"): container.attrs["HostConfig"]["NetworkMode"]
        for container in client().containers.list()
        if container.name.startswith(f"{NAME}-")
    }
    assert modes.pop("holder-1") not in ("none", "host", "bridge")
    assert modes == {"manager-1": "none", "g1-web-1": "bridge", "g1-worker-1": "none"}
    until(lambda: person.ask("GET", "health/ready").ok, "the page")
    assert person.sign_in("ada") == ""
    assert person.who()["user"] == "oidc:ada"
    # Brought to whom it is for, and again only when it is another.
    web = client().containers.get(f"{NAME}-g1-web-1")
    listed = web.exec_run(["stat", "-c", "%a %u %n", "/run/terminals/secrets/oidc-secret"]).output.decode()
    assert listed.split() == ["600", "10001", "/run/terminals/secrets/oidc-secret"]
    assert SECRET not in str(web.attrs) and SECRET not in web.logs().decode()
    engine.start(build, "g1", fence=1, hosts=["local"])
    assert engine.changes == []
    engine._environment.oidc.client_secret_file.write_text("another")
    engine.start(build, "g1", fence=1, hosts=["local"])
    assert person.sign_in("ada") == "sign-in=invalid"
