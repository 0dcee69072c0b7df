"""A changed setting of each kind is in force after an apply, under live shells."""

from __future__ import annotations

import socket
import ssl
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from terminals.client import Terminal

from tests.support.authority import Authority
from tests.support.ports import free_ports
from tests.support.project import PROFILES, Project
from tests.support.stack import PATIENCE

pytestmark = [pytest.mark.rollout, pytest.mark.slow("an environment of its own, with TLS")]


class Secure(Project):
    """One environment, over TLS."""

    def configure(self, authority: Authority, ports: dict[str, int], **dev: object) -> None:
        tls = {**{name: str(path) for name, path in authority.files.items()}, "ca": str(authority.ca)}
        self.ports = ports
        environment = {
            "hosts": {"local": {"root": "dev"}},
            "listen": {**ports, "tls": {**tls, "name": "localhost"}},
            "profiles": PROFILES,
            "canary": [{"weight": 100, "hold": "100ms"}],
            "checks": ["smoke"],
            "gates": [{"metric": "smoke.pass_ratio", "op": ">=", "threshold": 1}],
            **dev,
        }
        self.write({"dev": environment})

    def terminal(self, authority: Authority, **options: str) -> Terminal:
        token = (self.folder / "dev" / "run" / "token").read_text().strip()
        url = f"wss://localhost:{self.ports['system']}/"
        return Terminal(url, token=token, ca=str(authority.ca), **options)

    def certificate(self, authority: Authority) -> bytes:
        """What is shown at the page's port."""
        address = ("localhost", self.ports["web"])
        with (
            socket.create_connection(address) as raw,
            authority.context().wrap_socket(raw, server_hostname="localhost") as sock,
        ):
            return sock.getpeercert(binary_form=True) or b""


def ports() -> dict[str, int]:
    return dict(zip(("system", "claude", "web"), free_ports(3), strict=True))


@pytest.fixture
def project() -> Iterator[Secure]:
    with tempfile.TemporaryDirectory(prefix="rollout-") as folder:
        project = Secure(Path(folder))
        try:
            yield project
        finally:
            project.close()


def test_certificate_ports_limits_and_a_profile_s_command(project, tmp_path):
    made = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        made.append(Authority(tmp_path / name))
    first, second = made
    project.configure(first, before := ports())
    assert project.run("build") == 0, project.said
    assert project.run("deploy", "dev") == 0, project.said
    shell = project.terminal(first)
    shell.open()
    shell.send(b"mark=$((41 + 1)); echo [set $mark]\n")
    shell.expect(rb"\[set 42\]", PATIENCE)
    shown = project.certificate(first)

    project.configure(
        second, ports(), profiles={**PROFILES, "claude": {"command": ["echo", "hello from a profile"]}}
    )
    project.write_defaults(max_sessions=7)
    plan = project.json("apply", "dev", "--plan")
    said = plan["forward"][0]["hosts"]["local"]
    for what in ("listeners.system.port", "tls.certificate", "max_sessions", "profiles.claude.command"):
        assert what in said
    assert project.run("apply", "dev") == 0, project.said
    assert project.certificate(second) != shown
    with pytest.raises(ssl.SSLError):
        project.certificate(first)
    with socket.socket() as old:
        assert old.connect_ex(("127.0.0.1", before["system"])) != 0
    with project.terminal(second, session=shell.session) as again:
        again.send(b"echo [still $mark]\n")
        again.expect(rb"\[still 42\]", PATIENCE)
    assert project.manager("dev")["manager"]["configured"]["max_sessions"] == 7
    token = (project.folder / "dev" / "run" / "token").read_text().strip()
    claude = Terminal(f"wss://localhost:{project.ports['claude']}/", token=token, ca=str(second.ca))
    claude.open()
    claude.expect(b"hello from a profile", PATIENCE)
    claude.close()
    shell.close()
