"""Connections by Fabric: only known host keys are believed; agent and jump hosts as with ssh itself."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from lab import hosts
from lab.model import Lab
from rollout.direct.connections import connect
from rollout.direct.settings import read_settings
from rollout.errors import ConfigError, EngineError

pytestmark = [pytest.mark.docker("lab"), pytest.mark.slow("two hosts with engines of their own")]


@pytest.fixture(scope="module")
def lab(the_lab) -> Lab:
    return the_lab.fresh(dev=2)


@pytest.fixture
def written(lab: Lab, tmp_path: Path):
    """Writes an ssh_config of one's own, with known_hosts in a folder whose name has a blank."""
    folder = tmp_path / "a folder"
    folder.mkdir()

    def write(known: str, more: str = "", identity: str = "") -> Path:
        (folder / "known_hosts").write_text(known)
        config = folder / "ssh_config"
        names = "".join(f"Host {host.name}\n HostName {host.address}\n" for host in lab.hosts)
        config.write_text(
            f"{more}\n{names}Host *\n User deploy\n {identity or f'IdentityFile {lab.state}/id_ed25519'}\n"
            f' UserKnownHostsFile "{folder}/known_hosts"\n GlobalKnownHostsFile /dev/null\n'
            " ConnectTimeout 5\n"
        )
        return config

    return write


def known(lab: Lab) -> str:
    return (lab.state / "known_hosts").read_text()


def says(name: str, config: Path, words: str = "hostname") -> str:
    connection = connect(name, config)
    try:
        return str(connection.run(words, hide=True, in_stream=False).stdout).strip()
    finally:
        connection.close()


def test_a_host_with_a_known_key_lets_us_in(lab, written):
    assert says("dev-1", written(known(lab))) == "dev-1"


def test_an_unknown_key_is_refused_with_the_way_out(written):
    with pytest.raises(
        EngineError, match=r"dev-1: its host key is not known \(ssh-ed25519 SHA256:.*ssh dev-1"
    ):
        connect("dev-1", written(""))


def test_a_changed_key_is_refused_with_the_way_out(lab, written):
    first, second = (line.split(" ", 1) for line in known(lab).splitlines())
    swapped = f"{first[0]} {second[1]}\n{second[0]} {first[1]}\n"
    with pytest.raises(EngineError, match=r"not the one that is known.*ssh-keygen -R '10"):
        connect("dev-1", written(swapped))


def test_a_revoked_key_is_refused_though_it_is_known_too(lab, written):
    line = known(lab).splitlines()[0]
    with pytest.raises(EngineError, match="its host key is not known"):
        connect("dev-1", written(f"{line}\n@revoked * {line.split(' ', 1)[1]}\n"))


def test_hashed_names_several_keys_and_aliases_are_understood(lab, written):
    first, second = known(lab).splitlines()
    config = written(f"{second.replace('dev-2', 'dev-1', 1)}\nthe-alias {first.split(' ', 1)[1]}\n",
                     "Host dev-1\n HostKeyAlias the-alias")  # fmt: skip
    assert says("dev-1", config) == "dev-1"
    config = written(f"{lab.host('dev-1').address} {second.split(' ', 1)[1]}\n{first}\n")
    path = Path(config.parent, "known_hosts")
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", str(path)], check=True, capture_output=True)
    assert lab.host("dev-1").address not in path.read_text()
    assert says("dev-1", config) == "dev-1"


def test_the_way_leads_over_a_jump_host(lab, written):
    config = written(known(lab), "Host dev-2\n ProxyJump dev-1")
    came_from = says("dev-2", config, "echo $SSH_CONNECTION").split()[0]
    assert came_from == lab.host("dev-1").address
    # The jump host's own key counts as well.
    only = next(line for line in known(lab).splitlines() if line.startswith("dev-2"))
    with pytest.raises(EngineError, match="dev-2: by dev-1: its host key is not known"):
        connect("dev-2", written(only + "\n", "Host dev-2\n ProxyJump dev-1"))


def test_jump_hosts_that_lead_in_a_circle_are_an_error(lab, written):
    with pytest.raises(ConfigError, match="in a circle"):
        read_settings(
            "dev-1", written(known(lab), "Host dev-1\n ProxyJump dev-2\nHost dev-2\n ProxyJump dev-1")
        )


def test_a_key_in_the_agent_lets_us_in_and_without_it_nobody_does(lab, written, monkeypatch, tmp_path):
    config = written(known(lab), identity="IdentityFile /nowhere")
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    with pytest.raises(EngineError, match=r"deploy@10.* is not let in .*ssh-add"):
        connect("dev-1", config)
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", str(tmp_path / "agent")], stdout=subprocess.DEVNULL)
    try:
        environment = {**os.environ, "SSH_AUTH_SOCK": str(tmp_path / "agent")}
        while not (tmp_path / "agent").exists():
            assert agent.poll() is None
        subprocess.run(["ssh-add", "-q", lab.state / "id_ed25519"], env=environment, check=True)
        monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "agent"))
        assert says("dev-1", config) == "dev-1"
        # Or named in the configuration alone.
        monkeypatch.setenv("SSH_AUTH_SOCK", "/nowhere")
        assert says("dev-1", written(known(lab), identity=f"IdentityAgent {tmp_path}/agent")) == "dev-1"
    finally:
        agent.terminate()
        agent.wait(10)


def test_a_port_nobody_listens_on_is_one_line(lab, written):
    with pytest.raises(EngineError, match="dev-1: not reachable over SSH"):
        connect("dev-1", written(known(lab), "Host dev-1\n Port 2"))
    assert hosts.ssh(lab, lab.host("dev-1"), "hostname") == "dev-1"
