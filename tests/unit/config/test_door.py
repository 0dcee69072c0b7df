"""One address for several hosts: what session managers are told, and every mistake in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from terminals.manager.config import ManagerConfig

from rollout.config import load
from rollout.doctor import examine_door
from rollout.door import read_certificate
from rollout.engine.docker import DockerEngine
from rollout.errors import ConfigError
from tests.support.authority import Authority
from tests.unit.config import test_peers
from tests.unit.config.test_peers import LISTEN

HOSTS = {**test_peers.HOSTS, "us-1": {**test_peers.HOSTS["us-1"], "address": "us-1.example.org"}}

DOOR: dict[str, Any] = {
    "name": "t.example.org",
    "certificate": "cert.pem",
    "key": "key.pem",
    "hosts": {"door-1": {"root": "/srv/door", "address": "192.0.2.7"}},
}


def written(folder: Path, **changes: Any) -> Path:
    return test_peers.written(folder, **{"hosts": HOSTS, **changes})


def without(key: str) -> dict[str, Any]:
    """The second host, without something."""
    return {"us-1": {name: value for name, value in HOSTS["us-1"].items() if name != key}}


def managers(folder: Path, defaults: dict[str, Any] | None = None) -> dict[str, ManagerConfig]:
    """What the session manager of each host makes of it."""
    path = written(folder, door=DOOR)
    said = json.loads(path.read_text())
    path.write_text(json.dumps({**said, "defaults": defaults or {}}))
    config = load(path)
    engine = DockerEngine(config, config.environment("e"))
    found = {}
    for host in config.environment("e").hosts:
        settings = folder / "manager.json"
        settings.write_text(json.dumps(engine._manager_settings(host)))
        found[host] = ManagerConfig.load(settings)
    return found


def test_people_are_sent_on_by_the_door_and_come_from_there(tmp_path):
    found = managers(tmp_path)
    assert found["eu-1"].homes.others["us-1"].urls == {
        "system": "wss://h-us01.t.example.org/ws/system",
        "claude": "wss://h-us01.t.example.org/ws/claude",
    }
    front = found["us-1"].front
    assert front.neighbours == ("wss://h-eu01.t.example.org", "wss://t.example.org")
    assert front.trusted_proxies == ("192.0.2.7/32",)
    assert front.allowed_origins == (), "pages of the same host, and of those one is sent on by"


def test_what_is_said_for_all_environments_counts_too(tmp_path):
    defaults = {"trusted_proxies": ["10.0.0.0/8"], "allowed_origins": ["https://tools.example.org"]}
    front = managers(tmp_path, defaults)["eu-1"].front
    assert front.trusted_proxies == ("10.0.0.0/8", "192.0.2.7/32")
    assert front.allowed_origins == ("https://t.example.org", "https://tools.example.org")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": "T.example.org"}, "e.door.name: "),
        ({"name": "t_1.example.org"}, "e.door.name: "),
        ({"port": 0}, "e.door.port: "),
        ({"hosts": {}}, "e.door.hosts: "),
        (
            {"hosts": {"door-1": {"root": "/srv/d", "address": "door.example.org"}}},
            "expected an IPv4 address",
        ),
        ({"hosts": {"door-1": {"root": "/srv/d", "address": "2001:db8::7"}}}, "expected an IPv4 address"),
        ({"hosts": {"door-1": {"root": "/", "address": "192.0.2.7"}}}, "/ is no directory to give away"),
        ({"hosts": {"door-1": {"root": "/srv/d", "address": "192.0.2.7", "name": "x"}}}, "unknown key"),
        ({"hosts": {"door-1": {"root": "/srv/d"}}}, "e.door.hosts.door-1.address: missing key"),
        (
            {"hosts": {"x": {"root": "/srv/d", "address": "192.0.2.7", "ssh": "eu-1"}}},
            "e.door.hosts.x: is a host of this environment, to which all people would come from one address",
        ),
    ],
)
def test_what_could_never_work_is_refused(tmp_path, changes, said):
    with pytest.raises(ConfigError) as caught:
        load(written(tmp_path, door={**DOOR, **changes}))
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("hosts", "said"),
    [
        (without("tag"), "e.hosts.us-1: has no tag, by which the door"),
        (without("address"), "e.hosts.us-1: has no address, at which the door"),
        (
            {"us-1": {**HOSTS["us-1"], "address": "2001:db8::1"}},
            "e.hosts.us-1.address: 2001:db8::1: the door's container has no IPv6",
        ),
    ],
)
def test_hosts_that_it_could_not_lead_to_are_said(tmp_path, hosts, said):
    listen = {key: port for key, port in LISTEN.items() if key != "peers"}
    with pytest.raises(ConfigError) as caught:
        load(written(tmp_path, door=DOOR, listen=listen, authority=None, hosts=hosts))
    assert said in str(caught.value)


@pytest.mark.parametrize("door", ["https://x", "wss://x/y", "wss://x:0", 7, "wss://"])
def test_a_session_manager_takes_no_other_address(tmp_path, door):
    settings = tmp_path / "m.json"
    settings.write_text(
        json.dumps({"socket": "/s", "state_dir": "/d", "listeners": {}, "profiles": {}, "door": door})
    )
    with pytest.raises(Exception, match="door: an address of the form"):
        ManagerConfig.load(settings)


def test_its_certificate_has_to_be_for_all_its_names_and_to_last(tmp_path):
    def found() -> tuple[str, str, str]:
        # The first only: others ask a host that is not there.
        first = next(examine_door(load(written(tmp_path, door=DOOR)).environment("e")))
        return first.verdict, first.text, first.remedy

    verdict, text, _ = found()
    assert (verdict, "cert.pem" in text) == ("wrong", True)
    names = ("t.example.org", "*.t.example.org")
    authority = Authority(tmp_path, *names)
    assert found()[0] == "wrong", "its key is everybody's"
    (tmp_path / "key.pem").chmod(0o600)
    assert found()[0] == "ok"
    for days, expected in ((10, "warning"), (-1, "wrong")):
        authority.issue(days=days)
        (tmp_path / "key.pem").chmod(0o600)
        verdict, _, remedy = found()
        assert (verdict, remedy) == (expected, "bring another one, then: rollout door e")
    authority.issue()
    authority.issue(only="key")
    assert "key.pem is not the private key of" in found()[1]
    for missing, kept in ((names[0], names[1:]), ("h-eu01.t.example.org", names[:1])):
        Authority(tmp_path, *kept)
        assert f"cert.pem is not for {missing}" in found()[1]
    (tmp_path / "cert.pem").write_text("nonsense")
    assert found()[0] == "wrong"


def test_hosts_may_be_named_in_it_one_by_one(tmp_path):
    Authority(tmp_path, "t.example.org", *(f"h-{host['tag']}.t.example.org" for host in HOSTS.values()))
    door = load(written(tmp_path, door=DOOR)).environment("e").door
    assert door is not None
    text, _ = read_certificate(door, [host["tag"] for host in HOSTS.values()])
    assert text.index("BEGIN CERTIFICATE") < text.index("PRIVATE KEY")


def test_two_doors_on_one_machine_have_a_directory_and_a_port_each(tmp_path):
    path = written(tmp_path, door=DOOR)
    said = json.loads(path.read_text())
    first = said["environments"]["e"]
    moved = {
        name: {**host, "root": f"/srv/{name}", "tag": f"x{host['tag'][1:]}"} for name, host in HOSTS.items()
    }
    for door, expected in (
        (DOOR, "environments.f.door.port: port 443 of door-1 is the door's of e"),
        ({**DOOR, "port": 8443}, "f.door.hosts.door-1.root: /srv/door is that of another door there"),
        (
            {**DOOR, "port": 8443, "hosts": {"door-1": {"root": "/srv/door/f", "address": "192.0.2.7"}}},
            "part them",
        ),
    ):
        said["environments"]["f"] = {**first, "hosts": moved, "door": door}
        path.write_text(json.dumps(said))
        with pytest.raises(ConfigError) as caught:
            load(path)
        assert expected in str(caught.value)
    alone = {"door-1": {"root": "/srv/other", "address": "192.0.2.7"}}
    said["environments"]["f"]["door"] = {**DOOR, "port": 8443, "hosts": alone}
    path.write_text(json.dumps(said))
    load(path)
