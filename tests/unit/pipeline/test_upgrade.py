"""Which hosts are emptied for an upgrade of their engine, in which order, and what a host is left as."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from rollout.config import load
from rollout.engine import HostFacts
from rollout.engine.docker import DockerEngine
from rollout.errors import ConfigError, EngineError, Locked, Refused
from rollout.ledger import Lease, Ledger
from rollout.pipeline import upgrade
from rollout.pipeline.changes import Provisioned
from rollout.pipeline.drain import Drained
from rollout.pipeline.upgrade import UPGRADE, Emptying, Upgrades
from tests.unit.config.test_peers import HOSTS, LISTEN, written


@dataclass
class Hosts:
    """Two hosts with sessions, each of which ends one of its own after so many looks."""

    sessions: dict[str, int]
    live_restore: bool = False
    states: dict[str, str] = field(default_factory=lambda: {"eu-1": "ready", "us-1": "ready"})
    acts: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    breaks: str = ""
    silent: str = ""
    held: bool = True
    says_ready: bool = False
    workers: dict[str, int] = field(default_factory=lambda: {"g1": 2, "g2": 2})
    left: int = 0

    def facts(self) -> list[HostFacts]:
        return [HostFacts(host, (), status, self.held) for host, status in self.status().items()]

    def status(self) -> dict[str, dict[str, Any] | None]:
        found: dict[str, dict[str, Any] | None] = {}
        for host, state in self.states.items():
            if state == "draining" and self.says_ready:
                self.states[host] = state = "ready"
            found[host] = {
                "host_state": state,
                "sessions": {"live": self.sessions[host], "left": self.left},
                "generations": [
                    {"name": name, "workers": count, "weight": 100 * (name == "g2")}
                    for name, count in self.workers.items()
                ],
            }
            if host == self.silent:
                found[host] = None
            if state == "draining" and self.sessions[host]:
                self.sessions[host] -= 1
        return found

    def host_state(self, host: str, state: str, message: str = "") -> int:
        self.acts.append(f"{host} {state} {message}".rstrip())
        self.states[host] = state
        return self.sessions[host]

    def upgrade(self, host: str) -> None:
        self.acts.append(f"{host} upgraded")
        if host == self.breaks:
            raise EngineError(f"{host}: no")


NEWER = f"{UPGRADE}docker.io, 1 to 2"
BOTH = [Provisioned(host, (NEWER, "Configure the engine")) for host in ("eu-1", "us-1")]


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    monkeypatch.setattr(upgrade, "ASK_SECONDS", 0.0)


def upgrades(folder: Path, hosts: Hosts, **how: Any) -> Upgrades:
    config = load(written(folder))
    how.setdefault("tell", hosts.told.append)
    engine = cast(DockerEngine, hosts)
    return Upgrades(config, config.environment("e"), engine, Emptying(**how))


def test_each_is_emptied_first_and_ready_again_before_the_next_and_the_emptiest_begins(tmp_path):
    hosts, looks = Hosts({"eu-1": 3, "us-1": 1}), list[tuple[str, int]]()
    told = upgrades(
        tmp_path, hosts, message="soon", on_look=lambda left: looks.append((left.host, left.sessions))
    )
    told.carry_out(BOTH)
    assert hosts.acts == [
        *("us-1 draining soon", "us-1 upgraded", "us-1 ready"),
        *("eu-1 draining soon", "eu-1 upgraded", "eu-1 ready"),
    ]
    assert (looks[0], looks[-1]) == (("us-1", 1), ("eu-1", 0))
    with Ledger(f"sqlite:///{tmp_path}/state/ledger.db") as ledger:
        kinds = [event.kind for event in ledger.events("e")]
    assert kinds == ["drain", "upgrade", "drain"] * 2


def test_where_shells_outlive_their_engine_hosts_need_not_be_emptied_and_in_a_swarm_they_must(tmp_path):
    hosts = Hosts({"eu-1": 3, "us-1": 1}, live_restore=True)
    upgrades(tmp_path, hosts).carry_out(BOTH[:1])
    assert hosts.acts == ["eu-1 draining", "eu-1 upgraded", "eu-1 ready"]
    hosts = Hosts({"eu-1": 3, "us-1": 1}, live_restore=True)
    upgrades(tmp_path, hosts, wanted=False).carry_out(BOTH)
    assert hosts.acts == ["us-1 upgraded", "eu-1 upgraded"]
    with pytest.raises(ConfigError, match="--no-drain: shells on a node of a Swarm end with its engine"):
        upgrades(tmp_path, Hosts({"eu-1": 3, "us-1": 1}), wanted=False)


def test_a_host_that_says_nothing_may_have_shells_unless_nothing_holds_any_there(tmp_path):
    hosts = Hosts({"eu-1": 3, "us-1": 0}, silent="eu-1")
    with pytest.raises(EngineError, match="eu-1: its session manager does not answer, so that nobody knows"):
        upgrades(tmp_path, hosts).carry_out(BOTH[:1])
    assert hosts.acts == []
    hosts.held = False
    upgrades(tmp_path, hosts).carry_out(BOTH[:1])
    assert hosts.acts == ["eu-1 upgraded"]


def test_shells_that_no_session_manager_has_are_shells(tmp_path):
    hosts = Hosts({"eu-1": 1, "us-1": 0}, left=2)
    with pytest.raises(Refused, match="eu-1: 2 shells are left that its session manager could not"):
        upgrades(tmp_path, hosts).carry_out(BOTH[:1])
    assert hosts.acts == ["eu-1 draining", "eu-1 ready"]


@pytest.mark.parametrize("idle", [True, False])
def test_the_shells_of_another_environment_on_the_same_machine_are_looked_at(tmp_path, monkeypatch, idle):
    hosts, others = Hosts({"eu-1": 0, "us-1": 0}), Hosts({"eu-1": 0, "us-1": 0})
    path = written(tmp_path)
    text = json.loads(path.read_text())
    listen = {**LISTEN, "system": 4201, "claude": 4202, "web": 4203, "peers": 4240}
    other = {name: {**host, "root": "/srv/others", "ssh": name} for name, host in HOSTS.items()}
    text["environments"]["f"] = {**text["environments"]["e"], "listen": listen, "hosts": other}
    path.write_text(json.dumps(text))
    config = load(path)
    monkeypatch.setattr(upgrade, "engine_of", lambda config, environment: others)
    if idle:
        others.states["eu-1"] = "draining"
    told = Upgrades(config, config.environment("e"), cast(DockerEngine, hosts), Emptying())
    if idle:
        told.carry_out(BOTH[:1])
    else:
        with pytest.raises(Refused, match="empty it first: rollout drain eu-1 --env f"):
            told.carry_out(BOTH[:1])
    assert ("eu-1 upgraded" in hosts.acts) == idle


def test_where_there_is_nothing_newer_nothing_is_done(tmp_path):
    hosts = Hosts({"eu-1": 0, "us-1": 0})
    upgrades(tmp_path, hosts).carry_out(
        [Provisioned("eu-1", ("Configure the engine",)), Provisioned("us-1", ())]
    )
    assert hosts.acts == []


def test_who_was_emptied_before_stays_so(tmp_path):
    hosts = Hosts({"eu-1": 1, "us-1": 0})
    hosts.states["eu-1"] = "maintenance"
    hosts.sessions["eu-1"] = 0
    upgrades(tmp_path, hosts).carry_out(BOTH[:1])
    assert hosts.acts == ["eu-1 upgraded"]


def test_at_the_deadline_the_host_is_as_it_was_and_what_was_done_is_said(tmp_path):
    hosts = Hosts({"eu-1": 2, "us-1": 0})
    with pytest.raises(Refused, match="eu-1: 2 live sessions left at the deadline; none was ended"):
        upgrades(tmp_path, hosts, until=0.0).carry_out(BOTH)
    assert hosts.told == ["upgraded before that: us-1"]
    assert hosts.acts[-2:] == ["eu-1 draining", "eu-1 ready"]


def test_somebody_else_s_word_is_heard(tmp_path):
    hosts = Hosts({"eu-1": 2, "us-1": 0}, says_ready=True)
    with pytest.raises(Refused, match="eu-1: somebody has sessions begin there again"):
        upgrades(tmp_path, hosts).carry_out(BOTH[:1])
    assert "eu-1 upgraded" not in hosts.acts


def test_a_rollout_that_goes_on_leaves_the_host_ready(tmp_path):
    hosts = Hosts({"eu-1": 1, "us-1": 0})
    told = upgrades(tmp_path, hosts)
    with Ledger(f"sqlite:///{tmp_path}/state/ledger.db") as ledger, Lease(ledger, "e"), pytest.raises(Locked):
        told.carry_out(BOTH[:1])
    assert hosts.acts == ["eu-1 draining", "eu-1 ready"]


def test_ctrl_c_while_it_is_being_emptied_leaves_the_host_ready(tmp_path):
    hosts = Hosts({"eu-1": 9, "us-1": 0})

    def pressed(left: Drained) -> None:
        if left.sessions < 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        upgrades(tmp_path, hosts, on_look=pressed).carry_out(BOTH[:1])
    assert hosts.acts == ["eu-1 draining", "eu-1 ready"]


STAYS = "no session begins at us-1 until: rollout undrain us-1 --env e"


def test_one_that_fails_stays_empty_and_no_other_is_begun(tmp_path):
    hosts = Hosts({"eu-1": 1, "us-1": 0}, breaks="us-1")
    with pytest.raises(EngineError, match="us-1: no"):
        upgrades(tmp_path, hosts).carry_out(BOTH)
    assert hosts.acts == ["us-1 draining", "us-1 upgraded"]
    assert hosts.told == [STAYS, "upgraded before that: none"]


@pytest.mark.parametrize("gone", ["g1", "g2"])
def test_as_many_workers_are_waited_for_as_there_were_of_what_serves(tmp_path, monkeypatch, gone):
    hosts = Hosts({"eu-1": 1, "us-1": 0})
    upgraded = hosts.upgrade

    def without_workers(host: str) -> None:
        upgraded(host)
        hosts.workers[gone] = 1

    monkeypatch.setattr(hosts, "upgrade", without_workers)
    monkeypatch.setattr(upgrade, "BACK_SECONDS", 0.0)
    told = upgrades(tmp_path, hosts)
    if gone == "g1":  # kept warm, and its window may end
        told.carry_out(BOTH[1:])
        assert hosts.acts == ["us-1 draining", "us-1 upgraded", "us-1 ready"]
        return
    with pytest.raises(EngineError, match="us-1: a worker is missing after the engine's upgrade"):
        told.carry_out(BOTH)
    assert hosts.acts == ["us-1 draining", "us-1 upgraded"]
    assert hosts.told[0] == STAYS


def test_one_that_cannot_be_made_ready_again_is_said_to_stay(tmp_path, monkeypatch):
    hosts = Hosts({"eu-1": 1, "us-1": 0})
    said = hosts.host_state

    def deaf(host: str, state: str, message: str = "") -> int:
        if state == "ready":
            raise EngineError("us-1: no answer")
        return said(host, state, message)

    monkeypatch.setattr(hosts, "host_state", deaf)
    upgrades(tmp_path, hosts).carry_out(BOTH[1:])
    assert hosts.told == [STAYS, "us-1: no answer"]
