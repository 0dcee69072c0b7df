"""Hosts that ask each other: the whole way to session managers, and every mistake in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from terminals.manager.config import ManagerConfig

from rollout import authority
from rollout.config import load
from rollout.doctor import examine_authority
from rollout.engine.docker import DockerEngine
from rollout.errors import ConfigError

LISTEN = {"host": "0.0.0.0", "system": 4001, "claude": 4002, "web": 4110, "peers": 4140}
ALONE = {name: port for name, port in LISTEN.items() if name != "peers"}
"""Of hosts that do not ask each other."""
HOSTS: dict[str, Any] = {
    "eu-1": {"root": "/srv/t", "address": "eu-1.example.org", "tag": "eu01", "region": "eu"},
    "us-1": {"root": "/srv/t", "address": "2001:db8::1", "tag": "us01"},
}


def written(folder: Path, **changes: Any) -> Path:
    """A configuration of two hosts that ask each other, but for what is said."""
    environment = {
        "engine": "docker",
        "hosts": HOSTS,
        "listen": LISTEN,
        "canary": [{"weight": 100, "hold": "1s"}],
        "authority": {"certificate": "ca.pem", "key": "ca.key"},
        "vault": {"file": "vault.yml", "password_file": "vault.password"},
        "gates": [{"metric": "generation.memory_bytes", "op": "<", "threshold": "50MB"}],
        **changes,
    }
    for name in ("vault.yml", "vault.password"):
        (folder / name).write_text("")
    text = {
        "version": 1,
        "project": "p",
        "source": "installed",
        "state": "state",
        "environments": {"e": {k: v for k, v in environment.items() if v is not None}},
    }
    path = folder / "rollout.yaml"
    path.write_text(json.dumps(text))
    return path


def of_manager(folder: Path, host: str, **changes: Any) -> ManagerConfig:
    """What the session manager of a host makes of it."""
    config = load(written(folder, **changes))
    engine = DockerEngine(config, config.environment("e"))
    path = folder / "manager.json"
    path.write_text(json.dumps(engine._manager_settings(host)))
    return ManagerConfig.load(path)


def test_each_is_told_of_the_others_and_by_what_it_is_known(tmp_path):
    homes = of_manager(tmp_path, "eu-1").homes
    assert {name: other.peers for name, other in homes.others.items()} == {
        "us-1": "https://[2001:db8::1]:4140"
    }
    rules = homes.rules
    assert rules is not None
    assert (rules.name, rules.region, rules.port, rules.own_socket) == ("eu-1", "eu", 4140, True)
    names = {Path(path).name for path in (rules.authority, rules.certificate, rules.key)}
    assert names == {"peers-ca.pem", "peers.pem", "peers.key"}
    assert rules.screens == 0, "nothing that people see is copied unless somebody wants it"
    homes = of_manager(tmp_path, "us-1", last_screens="5s").homes
    assert homes.rules is not None
    assert homes.rules.screens == 5
    assert (homes.rules.region, homes.others["eu-1"].peers) == ("", "https://eu-1.example.org:4140")


def test_one_that_is_lost_is_still_known_to_the_others(tmp_path):
    hosts = {**HOSTS, "us-1": {**HOSTS["us-1"], "lost": True}}
    before = of_manager(tmp_path, "eu-1")
    assert of_manager(tmp_path, "eu-1", hosts=hosts).digest == before.digest
    environment = load(written(tmp_path, hosts=hosts)).environment("e")
    assert (list(environment.hosts), list(environment.absent)) == (["eu-1"], ["us-1"])
    assert environment.host_batches() == [["eu-1"]]
    with pytest.raises(ConfigError, match="all of them are stated to be lost"):
        load(written(tmp_path, hosts={name: {**host, "lost": True} for name, host in HOSTS.items()}))


def test_without_a_port_nothing_of_it_reaches_them(tmp_path):
    listen = {key: port for key, port in LISTEN.items() if key != "peers"}
    homes = of_manager(tmp_path, "eu-1", listen=listen, authority=None).homes
    assert (homes.rules, homes.others["us-1"].peers) == (None, "")


def without(host: str, key: str) -> dict[str, Any]:
    return {**HOSTS, host: {k: v for k, v in HOSTS[host].items() if k != key}}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"authority": None}, "e.listen.peers: hosts know each other by certificates; say where"),
        ({"hosts": {"eu-1": HOSTS["eu-1"]}}, "e.listen.peers: there is no other host that would ask"),
        ({"hosts": without("us-1", "tag")}, "e.hosts.us-1: has no tag"),
        ({"hosts": without("us-1", "address")}, "e.hosts.us-1: has no address, at which others reach it"),
        ({"last_screens": 0.5}, "e.last_screens"),
        (
            {"last_screens": 5, "authority": None, "listen": {k: LISTEN[k] for k in list(LISTEN)[:4]}},
            "e.last_screens: no host knows another one",
        ),
        ({"listen": {**LISTEN, "peers": 4110}}, "e.listen.peers: port 4110 is another's"),
        (
            {
                "hosts": {
                    **HOSTS,
                    "us-1": {**HOSTS["us-1"], "listen": {k: LISTEN[k] for k in list(LISTEN)[:4]}},
                }
            },
            "e.hosts.us-1.listen: has no port peers",
        ),
    ],
)
def test_what_could_never_work_is_refused(tmp_path, changes, said):
    with pytest.raises(ConfigError) as caught:
        load(written(tmp_path, **changes))
    assert said in str(caught.value)


def test_whatever_a_host_lacks_is_said_before_a_rollout_begins_and_by_the_doctor(tmp_path, monkeypatch):

    environment = load(written(tmp_path)).environment("e")
    (found,) = examine_authority(environment)
    assert (found.verdict, "rollout certify" in found.remedy) == ("wrong", True)
    assert environment.authority is not None
    authority.make_authority(environment.authority, "hosts of a test")
    (found,) = examine_authority(environment)
    assert found.verdict == "ok"
    environment.authority.key.chmod(0o644)
    (found,) = examine_authority(environment)
    assert (found.verdict, found.remedy) == ("wrong", f"chmod go= {environment.authority.key}")
    for days, verdict in ((300, "warning"), (-0.01, "wrong")):
        for path in (environment.authority.certificate, environment.authority.key):
            path.unlink()
        monkeypatch.setattr(authority, "AUTHORITY_DAYS", days)
        authority.make_authority(environment.authority, "hosts of a test")
        (found,) = examine_authority(environment)
        assert (found.verdict, "rollout certify e" in found.remedy) == (verdict, True)
